"""A/A: a model measured twice, interleaved with others, and how far the two figures are apart.

Run with: python tests/benchmarks/same.py [RUNS], ten unless told.  Each is the throughput protocol on three models, two
times (seeds 0 and 1); they should agree within 8 % on a CPU, 3 % on a GPU.  Ctrl-C ends it with the runs that are over.
"""

import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from statistics import median

import torch

sys.path.insert(0, str(Path(__file__).parents[2]))

from mixbench.cli.terminal import console, print_table
from mixbench.measure import throughput
from mixbench.run.record import Record
from mixbench.suite.load import load
from mixbench.suite.trial import Trial
from mixbench.system.device import device_name
from mixbench.train.distributed import connect
from tests.benchmarks.table import Line

SUITE = """
name: same
models:
  - {name: splitmixer_i_256_8, label: SplitMixer-I 64/4, dim: 64, depth: 4}
  - {name: convmixer_256_8, label: ConvMixer 64/4, dim: 64, depth: 4}
  - {name: mixer_nano4, label: MLP-Mixer nano/4}
datasets: cifar10
seeds: [0, 1]
measure: [complexity, throughput]
recipe: {global_batch_size: 32, optimizer: {name: adamw, lr: 0.001}}
throughput: {batch_sizes: [32], warmup: 5, warmup_cap: 50, repeats: 30}
"""


def raise_it(trial: Trial, error: Exception) -> None:
    raise error


def main(runs: int = 10) -> list[Line]:
    throughput.ENERGY_SECONDS = 0.0  # energy is not compared here
    apart: dict[tuple[str, str], list[float]] = {}
    told: list[str] = []
    measured = 0
    with tempfile.TemporaryDirectory() as folder, suppress(KeyboardInterrupt):
        file = Path(folder) / "same.yaml"
        file.write_text(SUITE, encoding="utf-8")
        _, trials = load(str(file))
        world = connect(Path(folder) / "meeting.json")
        for _ in range(runs):
            pairs: dict[str, list[Record]] = {}
            for trial, samples in throughput.measure(trials, world, lambda *_: None, raise_it):
                record = Record.pending(trial)
                record.add_throughput(samples)
                measured += 1
                pairs.setdefault(record.label, []).append(record)
                told += map(str, record.flags)
            for label, (a, b) in pairs.items():
                for kind in ("infer", "train"):
                    ours, theirs = (getattr(each, f"{kind}_samples_per_sec") for each in (a, b))
                    apart.setdefault((label, kind), []).append(100 * (ours / theirs - 1))
    if not apart:
        sys.exit("no run is over: nothing to compare")
    rows = [
        {
            "model": label,
            "step": kind,
            "apart, median %": f"{median(map(abs, values)):.2f}",
            "lowest %": f"{min(values):+.2f}",
            "highest %": f"{max(values):+.2f}",
        }
        for (label, kind), values in apart.items()
    ]
    to = console()
    print_table(rows, to)
    worst = max(abs(value) for values in apart.values() for value in values)
    what = f"a model measured twice, furthest apart in {len(next(iter(apart.values())))} runs of three small models"
    line = Line(what, [worst], "{} %", below=3 if torch.cuda.is_available() else 8)
    to.print(f"{line.what}: {line.measured}, target {line.target}; {device_name()}, torch {torch.__version__}")
    for flag in sorted(set(told)):
        to.print(f"flagged {told.count(flag)} times of {measured}: {flag}")
    return [line]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
