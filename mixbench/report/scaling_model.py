"""Predict the training throughput with more processes than were measured, by a simple model fitted to measurements.

A step is compute, then a ring all-reduce of the gradients, without overlap.  The all-reduce of P processes on equal
links takes 2 (P - 1) (a + bytes / (P B)): 2 (P - 1) messages of 1/P of the gradients, with latency a and bandwidth B.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from mixbench.results.summary import Group
from mixbench.run.timings import Communication

DOUBLINGS = 3  # predictions for 2, 4 and 8 times the largest number of processes measured


@dataclass(frozen=True)
class Ring:
    """Links between processes in a ring.  `ms_per_byte` is 0 if the gradients took no longer than a single number."""

    latency_ms: float
    ms_per_byte: float

    def milliseconds(self, processes: int, size: float) -> float:
        """Time of an all-reduce of `size` bytes."""
        return 2 * (processes - 1) * (self.latency_ms + self.ms_per_byte * size / processes)


def communications(group: Group) -> list[Communication]:
    parts = [record.details.throughput for record in group.records]
    return [part.communication for part in parts if part and part.communication and part.communication.allreduce_ms]


def fit(groups: Sequence[Group]) -> Ring | None:
    """Fit a ring to all timed all-reduces by least squares of the relative errors; None if nothing was timed."""
    import numpy as np
    from scipy.optimize import nnls

    timed = [
        (group.row.world_size, size, median(milliseconds))
        for group in groups
        for each in communications(group)
        for size, milliseconds in (
            (each.gradient_bytes, each.allreduce_ms),
            (each.single_bytes, each.latency_ms),
        )
    ]
    if not timed or not all(0 < milliseconds < math.inf for *_, milliseconds in timed):
        return None
    processes, size, milliseconds = np.array(timed, dtype=float).T
    terms = np.stack([2 * (processes - 1), 2 * (processes - 1) * size / processes]) / milliseconds
    scale = terms.max(axis=1)  # so that nnls sees both unknowns (ms, and ms per byte) at one magnitude
    found, _ = nnls(terms.T / scale, np.ones(len(timed)))
    return Ring(*(found / scale).tolist())


def predict(groups: Sequence[Group], ring: Ring | None, weak: bool) -> list[tuple[int, float]]:
    """Predict (processes, training images per second) for more processes than measured.

    `groups` differ only in their number of processes, and are sorted by it.  Compute is the last one's step minus its
    all-reduce: constant per process if the batch grows with their number (`weak`), else divided among them.
    """
    last = groups[-1]
    batch, speed, size = last.row.train_batch_size, last.row.train_samples_per_sec, last.row.world_size
    parts = communications(last)
    if ring is None or not parts or not batch or not speed:
        return []
    compute = 1000 * batch / speed - median(ms for part in parts for ms in part.allreduce_ms)
    found = []
    for more in (2**doubling for doubling in range(1, DOUBLINGS + 1)):
        images, own = (batch * more, compute) if weak else (batch, compute / more)
        if compute > 0 and size * more <= images:  # each needs an image
            step = own + ring.milliseconds(size * more, parts[0].gradient_bytes)
            found.append((size * more, 1000 * images / step))
    return found
