"""Training by two processes of one thread each beside one: one batch shared by both, and a batch that grows with them.

Run with: python tests/benchmarks/scaling.py [ROUNDS], 3 unless told.  On a machine of two cores: suites/scaling.yaml,
cut to what they can do.  The two take turns, a short job each, and a round gives the ratio of its own medians: a
machine that drifts from round to round changes both.
"""

import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))

from mixbench.results.tables import tables
from mixbench.run.folder import Run
from mixbench.run.record import Record
from tests.benchmarks.table import Line

BATCH = 32
CUT = (
    f"recipe.0.global_batch_size={BATCH}",
    f"recipe.1.batch_size_per_process={BATCH // 2}",
    f"throughput={{batch_sizes: [{BATCH // 2}], repeats: 7}}",
)
WAYS = {"sharing a batch": BATCH, "with a batch each": BATCH // 2}
"""What two processes do → one's batch that it is compared with."""


def steps(record: Record) -> list[float]:
    """Milliseconds of each step of training."""
    assert record.details.throughput is not None
    return record.details.throughput.train_step_ms


def trained(folder: Path) -> list[Record]:
    """What a job of one process measured, and then one of two."""
    command = [sys.executable, "-m", "mixbench", "run", "scaling", "--out", str(folder)]
    command += ["--only", "world_size=[12],model=splitmixer_*", *(word for each in CUT for word in ("--set", each))]
    subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
    return [record for group in tables(Run(folder)).groups for record in group.records if record.status == "done"]


def speed_ups(records: Sequence[Record]) -> dict[str, float]:
    """By how much two processes are faster than one, each way, by the medians of one round."""
    one_with = {record.train_batch_size: median(steps(record)) for record in records if record.world_size == 1}
    [two] = (median(steps(record)) for record in records if record.world_size == 2)  # the same trial, strong and weak
    return {what: BATCH / batch * one_with[batch] / two for what, batch in WAYS.items()}


def main(rounds: int = 3) -> list[Line]:
    with tempfile.TemporaryDirectory() as folder:
        measured = [trained(Path(folder) / str(number)) for number in range(rounds)]
    label, found = measured[0][0].label, [speed_ups(records) for records in measured]
    lines = [
        Line(f"two processes {what}, over one, {label}", [each[what] for each in found], "{} times") for what in WAYS
    ]
    for line in lines:
        print(f"{line.what}: {line.measured}")
    return lines


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
