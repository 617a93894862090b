"""What trials will need of the disk: known, and refused, before anything is trained."""

import shutil
from pathlib import Path

from mixbench.errors import RequestError
from mixbench.trial import Trial

RECORD_BYTES = 256 * 1024
"""A trial's record, description, logs and share of the report, generously."""
OPTIMIZER_STATES = {"sgd": 1, "lion": 1, "adamw": 2, "lamb": 2}
"""How many values an optimizer keeps of each parameter."""


def check_room(trials: list[Trial], folder: Path, at_once: int) -> None:
    """Raises RequestError where the folder's disk has less room than these trials need, so many of them at a time."""
    needed = needed_bytes(trials, at_once)
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < needed:
        raise RequestError(
            f"{folder}: these trials need {needed / 1e6:,.1f} MB (records, checkpoints, weights that are kept), "
            f"{free / 1e6:,.1f} MB are free; make room, or choose another folder with --out.  Nothing was started"
        )


def needed_bytes(trials: list[Trial], at_once: int) -> int:
    """Records and kept weights of all; two checkpoints, of which one is being written, of the largest, `at_once`."""
    trained = [trial for trial in trials if "accuracy" in trial.measure]
    params = _params(trained)
    kept = sum(4 * params[trial.id] for trial in trained if trial.keep_weights)
    states = {
        trial.id: 1 + OPTIMIZER_STATES[trial.recipe.optimizer.name] + (1 if trial.recipe.ema else 0)
        for trial in trained
        if not trial.weights and (trial.checkpoint.minutes or trial.checkpoint.epochs)
    }
    largest = max((4 * params[trial_id] * count for trial_id, count in states.items()), default=0)
    return RECORD_BYTES * len(trials) + kept + 2 * largest * at_once


def _params(trials: list[Trial]) -> dict[str, int]:
    """Each trial's parameters, counted on torch's meta device."""
    import torch

    from mixbench.registry import create_model

    counted: dict[str, int] = {}
    for trial in trials:
        if trial.built_alike not in counted:
            with torch.device("meta"):
                model = create_model(trial.model, **trial.arguments)
            counted[trial.built_alike] = sum(parameter.numel() for parameter in model.parameters())
    return {trial.id: counted[trial.built_alike] for trial in trials}
