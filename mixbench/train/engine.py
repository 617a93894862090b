"""DeepSpeed: its import, its engine around a model, its configuration for a recipe."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn

from mixbench.suite.recipe import Recipe
from mixbench.suite.trial import Trial
from mixbench.system.precision import set_products
from mixbench.train.deepspeed_patches import patch_steps, undo_first_step
from mixbench.train.distributed import World
from mixbench.train.model import AUTOCAST
from mixbench.train.optimizer import make_optimizer


def make_engine(model: nn.Module, trial: Trial, world: World) -> Any:
    """The DeepSpeed engine around a model that lies on the world's device."""
    deepspeed = import_deepspeed()
    set_products("tf32" if trial.precision == "tf32" else "ieee")
    if trial.compile:
        model.compile()
    for weight in model.parameters():
        weight.data = weight.data.contiguous()  # torch's fused SGD updates the memory between a strided one's values
    world.broadcast(model.parameters())
    optimizer = make_optimizer(trial.recipe.optimizer, model)
    with warnings.catch_warnings(), _no_autocast_of_others(), _no_broadcast():
        warnings.simplefilter("ignore")  # DeepSpeed's own
        engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=optimizer,
            config=deepspeed_config(trial.recipe, trial.precision, world.size),
            dist_init_required=False,
        )
    if trial.precision == "bf16" and not trial.recipe.zero_stage:
        undo_first_step(engine.optimizer)
    patch_steps(engine, trial, world)
    return engine


@contextmanager
def _no_autocast_of_others() -> Iterator[None]:
    """Hide from a new engine that an earlier one computes in autocast; the earlier one finds its note again.

    DeepSpeed notes it in a module's variable, for all engines: after one in amp-fp16, ZeRO would scale every loss.
    """
    from deepspeed.runtime import torch_autocast

    noted, torch_autocast.TORCH_AUTOCAST_INITIALIZED = torch_autocast.TORCH_AUTOCAST_INITIALIZED, False
    try:
        yield
    finally:
        torch_autocast.TORCH_AUTOCAST_INITIALIZED |= noted


@contextmanager
def _no_broadcast() -> Iterator[None]:
    """Keep a new engine from broadcasting the weights, which are the same on all ranks already.

    DeepSpeed does it byte by byte, which a single number (`nn.Parameter(torch.tensor(1.0))`) has no view for.
    """
    from deepspeed.runtime.engine import DeepSpeedEngine
    from deepspeed.runtime.zero.partition_parameters import Init

    def partition(init: Any, weight: Any) -> None:
        init._convert_to_deepspeed_param(weight)
        weight.partition()

    theirs = DeepSpeedEngine._broadcast_model, Init._zero_init_param
    DeepSpeedEngine._broadcast_model, Init._zero_init_param = lambda engine: None, partition
    try:
        yield
    finally:
        DeepSpeedEngine._broadcast_model, Init._zero_init_param = theirs


def import_deepspeed() -> Any:
    """Import deepspeed quietly, and without its shared-memory collectives for CPUs.

    Those would be compiled with g++ at the first start (a minute), even for one process; gloo does the same work.
    """
    import logging

    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import deepspeed
        import deepspeed.ops
    deepspeed.utils.logger.setLevel(logging.WARNING)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if not deepspeed.comm.is_initialized():
        deepspeed.init_distributed(verbose=False, auto_mpi_discovery=False)
    return deepspeed


def deepspeed_config(recipe: Recipe, precision: str, world_size: int) -> dict[str, Any]:
    """DeepSpeed's configuration for a recipe.  The optimizer is torch's own: DeepSpeed's would have to be compiled."""
    micro_batch = recipe.global_batch_size // (world_size * recipe.gradient_accumulation)
    return {
        "train_batch_size": recipe.global_batch_size,
        "train_micro_batch_size_per_gpu": micro_batch,
        "gradient_accumulation_steps": recipe.gradient_accumulation,
        "gradient_clipping": recipe.clip_grad_norm,
        "zero_optimization": {"stage": recipe.zero_stage},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {
            "enabled": precision == "bf16",
            "check_grad_overflow": False,
        },  # the loss shows it
        "data_types": {"buffer_dtype": "bf16" if precision == "bf16" else None},
        "torch_autocast": {"enabled": precision in AUTOCAST, "dtype": AUTOCAST.get(precision, "bfloat16")},
        "steps_per_print": None,
        "timers": {"throughput": {"enabled": False}},  # they wait for the device twice a step
    }
