"""All that is said of speed, measured by one command, and the table of targets against it that stands in README.

Run with: python -m tests.benchmarks [NAME …], on a machine that does nothing else; all of them take about 45 minutes on
two cores.  Each has a process of its own; what it prints itself goes to standard error, the table to standard output.
One that fails is a row that says so, with its traceback on standard error; the others go on, and the exit status is 1.
"""

import multiprocessing
import sys
import traceback
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from typing import Any

from mixbench.measure.recorder import environment
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
    here = alone(environment)
    benchmarks = ON_GPU if here.cuda_version else BENCHMARKS
    if unknown := set(names) - set(benchmarks):
        sys.exit(f"no such benchmark: {', '.join(sorted(unknown))}; there are {', '.join(benchmarks)}")
    chosen = {name: benchmarks[name] for name in names or benchmarks}
    versions = f"torch {here.torch_version}, deepspeed {here.deepspeed_version}, mixbench {here.git_commit[:7]}"
    print(f"{date.today()}, {here.device}, {versions}; medians (quartiles):\n")
    print("| what | measured | target | | by |\n|---|---|---|---|---|", flush=True)
    failed = False
    for name, arguments in chosen.items():
        command = " ".join([f"{name}.py", *map(str, arguments)])
        try:
            rows = [(line.what, line.measured, line.target, line.verdict) for line in alone(lines_of, name, arguments)]
        except (Exception, SystemExit) as error:  # BrokenProcessPool, where the process died
            failed = True
            traceback.print_exception(error)
            said = f"{type(error).__name__}: {error}".splitlines()[0].replace("|", r"\|")
            rows = [(name, said, "", "failed")]
        for row in rows:
            print(f"| {' | '.join((*row, f'`{command}`'))} |", flush=True)
    if failed:
        sys.exit(1)


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """What it gives, or raises, in a process of its own."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(work, *arguments).result()


if __name__ == "__main__":
    main(*sys.argv[1:])
