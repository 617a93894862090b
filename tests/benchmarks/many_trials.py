"""What planning a suite of 10,000 trials takes: `validate`, `run --dry-run`, and `status` before any has run.

Run with: python tests/benchmarks/many_trials.py [SEEDS] [ROUNDS].  Ten models on two datasets by five recipes, with a
hundred seeds each.  `mixbench --help` and `list models` stand beside them, for what Python itself takes.
"""

import os
import sys
import tempfile
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parents[2]))

from mixbench.run import Run
from mixbench.suite import load
from tests.benchmarks.many_records import report

MODELS = [
    *(f"splitmixer_{kind}_256_8" for kind in ("i", "ii", "iii", "iv", "v")),
    "convmixer_256_8",
    "mixer_s4",
    {"name": "resmlp_s12", "patch_size": 4},
    *({"name": "splitmixer_i_256_8", "label": f"I {ratio}", "ratio": ratio} for ratio in ("3/5", "4/7")),
]


def main(seeds: int = 100, rounds: int = 3) -> None:
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
        for verb in (["--help"], ["list", "models"], ["validate", str(file)]):
            report(verb, run.folder.parent, rounds)
        report(["run", str(file), "--dry-run", "--out", str(run.folder)], run.folder.parent, rounds)
        os.fsync = lambda fd: None
        run.write_plan("name: many\n", load(str(file))[1])
        report(["status", str(run.folder)], run.folder, rounds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
