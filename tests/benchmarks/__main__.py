"""All that is said of speed, measured by one command, and the table of targets against it that stands in README.

Run with: python -m tests.benchmarks [NAME …], on a machine that does nothing else; all of them take about 45 minutes on
two cores.  Each has a process of its own; what it prints itself goes to standard error, the table to standard output.
"""

import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
from datetime import date

from mixbench.environment import environment
from tests.benchmarks.table import lines_of

BENCHMARKS: dict[str, tuple[int, ...]] = {
    "training": (64, 15),
    "overhead": (),
    "same": (),
    "scaling": (),
    "fixed_cost": (),
    "quick": (),
    "many_trials": (),
}
"""Module → its main's arguments on a CPU."""
ON_GPU: dict[str, tuple[int, ...]] = {"training": (512, 4), "overhead": (), "same": ()}


def main(*names: str) -> None:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), max_tasks_per_child=1) as alone:
        here = alone.submit(environment).result()
        benchmarks = ON_GPU if here.cuda_version else BENCHMARKS
        if unknown := set(names) - set(benchmarks):
            sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(benchmarks)}")
        chosen = {name: benchmarks[name] for name in names or benchmarks}
        versions = f"torch {here.torch_version}, deepspeed {here.deepspeed_version}, mixbench {here.git_commit[:7]}"
        print(f"{date.today()}, {here.device}, {versions}; medians (quartiles):\n")
        print("| what | measured | target | | by |\n|---|---|---|---|---|", flush=True)
        for name, arguments in chosen.items():
            command = " ".join([f"{name}.py", *map(str, arguments)])
            for line in alone.submit(lines_of, name, arguments).result():
                cells = (line.what, line.measured, line.target, line.verdict, f"`{command}`")
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
