"""Training: DeepSpeed's engine at every size, its loop, the learning rate at each step."""

import math
import random
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from mixbench.average import follow
from mixbench.checkpoint import Checkpoints, Position
from mixbench.data.loader import TrainLoader
from mixbench.errors import TrialError
from mixbench.steps import spare, undo_first_step
from mixbench.suite.recipe import Optimizer, Recipe, Schedule
from mixbench.suite.trial import Trial
from mixbench.system.precision import set_products
from mixbench.world import World
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


def make_optimizer(options: Optimizer, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer with its groups of parameters.  LAMB clips nothing by itself: that is `clip_grad_norm`'s."""
    groups = _decayed_groups(model, options)
    shared: dict[str, Any] = dict(lr=options.lr, weight_decay=options.weight_decay)
    if options.name == "sgd":
        return torch.optim.SGD(groups, **shared, momentum=options.momentum, nesterov=options.nesterov, fused=True)
    if options.name == "adamw":
        return torch.optim.AdamW(groups, **shared, betas=options.betas, eps=options.eps, fused=True)
    import timm.optim

    if options.name == "lamb":
        return timm.optim.Lamb(groups, **shared, betas=options.betas, eps=options.eps, max_grad_norm=None)
    return timm.optim.Lion(groups, **shared, betas=options.betas)


def _decayed_groups(model: nn.Module, options: Optimizer) -> list[dict[str, Any]]:
    """All parameters in one group, or those of one dimension in a second one without weight decay."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if options.decay_vectors:
        return [{"params": parameters}]
    decayed = [parameter for parameter in parameters if parameter.ndim > 1]
    exempt = [parameter for parameter in parameters if parameter.ndim <= 1]
    groups: list[dict[str, Any]] = [{"params": decayed}, {"params": exempt, "weight_decay": 0.0}]
    return [group for group in groups if group["params"]]


def lr_share(schedule: Schedule, step: int, steps: int, steps_per_epoch: int) -> float:
    """The learning rate of step 0 … steps − 1 as a share of the optimizer's.

    Positions count finished steps, so that piecewise_linear ends on its last point, as SplitMixer's notebook does.
    """
    if schedule.name == "constant":
        return 1.0
    if schedule.name == "piecewise_linear":
        return _interpolate(schedule.points, (step + 1) / steps)
    if schedule.name == "one_cycle":
        return _one_cycle(schedule, step, steps)
    warmup = schedule.warmup_epochs * steps_per_epoch
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    return _half_cosine(1.0, schedule.final, (step - warmup) / max(1.0, steps - warmup))


def _one_cycle(schedule: Schedule, step: int, steps: int) -> float:
    """torch's OneCycleLR with three phases off: it counts its phases in steps from 0 to `steps` - 1."""
    start = 1 / schedule.start_divisor
    top = max(0.0, schedule.rise * steps - 1)
    if step < top:
        return _half_cosine(start, 1.0, step / top)
    return _half_cosine(1.0, start / schedule.end_divisor, (step - top) / (steps - 1 - top))


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


def _interpolate(points: tuple[tuple[float, float], ...], at: float) -> float:
    for (left, low), (right, high) in pairwise(points):
        if at <= right:
            return low + (high - low) * (at - left) / (right - left) if right > left else high
    return points[-1][1]


def train_epoch(
    engine: Any,
    trial: Trial,
    loader: TrainLoader,
    world: World,
    position: Position,
    average: AveragedModel | None = None,
    checkpoints: Checkpoints | None = None,
) -> tuple[float, float]:
    """Train from `position` to the end of its epoch: the mean training loss, and the last step's learning rate.

    `average` follows the weights from step to step.  What saving takes is none of the position's seconds.
    Raises TrialError where the loss or a weight is no longer a number, or a checkpoint cannot be written.
    """
    pieces, rates = trial.recipe.gradient_accumulation, _Rates(trial.recipe, loader, position.epoch)
    losses = _Losses(position, world, rates)
    engine.train()
    began = time.perf_counter() - position.seconds
    for index, (images, targets) in enumerate(loader.epoch(trial.seed, position.epoch, pieces, position.step)):
        rates.set(engine, position.step)
        share = len(targets) * world.size * pieces / loader.batch_size(position.step)
        losses.add(train_step(engine, trial, images, targets, share), len(targets))
        if index % pieces < pieces - 1:
            continue
        position.step += 1
        if average is not None:
            follow(average, engine.module)
        if checkpoints is not None and checkpoints.due(step := rates.before + position.step):
            losses.check(engine.module)
            position.seconds = time.perf_counter() - began
            checkpoints.save(engine, average, position, step)
            began = time.perf_counter() - position.seconds
    loss = losses.check(engine.module) / loader.images(pieces)
    position.seconds = time.perf_counter() - began
    return loss, rates.of(position.step - 1)


class _Rates:
    """The learning rates of an epoch's steps; `before` is the number of steps before it."""

    def __init__(self, recipe: Recipe, loader: TrainLoader, epoch: int):
        self.recipe, self.epoch = recipe, epoch
        self.per_epoch = loader.steps(recipe.gradient_accumulation)
        self.before, self.steps = epoch * self.per_epoch, recipe.epochs * self.per_epoch

    def of(self, step: int) -> float:
        share = lr_share(self.recipe.schedule, self.before + step, self.steps, self.per_epoch)
        return self.recipe.optimizer.lr * share

    def set(self, engine: Any, step: int) -> None:
        for group in engine.optimizer.param_groups:
            group["lr"] = self.of(step)

    def place(self, step: int) -> str:
        """A step as a person would name it, with its learning rate."""
        epochs = f"epoch {self.epoch + 1} of {self.recipe.epochs}"
        return f"at step {step + 1} of {self.per_epoch}, {epochs}, lr {self.of(step):.3g}"


class _Losses:
    """An epoch's training loss, summed in its position; on the device, so that no step waits for it."""

    FINE = torch.iinfo(torch.int64).max

    def __init__(self, position: Position, world: World, rates: _Rates):
        self.position, self.world, self.rates = position, world, rates
        position.loss_sum = torch.as_tensor(position.loss_sum, dtype=torch.float32, device=world.device)
        self.wrong = torch.tensor(self.FINE, device=world.device)

    def add(self, loss: Tensor, images: int) -> None:
        self.position.loss_sum = self.position.loss_sum + loss * images
        self.wrong = torch.where(loss.isfinite(), self.wrong, self.wrong.clamp(max=self.position.step))

    def check(self, model: nn.Module) -> float:
        """The sum over all ranks' images.  Raises TrialError for the first step whose loss was no number.

        Or for the last one, whose gradients no loss followed, where it left weights that are none.
        """
        total = float(self.world.sum(torch.as_tensor(self.position.loss_sum).clone()))
        wrong = -int(self.world.max(-self.wrong))
        if wrong < self.FINE:
            raise TrialError(f"the training loss is {total} {self.rates.place(wrong)}")
        if self.world.any(not torch.stack([weight.isfinite().all() for weight in model.parameters()]).all()):
            raise TrialError(f"a weight is no number {self.rates.place(self.position.step - 1)}")
        return total


def train_step(engine: Any, trial: Trial, images: Tensor, targets: Tensor, share: float = 1.0) -> Tensor:
    """Forward, backward, update (at an accumulation's end); the mean loss of these images, still on the device.

    targets: B labels, or B K probabilities.  `share` is the weight of these images among the pieces of their batch, of
    which DeepSpeed takes the plain mean: 1 where all are equally large.
    """
    logits = engine(as_input(images, trial)).float()
    loss = F.cross_entropy(logits, targets, label_smoothing=trial.recipe.label_smoothing)
    engine.backward(loss * share)
    engine.step()
    return loss.detach()


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
