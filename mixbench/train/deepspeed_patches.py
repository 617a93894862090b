"""Patches that leave out of DeepSpeed's steps what they do in vain: dozens of small kernels, waits for the device."""

from functools import partial
from typing import Any

import torch
from torch import nn

from mixbench.suite.trial import Trial
from mixbench.train.distributed import World


def patch_steps(engine: Any, trial: Trial, world: World) -> None:
    """Make the engine's steps never wait for the device, and a single process exchange no gradients with itself.

    DeepSpeed waits to see if the gradients are finite, and silently skips the step where they are not.  Here the step
    is taken, and the loop stops at the next loss or weight, which is not finite either (in amp-fp16 torch's scaler
    skips the step, as it should).  ZeRO's optimizers are only configured: stages 1 and 2 do not wait unless they clip.

    Waits that remain in each step: in amp-fp16, one of torch's scaler for timm's LAMB and Lion; in DeepSpeed 0.19.8:

    - stages 1 and 2 that clip: is_invalid_grad_norm in unscale_and_clip_grads, for each group of parameters, and again
      in step except in bf16; on a GPU also a copy for each group's norm (mask_nan_or_inf_with_val_inplace);
    - stage 3: is_invalid_grad_norm in step; on a GPU also a copy for each group's norm (get_grad_norm_direct), for a
      stream at the end of each backward (independent_gradient_partition_epilogue) and, in a single process, for all
      fetched weights (NoGatherHandle.wait).
    """
    weights, largest = list(engine.module.parameters()), trial.recipe.clip_grad_norm
    if trial.recipe.zero_stage:
        # 0.19.8 has a key for it in its configuration, which earlier versions refuse; they ignore an attribute
        engine.optimizer.compute_grad_norm = bool(largest)
        return
    if world.size == 1:
        engine.buffered_allreduce_fallback = lambda **_: _fill_gradients(weights)
    if trial.precision == "bf16":
        engine.optimizer.step = partial(_step_masters, engine.optimizer, largest)
    else:
        engine.clip_fp32_gradients = lambda: nn.utils.clip_grad_norm_(weights, largest, foreach=True)
        engine.zero_grad = engine.optimizer.zero_grad


@torch.no_grad()
def undo_first_step(optimizer: Any) -> None:
    """Undo the step, with zero gradients, that DeepSpeed's bf16 optimizer without ZeRO takes when it is created.

    It would decay the weights and count as a step of Adam's, as in no other precision.
    """
    torch._foreach_copy_(_masters(optimizer), _weights(optimizer))
    optimizer.optimizer.state.clear()
    for group in optimizer.optimizer.param_groups:
        group.pop("step", None)  # timm's LAMB counts there


def _weights(optimizer: Any) -> list[Any]:
    return [weight for group in optimizer.fp16_groups for weight in group]


def _masters(optimizer: Any) -> list[Any]:
    """The fp32 weights, of which the bf16 weights are rounded copies."""
    return [master for group in optimizer.fp32_groups for master in group]


def _fill_gradients(weights: list[nn.Parameter]) -> None:
    """Zero gradients for weights without one, as they get where several processes exchange gradients."""
    for weight in weights:
        if weight.grad is None and weight.requires_grad:
            weight.grad = torch.zeros_like(weight)


@torch.no_grad()
def _step_masters(optimizer: Any, largest: float) -> None:
    """A step of DeepSpeed's FP16_UnfusedOptimizer, whose loss scale is 1 in bf16: fp32 masters, bf16 weights.

    Every weight has a gradient by now.
    """
    weights, masters = _weights(optimizer), _masters(optimizer)
    try:
        for master in masters:
            master.grad = torch.empty_like(master)
        torch._foreach_copy_([master.grad for master in masters], [weight.grad for weight in weights])
        optimizer._global_grad_norm = nn.utils.clip_grad_norm_(masters, largest, foreach=True) if largest else None
        optimizer.optimizer.step()
        torch._foreach_copy_(weights, masters)
    finally:  # also when memory ran out: what is timed next needs it free
        for master in masters:
            master.grad = None
    optimizer._update_scale(False)  # counts the steps
