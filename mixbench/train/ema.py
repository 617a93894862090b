"""The exponential moving average of a model's weights, evaluated in place of the weights where a recipe asks for it."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from mixbench.suite.trial import Trial


def make_average(model: nn.Module, trial: Trial) -> AveragedModel | None:
    """The average of a model's weights and buffers, None where the recipe asks for none."""
    if not trial.recipe.ema:
        return None
    return AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(trial.recipe.ema), use_buffers=True)


@torch.no_grad()
def update_average(average: AveragedModel, model: nn.Module) -> None:
    """Do what AveragedModel.update_parameters does, to the bit; that one waits for the device, to copy its counter.

    Whole numbers and masks, as BatchNorm's count of batches, are copied: torch would average and round them.
    """
    ours, theirs = _values(average.module), _values(model)
    begun = bool(average.n_averaged.item())  # it lies on the host
    for averaged in (True, False):
        which = [at for at, value in enumerate(ours) if (begun and value.dtype.is_floating_point) == averaged]
        if not which:
            continue
        some_of_ours, some_of_theirs = [ours[at] for at in which], [theirs[at] for at in which]
        if averaged:
            assert average.multi_avg_fn is not None
            average.multi_avg_fn(some_of_ours, some_of_theirs, average.n_averaged)
        else:
            torch._foreach_copy_(some_of_ours, some_of_theirs)
    average.n_averaged += 1


def _values(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
