"""The work of trials in multiply-accumulates and the disk space they need, before anything runs."""

from mixbench.suite.datasets import training_images
from mixbench.suite.trial import Trial

TRAINING_COST = 3  # a training step is about three forward passes: forward, and backward to inputs and to weights


def macs_of(trials: list[Trial]) -> dict[str, int | None]:
    """Each trial's MACs of one image, by its id; None where they cannot be counted."""
    from mixbench.measure import complexity

    macs = complexity.once_each(complexity.macs_of)
    return {trial.id: macs(trial) for trial in trials}


def trained_epochs(trial: Trial) -> int:
    return trial.recipe.epochs if "accuracy" in trial.measure and not trial.weights else 0


def training_macs(trial: Trial, macs: int | None) -> int:
    """MACs of a whole training, where `macs` are those of one image; 0 where they are not known."""
    return TRAINING_COST * trained_epochs(trial) * training_images(trial.data, trial.recipe) * (macs or 0)


RECORD_BYTES = 256 * 1024
"""For a trial's record, description, logs and its part of the report; rather too much."""
PREDICTION_BYTES = 12
"""For what is predicted for a test image, at most: two classes of two bytes, two probabilities of four."""
OPTIMIZER_STATES = {"sgd": 1, "lion": 1, "adamw": 2, "lamb": 2}
"""The number of values that an optimizer keeps for each parameter."""


def needed_bytes(trials: list[Trial], at_once: int) -> tuple[int, int]:
    """Bytes of all records, predictions and kept weights; bytes of checkpoints: two of the largest, as one is written
    before the other is deleted."""
    trained = [trial for trial in trials if "accuracy" in trial.measure]
    params = _params(trained)
    kept = sum(4 * params[trial.id] for trial in trained if trial.keep_weights)
    kept += sum(PREDICTION_BYTES * trial.data.test_images for trial in trained if trial.keep_predictions)
    saved = [trial for trial in trained if not trial.weights and (trial.checkpoint.minutes or trial.checkpoint.epochs)]
    largest = max((int(4 * params[trial.id] * _copies(trial)) for trial in saved), default=0)
    return RECORD_BYTES * len(trials) + kept, 2 * largest * at_once


def _copies(trial: Trial) -> float:
    """The number of float32 values that a checkpoint holds for each parameter, on all ranks together."""
    recipe = trial.recipe
    weights = 0.0 if recipe.zero_stage == 3 else 0.5 if trial.precision == "bf16" else 1.0
    masters = 1 if recipe.zero_stage or trial.precision == "bf16" else 0
    return weights + masters + OPTIMIZER_STATES[recipe.optimizer.name] + (1 if recipe.ema else 0)


def _params(trials: list[Trial]) -> dict[str, int]:
    """Each trial's number of parameters, by its id."""
    from mixbench.measure import complexity

    params = complexity.once_each(complexity.params_of)
    return {trial.id: params(trial) for trial in trials}
