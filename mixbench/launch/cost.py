"""How much work a trial is, in multiply-accumulates, before anything runs."""

import shutil
from pathlib import Path

from mixbench.errors import RequestError
from mixbench.run.folder import Run
from mixbench.suite.datasets import training_images
from mixbench.suite.trial import Trial
from mixbench.system.files import nearest_there
from mixbench.system.words import decimal_size

TRAINING_COST = 3  # a training step is about three forward passes: forward, and backward to inputs and to weights


def macs_of(trials: list[Trial]) -> dict[str, int]:
    """Each trial's MACs an image, counted on torch's meta device."""
    import torch

    from mixbench.measure.complexity import count
    from mixbench.zoo.registry import create_model

    counted: dict[str, int] = {}
    result = {}
    for trial in trials:
        alike = trial.built_alike
        if alike not in counted:
            with torch.device("meta"):
                model = create_model(trial.model, **trial.arguments)
            size, channels = trial.arguments["image_size"], trial.arguments["in_chans"]
            counted[alike] = count(model, size, channels, ptflops=False).macs
        result[trial.id] = counted[alike]
    return result


def trained_epochs(trial: Trial) -> int:
    return trial.recipe.epochs if "accuracy" in trial.measure and not trial.weights else 0


def training_macs(trial: Trial, macs: int) -> int:
    """Of a whole training, where `macs` are those of an image."""
    return TRAINING_COST * trained_epochs(trial) * training_images(trial.data, trial.recipe) * macs


RECORD_BYTES = 256 * 1024
"""A trial's record, description, logs and share of the report, generously."""
OPTIMIZER_STATES = {"sgd": 1, "lion": 1, "adamw": 2, "lamb": 2}
"""How many values an optimizer keeps of each parameter."""


def check_room(trials: list[Trial], folder: Path, at_once: int) -> None:
    """Raises RequestError where the folder's disk has less room than these trials need, so many of them at a time."""
    kept, checkpoints = needed_bytes(trials, at_once)
    run = Run(folder)
    there = [path for trial in trials for path in run.checkpoints(trial.id).glob("*/*") if path.is_file()]
    needed = kept + max(0, checkpoints - sum(path.stat().st_size for path in there))
    free = shutil.disk_usage(nearest_there(folder)).free
    if free < needed:
        raise RequestError(
            f"{folder}: these trials need {decimal_size(needed)} (records, checkpoints, weights that are kept), "
            f"{decimal_size(free)} are free; make room, or choose another folder with --out.  Nothing was started"
        )


def needed_bytes(trials: list[Trial], at_once: int) -> tuple[int, int]:
    """For records and kept weights of all; for two checkpoints, of which one is being written, of the largest."""
    trained = [trial for trial in trials if "accuracy" in trial.measure]
    params = _params(trained)
    kept = sum(4 * params[trial.id] for trial in trained if trial.keep_weights)
    saved = [trial for trial in trained if not trial.weights and (trial.checkpoint.minutes or trial.checkpoint.epochs)]
    largest = max((int(4 * params[trial.id] * _copies(trial)) for trial in saved), default=0)
    return RECORD_BYTES * len(trials) + kept, 2 * largest * at_once


def _copies(trial: Trial) -> float:
    """How many float32 values a checkpoint holds of each parameter, those of all ranks together."""
    recipe = trial.recipe
    weights = 0.0 if recipe.zero_stage == 3 else 0.5 if trial.precision == "bf16" else 1.0
    masters = 1 if recipe.zero_stage or trial.precision == "bf16" else 0
    return weights + masters + OPTIMIZER_STATES[recipe.optimizer.name] + (1 if recipe.ema else 0)


def _params(trials: list[Trial]) -> dict[str, int]:
    """Each trial's parameters, counted on torch's meta device."""
    import torch

    from mixbench.zoo.registry import create_model

    counted: dict[str, int] = {}
    for trial in trials:
        if trial.built_alike not in counted:
            with torch.device("meta"):
                model = create_model(trial.model, **trial.arguments)
            counted[trial.built_alike] = sum(parameter.numel() for parameter in model.parameters())
    return {trial.id: counted[trial.built_alike] for trial in trials}
