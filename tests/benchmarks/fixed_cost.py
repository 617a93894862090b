"""What a trial costs beside its work: cold, as the only one of a run, and warm, as one of twenty-one of a job.

Run with: python tests/benchmarks/fixed_cost.py [ROUNDS].  A trial trains 2 steps of a small MLP-Mixer on digits and is
evaluated, some hundredths of a second.  Cold is all of `mixbench run` with one trial: Python, torch and DeepSpeed
loaded, the plan, the record and the page included, so more than a trial's own cost.  Warm is what each of twenty more
adds; both are measured in each round.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[2]))

from mixbench.environment import device_name
from tests.benchmarks.many_records import measured
from tests.trials import RECIPE, write_suite

MORE = 20
TARGETS = {"cold, s": 8.0, "warm, s": 1.0}


def run_seconds(folder: Path, trials: int) -> float:
    recipe = RECIPE | {"global_batch_size": 700}
    suite = write_suite(folder, recipe=recipe, measure=["accuracy"], seeds=list(range(trials)))
    command = [sys.executable, "-m", "mixbench", "run", str(suite), "--out", f"{folder}/{time.monotonic_ns()}"]
    return measured(command, folder)[0]


def main(rounds: int = 7) -> None:
    taken: dict[str, list[float]] = {kind: [] for kind in TARGETS}
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(rounds):
            cold = run_seconds(Path(folder), 1)
            taken["cold, s"].append(cold)
            taken["warm, s"].append((run_seconds(Path(folder), 1 + MORE) - cold) / MORE)
    table = Table("a trial", "median", "quartiles", "target", "met", title=f"{device_name()}, {rounds} rounds")
    for kind, seconds in taken.items():
        low, middle, high = statistics.quantiles(seconds, n=4)
        met = "yes" if middle < TARGETS[kind] else "no"
        table.add_row(kind, f"{middle:.2f}", f"{low:.2f}–{high:.2f}", f"< {TARGETS[kind]:g}", met)
    Console(width=100).print(table)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
