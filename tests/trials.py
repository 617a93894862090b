"""Small trials for the tests, planned by the real planner from a suite's text."""

from pathlib import Path
from typing import Any

import yaml

from mixbench.suite.load import load
from mixbench.suite.trial import Trial

SMALL = {
    "mixer": {"name": "mixer_s4", "dim": 16, "depth": 2, "patch_size": 2, "token_dim": 8, "channel_dim": 32},
    "splitmixer": {"name": "splitmixer_i_256_8", "dim": 16, "depth": 2, "kernel_size": 3},
    "convmixer": {"name": "convmixer_256_8", "dim": 16, "depth": 2, "kernel_size": 3},
}
RECIPE = {"epochs": 1, "global_batch_size": 70, "optimizer": {"name": "sgd", "lr": 0.05, "momentum": 0.9}}


def write_suite(folder: Path, **keys: Any) -> Path:
    """A suite file: the small MLP-Mixer on digits, one epoch of 20 steps, with these keys on top."""
    data: dict[str, Any] = {
        "name": "small",
        "models": [SMALL["mixer"]],
        "datasets": ["digits"],
        "recipe": RECIPE,
        "throughput": {"batch_sizes": [8], "warmup": 1, "warmup_cap": 2, "repeats": 3},
    }
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(data | keys), encoding="utf-8")
    return path


def plan_trials(folder: Path, **keys: Any) -> list[Trial]:
    return load(str(write_suite(folder, **keys)))[1]
