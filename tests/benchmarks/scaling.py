"""Training by two processes of one thread each beside one: one batch shared by both, and a batch that grows with them.

Run with: python tests/benchmarks/scaling.py.  On a machine of two cores: suites/scaling.yaml, cut to what they can do.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parents[2]))

from mixbench.record import Record
from mixbench.results import tables
from mixbench.run import Run
from tests.benchmarks.table import Line

BATCH = 32
CUT = (
    f"recipe.0.global_batch_size={BATCH}",
    f"recipe.1.batch_size_per_process={BATCH // 2}",
    f"throughput={{batch_sizes: [{BATCH // 2}], repeats: 20}}",
)


def steps(record: Record) -> list[float]:
    """Milliseconds of each step of training."""
    assert record.details.throughput is not None
    return record.details.throughput.train_step_ms


def main() -> list[Line]:
    with tempfile.TemporaryDirectory() as folder:
        run = Run(Path(folder) / "scaling")
        command = [sys.executable, "-m", "mixbench", "run", "scaling", "--out", str(run.folder)]
        command += ["--only", "world_size=[12],model=splitmixer_*", *(word for each in CUT for word in ("--set", each))]
        subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True)
        records = [record for group in tables(run).groups for record in group.records if record.status == "done"]
    one_with = {record.train_batch_size: record for record in records if record.world_size == 1}
    [two] = (record for record in records if record.world_size == 2)  # the same trial, strong and weak
    lines = []
    for what, batch in (("sharing a batch", BATCH), ("with a batch each", BATCH // 2)):
        ratios = [BATCH / batch * median(steps(one_with[batch])) / step for step in steps(two)]
        lines.append(Line(f"two processes {what}, over one, {two.label}", ratios, "{} times"))
    for line in lines:
        print(f"{line.what}: {line.measured}")
    return lines


if __name__ == "__main__":
    main()
