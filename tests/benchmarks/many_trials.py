"""What planning a suite of 10,000 trials takes: `validate`, `run --dry-run`, and `status` before any has run.

Run with: python tests/benchmarks/many_trials.py [SEEDS] [ROUNDS].  Ten models on two datasets by five recipes, with a
hundred seeds each.  `mixbench --help` and `list models` stand beside them, for what Python itself takes.
"""

import os
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))

from mixbench.run.folder import Run
from mixbench.suite.load import load
from tests.benchmarks.many_records import report
from tests.benchmarks.table import Line

MODELS = [
    *(f"splitmixer_{kind}_256_8" for kind in ("i", "ii", "iii", "iv", "v")),
    "convmixer_256_8",
    "mixer_s4",
    {"name": "resmlp_s12", "patch_size": 4},
    *({"name": "splitmixer_i_256_8", "label": f"I {ratio}", "ratio": ratio} for ratio in ("3/5", "4/7")),
]
FEW = 18  # as many as the quick suite has


def main(seeds: int = 100, rounds: int = 3) -> list[Line]:
    suite = {
        "name": "many",
        "models": MODELS,
        "datasets": ["cifar10", "cifar100"],
        "seeds": list(range(seeds)),
        "recipe": [{"name": f"{epochs} epochs", "epochs": epochs} for epochs in range(3, 8)],
    }
    with tempfile.TemporaryDirectory() as folder:
        file, run = Path(folder) / "many.yaml", Run(Path(folder) / "many")
        file.write_text(yaml.safe_dump(suite), encoding="utf-8")
        lines = [
            Line(f"mixbench {' '.join(words)}, of CPU", report(words, run.folder.parent, rounds)[1], "{} s", below=0.3)
            for words in (["--help"], ["list", "models"])
        ]
        load(str(file))  # torch is there afterwards
        planning = [seconds_to_plan(file) for _ in range(rounds)]
        trials = load(str(file))[1]
        many = f"{len(trials):,} trials"
        lines.append(Line(f"a plan of {many}, without Python's and torch's start", planning, "{} s", below=2))
        dry = ["run", str(file), "--dry-run", "--out", str(run.folder)]
        for words in (["validate", str(file)], dry):
            verb = " ".join(word for word in words if word.isalpha() or word == "--dry-run")
            lines.append(Line(f"mixbench {verb}, {many}", report(words, run.folder.parent, rounds)[0], "{} s", below=2))
        os.fsync = lambda fd: None
        for some, below in ((trials[:FEW], 0.3), (trials, 3)):
            run.write_plan("name: many\n", some)
            seconds = report(["status", str(run.folder)], run.folder, rounds)[1]
            lines.append(Line(f"mixbench status, {len(some):,} trials, of CPU", seconds, "{} s", below=below))
    return lines


def seconds_to_plan(file: Path) -> float:
    began = time.perf_counter()
    load(str(file))
    return time.perf_counter() - began


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
