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
    """Do what AveragedModel.update_parameters does, to the bit; that one waits for the device, to copy its counter."""
    ours, theirs = _values(average.module), _values(model)
    if not average.n_averaged.item():  # it lies on the host
        torch._foreach_copy_(ours, theirs)
    else:
        assert average.multi_avg_fn is not None
        for floats in (True, False):
            which = [place for place, value in enumerate(ours) if value.is_floating_point() == floats]
            if which:
                average.multi_avg_fn([ours[at] for at in which], [theirs[at] for at in which], average.n_averaged)
    average.n_averaged += 1


def _values(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]
