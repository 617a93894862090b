"""What `mixbench report` and `mixbench status` take of a run of 10,000 records: seconds, CPU seconds, peak memory.

Run with: python tests/benchmarks/many_records.py [RECORDS] [ROUNDS].  The run is made up in a temporary folder: a
thousand models on four datasets with ten seeds each, with the curves, layers and timings of SplitMixer-I's CIFAR
recipe, 21 KB a record.
"""

import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from mixbench.run.folder import Run
from mixbench.run.parts import Layer
from mixbench.run.record import Record
from tests.fake_runs import CIFAR10, MODELS, done, trial, write_run

SEEDS, DATASETS = 10, ("cifar10", "cifar100", "food101", "flowers102")
VERBS = (["status"], ["report", "--format", "csv"], ["report", "--format", "markdown"], ["report"])


def records(count: int) -> list[Record]:
    """Rows of ten seeds, spread over four datasets and the nine models with overrides of their own."""
    found = []
    for number in range(count):
        row, seed = divmod(number, SEEDS)
        model, family, *_ = MODELS[row % len(MODELS)]
        dataset, dim = DATASETS[row % len(DATASETS)], 64 + row
        each = trial(
            model, seed, overrides={"dim": dim}, label=f"{family} {dim}", dataset=dataset,
            data=replace(CIFAR10, name=dataset), id=f"{model}.dim.{dim}.-{dataset}-s{seed}-{number:08x}",
        )  # fmt: skip
        found.append(with_layers(done(each, 80 + 15 * (row * 37 % 997) / 997 + seed / 10, params=1000 * dim + row)))
    return found


def with_layers(record: Record, layers: int = 45) -> Record:
    complexity = record.details.complexity
    assert complexity is not None
    rows = [
        Layer(
            name=f"blocks.{number // 6}.fn.{number % 6}", type="Conv2d", params=65792 + number, macs=16777216,
            input_shape=[256, 16, 16], output_shape=[256, 16, 16],
        )
        for number in range(layers)
    ]  # fmt: skip
    details = record.details.model_copy(update={"complexity": complexity.model_copy(update={"layers": rows})})
    return record.model_copy(update={"details": details})


def measured(command: list[str], folder: Path) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds and peak MB of a command.

    A small process starts it: of one that this one starts, Linux counts this one's memory too.  Python may keep its
    bytecode, as it does unless told otherwise.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    starter = (
        "import os, subprocess, sys, time; began = time.perf_counter(); "
        "child = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL); _, status, usage = os.wait4(child.pid, 0); "
        "print(time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024); "
        "sys.exit(os.waitstatus_to_exitcode(status))"
    )
    words = [sys.executable, "-c", starter, *command]
    done = subprocess.run(words, env=environment, cwd=folder, capture_output=True, check=True)
    wall, cpu, peak = map(float, done.stdout.split())
    return wall, cpu, peak


def report(words: list[str], folder: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Print what `mixbench` with these words takes, the median of some rounds; wall and CPU seconds of each.

    A round before them is not counted: it may compile.
    """
    taken = [measured([sys.executable, "-m", "mixbench", *words], folder) for _ in range(rounds + 1)][1:]
    walls, cpus, peaks = map(list, zip(*taken, strict=True))
    shown = " ".join(word for word in words if "/" not in word)
    wall, cpu, peak = map(statistics.median, (walls, cpus, peaks))
    print(f"mixbench {shown}: {wall:.2f} s, {cpu:.2f} s of CPU, {peak:,.0f} MB", flush=True)
    return walls, cpus


def made(folder: Path, count: int) -> Run:
    """The run in a folder, made where it is not there yet."""
    if (folder / "plan.json").exists():
        return Run(folder)
    found = records(count)
    os.fsync = lambda fd: None
    return write_run(folder, [record.details.trial for record in found], found)


def main(count: int = 10_000, rounds: int = 3) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = made(Path(folder) / "many", count)
        files = list(run.folder.glob("trials/*/*.json"))
        print(f"{count:,} records, {sum(path.stat().st_size for path in files) / 1e6:,.0f} MB in {len(files):,} files")
        for verb in VERBS:
            report([*verb, str(run.folder)], run.folder, rounds)
        for name in ("report.html", "results.csv", "report.md"):
            if (path := run.folder / name).exists():
                print(f"{name}: {path.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
