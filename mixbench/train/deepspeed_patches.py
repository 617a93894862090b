"""What DeepSpeed does in a step for nothing, left out: small kernels by the dozen, and waits for the device."""

from functools import partial
from typing import Any

import torch
from torch import nn

from mixbench.suite.trial import Trial
from mixbench.train.distributed import World


def spare(engine: Any, trial: Trial, world: World) -> None:
    """Have the engine's steps ask for no number of the device, and a lone process send itself no gradients.

    DeepSpeed asks whether gradients are finite, and skips the step in silence where one is not; here the next loss, or
    a weight, is no number either, which the training names (in amp-fp16 torch's scaler skips the step, as it should).
    ZeRO's optimizers are left to their settings, with which 1 and 2 ask nothing where nothing is clipped.  What is
    left, of torch: in amp-fp16 the scaler asks for timm's LAMB and Lion, once a step; of DeepSpeed 0.19.8, a step:

    - 1 and 2 that clip: is_invalid_grad_norm, in unscale_and_clip_grads for each group of parameters, and but for bf16
      in step once more; on a GPU a number is copied for each group's norm (mask_nan_or_inf_with_val_inplace) besides;
    - 3: is_invalid_grad_norm in step, once; on a GPU also a copy for each group's norm (get_grad_norm_direct), a stream
      at each backward's end (independent_gradient_partition_epilogue) and, in a lone process, one for all weights that
      are fetched (NoGatherHandle.wait).
    """
    weights, largest = list(engine.module.parameters()), trial.recipe.clip_grad_norm
    if trial.recipe.zero_stage:
        # 0.19.8 has a key for it in its configuration, which earlier versions refuse; an attribute they pass over
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
    """Take back the step that DeepSpeed's optimizer for bf16 without ZeRO takes when it is made, on gradients of zero.

    It decays weights and counts for Adam's moments, which no other precision does.
    """
    torch._foreach_copy_(_masters(optimizer), _weights(optimizer))
    optimizer.optimizer.state.clear()
    for group in optimizer.optimizer.param_groups:
        group.pop("step", None)  # timm's LAMB counts there


def _weights(optimizer: Any) -> list[Any]:
    return [weight for group in optimizer.fp16_groups for weight in group]


def _masters(optimizer: Any) -> list[Any]:
    """The fp32 weights that bf16's are rounded from."""
    return [master for group in optimizer.fp32_groups for master in group]


def _fill_gradients(weights: list[nn.Parameter]) -> None:
    """Zeros for weights that no gradient came to, as they have them where several processes exchange them."""
    for weight in weights:
        if weight.grad is None and weight.requires_grad:
            weight.grad = torch.zeros_like(weight)


@torch.no_grad()
def _step_masters(optimizer: Any, largest: float) -> None:
    """A step of DeepSpeed's FP16_UnfusedOptimizer, whose loss scale is 1 in bf16: fp32 masters, bf16 weights.

    All weights have gradients by now.
    """
    weights, masters = _weights(optimizer), _masters(optimizer)
    try:
        for master in masters:
            master.grad = torch.empty_like(master)
        torch._foreach_copy_([master.grad for master in masters], [weight.grad for weight in weights])
        optimizer._global_grad_norm = nn.utils.clip_grad_norm_(masters, largest, foreach=True) if largest else None
        optimizer.optimizer.step()
        torch._foreach_copy_(weights, masters)
    finally:  # of memory that ran out, too: what is timed next is to find it free
        for master in masters:
            master.grad = None
    optimizer._update_scale(False)  # counts the steps
