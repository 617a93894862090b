"""Training: DeepSpeed's engine at every size, its loop, the learning rate at each step."""

import random
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mixbench.suite.recipe import Recipe
from mixbench.suite.trial import Trial
from mixbench.system.precision import set_products
from mixbench.train.deepspeed_patches import spare, undo_first_step
from mixbench.train.distributed import World
from mixbench.train.optimizer import make_optimizer
from mixbench.zoo.registry import create_model

AUTOCAST = {"amp-bf16": "bfloat16", "amp-fp16": "float16"}
MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def build_model(trial: Trial, world: World) -> nn.Module:
    """The trial's model with its seed's initial weights, on the device; what it draws later differs between ranks."""
    seed_all(trial.seed)
    model = create_model(trial.model, **trial.arguments).to(world.device)
    seed_all(trial.seed + world.rank)
    return model


def seed_all(seed: int) -> None:
    """torch's random numbers on all devices, and Python's and NumPy's, which a plugin's model may draw."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def make_engine(model: nn.Module, trial: Trial, world: World) -> Any:
    """The DeepSpeed engine around a model that lies on the world's device."""
    deepspeed = import_deepspeed()
    set_products("tf32" if trial.precision == "tf32" else "ieee")
    if trial.compile:
        model.compile()
    optimizer = make_optimizer(trial.recipe.optimizer, model)
    with warnings.catch_warnings(), _no_autocast_of_others():
        warnings.simplefilter("ignore")  # of DeepSpeed's own doing
        engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=optimizer,
            config=deepspeed_config(trial.recipe, trial.precision, world.size),
            dist_init_required=False,
        )
    if trial.precision == "bf16" and not trial.recipe.zero_stage:
        undo_first_step(engine.optimizer)
    spare(engine, trial, world)
    return engine


@contextmanager
def _no_autocast_of_others() -> Iterator[None]:
    """DeepSpeed notes in its module that an engine computes in autocast: after one in amp-fp16, ZeRO scales all losses.

    Engines that live on find the note again.
    """
    from deepspeed.runtime import torch_autocast

    noted, torch_autocast.TORCH_AUTOCAST_INITIALIZED = torch_autocast.TORCH_AUTOCAST_INITIALIZED, False
    try:
        yield
    finally:
        torch_autocast.TORCH_AUTOCAST_INITIALIZED |= noted


def import_deepspeed() -> Any:
    """deepspeed, without its chatter, and without its shared-memory collectives for CPUs.

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
        "bf16": {"enabled": precision == "bf16", "check_grad_overflow": False},  # the loss tells, without a wait
        "data_types": {"buffer_dtype": "bf16" if precision == "bf16" else None},
        "torch_autocast": {"enabled": precision in AUTOCAST, "dtype": AUTOCAST.get(precision, "bfloat16")},
        "steps_per_print": None,
        "timers": {"throughput": {"enabled": False}},  # it waits for the device twice a step
    }


def autocast(trial: Trial, world: World) -> torch.autocast:
    """The context that DeepSpeed's engine computes in."""
    enabled = trial.precision in AUTOCAST
    return torch.autocast(world.device.type, getattr(torch, AUTOCAST.get(trial.precision, "bfloat16")), enabled)


def as_input(images: Tensor, trial: Trial) -> Tensor:
    """Images in the type and memory format that the trial's model computes in (autocast starts from fp32).

    Convolutions follow the format of their input; the weights stay as they are, which DeepSpeed relies on.
    """
    dtype = torch.bfloat16 if trial.precision == "bf16" else torch.float32
    return images.to(dtype=dtype, memory_format=MEMORY_FORMATS[trial.memory_format])
