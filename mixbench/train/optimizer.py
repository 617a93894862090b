"""The optimizer and its groups of parameters."""

from typing import Any

import torch
from torch import nn

from mixbench.suite.recipe import Optimizer


def make_optimizer(options: Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    """The recipe's optimizer for a model.  LAMB's own clipping is off: `clip_grad_norm` clips for all of them."""
    groups = _decayed_groups(model, options)
    shared: dict[str, Any] = dict(lr=options.lr, weight_decay=options.weight_decay)
    if options.name == "sgd":
        return torch.optim.SGD(groups, **shared, momentum=options.momentum, nesterov=options.nesterov, fused=True)
    if options.name == "adamw":
        return torch.optim.AdamW(groups, **shared, betas=options.betas, eps=options.eps, fused=True)
    import timm.optim

    if options.name == "lamb":
        return timm.optim.Lamb(groups, **shared, betas=options.betas, eps=options.eps, max_grad_norm=None)
    if options.name == "lion":
        return timm.optim.Lion(groups, **shared, betas=options.betas)
    raise AssertionError(f"no optimizer is made for {options.name}")


def _decayed_groups(model: nn.Module, options: Optimizer) -> list[dict[str, Any]]:
    """One group of all parameters, or a second one, without weight decay, for those of at most one dimension."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if options.decay_vectors:
        return [{"params": parameters}]
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    exempt = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": exempt, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]
