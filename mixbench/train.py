"""Training: DeepSpeed's engine at every size, its loop, the learning rate at each step."""

import math
import time
import warnings
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixbench.data.loader import TrainLoader
from mixbench.errors import TrialError
from mixbench.registry import create_model
from mixbench.trial import Optimizer, Recipe, Schedule, Trial
from mixbench.world import World

MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def build_model(trial: Trial, world: World) -> nn.Module:
    """The trial's model with its seed's initial weights, on the device; what it draws later differs between ranks."""
    torch.manual_seed(trial.seed)
    model = create_model(trial.model, **trial.arguments).to(world.device)
    torch.manual_seed(trial.seed + world.rank)
    return model


def set_precision(trial: Trial) -> None:
    """Whether fp32 products may run as TF32 on a GPU: said for each trial, torch's defaults differ by operator."""
    if torch.cuda.is_available():
        torch.backends.fp32_precision = "tf32" if trial.precision == "tf32" else "ieee"  # type: ignore[attr-defined]


def make_engine(model: nn.Module, trial: Trial, world: World) -> Any:
    """The DeepSpeed engine around a model that lies on the world's device."""
    deepspeed = import_deepspeed()
    set_precision(trial)
    if trial.compile:
        model.compile()
    optimizer = make_optimizer(trial.recipe.optimizer, model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of DeepSpeed's own doing
        engine, *_ = deepspeed.initialize(
            model=model,
            optimizer=optimizer,
            config=deepspeed_config(trial.recipe, trial.precision, world.size),
            dist_init_required=False,
        )
    return engine


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
        "bf16": {"enabled": precision == "bf16"},
        "torch_autocast": {"enabled": precision == "amp-bf16", "dtype": "bfloat16"},
        "steps_per_print": None,
    }


def make_optimizer(options: Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if options.name == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=options.lr,
            weight_decay=options.weight_decay,
            momentum=options.momentum,
            nesterov=options.nesterov,
        )
    return torch.optim.AdamW(
        parameters, lr=options.lr, weight_decay=options.weight_decay, betas=options.betas, eps=options.eps
    )


def lr_share(schedule: Schedule, step: int, steps: int, steps_per_epoch: int) -> float:
    """The learning rate of step 0 … steps − 1 as a share of the optimizer's.

    Positions count finished steps, so that piecewise_linear ends on its last point, as SplitMixer's notebook does.
    """
    if schedule.name == "constant":
        return 1.0
    if schedule.name == "piecewise_linear":
        return _interpolate(schedule.points, (step + 1) / steps)
    warmup = schedule.warmup_epochs * steps_per_epoch
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    progress = (step - warmup) / max(1.0, steps - warmup)
    return schedule.final + (1 - schedule.final) * 0.5 * (1 + math.cos(math.pi * progress))


def _interpolate(points: tuple[tuple[float, float], ...], at: float) -> float:
    for (left, low), (right, high) in pairwise(points):
        if at <= right:
            return low + (high - low) * (at - left) / (right - left) if right > left else high
    return points[-1][1]


def train(engine: Any, trial: Trial, loader: TrainLoader, world: World) -> Iterator[tuple[int, float, float, float]]:
    """Train epoch by epoch; after each: (epoch from 1, last learning rate, mean training loss, seconds).

    Raises TrialError where the loss is no longer a number.
    """
    recipe = trial.recipe
    pieces = recipe.gradient_accumulation
    steps = recipe.epochs * len(loader)
    for epoch in range(recipe.epochs):
        engine.train()
        total = torch.zeros((), device=world.device)
        started = time.perf_counter()
        step = epoch * len(loader)
        for index, (images, labels) in enumerate(loader.epoch(trial.seed, epoch, pieces)):
            lr = recipe.optimizer.lr * lr_share(recipe.schedule, step, steps, len(loader))
            _set_lr(engine, lr)
            total += train_step(engine, trial, images, labels)
            step += (index + 1) % pieces == 0
        loss = float(world.sum(total)) / (len(loader) * pieces * world.size)
        seconds = time.perf_counter() - started
        if not math.isfinite(loss):
            raise TrialError(f"the training loss is {loss} in epoch {epoch + 1} of {recipe.epochs}, lr {lr:.3g}")
        yield epoch + 1, lr, loss, seconds


def train_step(engine: Any, trial: Trial, images: Tensor, labels: Tensor) -> Tensor:
    """Forward, backward, update (at an accumulation's end); the loss, still on the device."""
    logits = engine(as_input(images, trial)).float()
    loss = F.cross_entropy(logits, labels, label_smoothing=trial.recipe.label_smoothing)
    engine.backward(loss)
    engine.step()
    return loss.detach()


def as_input(images: Tensor, trial: Trial) -> Tensor:
    """Images in the type and memory format that the trial's model computes in (autocast starts from fp32).

    Convolutions follow the format of their input; the weights stay as they are, which DeepSpeed relies on.
    """
    dtype = torch.bfloat16 if trial.precision == "bf16" else torch.float32
    return images.to(dtype=dtype, memory_format=MEMORY_FORMATS[trial.memory_format])


def _set_lr(engine: Any, lr: float) -> None:
    for group in engine.optimizer.param_groups:
        group["lr"] = lr
