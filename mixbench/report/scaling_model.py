"""How fast more processes would train than were measured: a simple model, each number of which was measured.

A step is compute, then a ring all-reduce of the gradients; nothing overlaps.  P processes on equal links take
2 (P - 1) (a + bytes / (P B)): 2 (P - 1) messages of a P-th of the gradients, each after a latency a, at a bandwidth B.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from mixbench.results.summary import Group
from mixbench.run.timings import Communication

DOUBLINGS = 3  # beyond the largest size that was measured


@dataclass(frozen=True)
class Ring:
    """The links between processes.  `ms_per_byte` is 0 where the gradients took no longer than a single number."""

    latency_ms: float
    ms_per_byte: float

    def milliseconds(self, processes: int, size: float) -> float:
        return 2 * (processes - 1) * (self.latency_ms + self.ms_per_byte * size / processes)


def communications(group: Group) -> list[Communication]:
    parts = [record.details.throughput for record in group.records]
    return [part.communication for part in parts if part and part.communication and part.communication.allreduce_ms]


def fit(groups: Sequence[Group]) -> Ring | None:
    """The ring that comes nearest to all that was measured, as shares of it; None where nothing was."""
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
    scale = terms.max(axis=1)  # milliseconds, and milliseconds a byte
    found, _ = nnls(terms.T / scale, np.ones(len(timed)))
    return Ring(*(found / scale).tolist())


def predict(groups: Sequence[Group], ring: Ring | None, weak: bool) -> list[tuple[int, float]]:
    """Numbers of processes beyond those measured, and the images a second that they would train.

    `groups` differ in their processes alone, the most last.  Compute is the last one's step less its all-reduce: the
    same for each process where the batch grows with them (weak), else shared among them.
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
