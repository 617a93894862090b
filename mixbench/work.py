"""How much work a trial is, in multiply-accumulates, before anything runs."""

from mixbench.suite.datasets import training_images
from mixbench.suite.trial import Trial

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
