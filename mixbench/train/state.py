"""A training at one moment as plain data: its position, weights, optimizer, average, loss scale, random numbers."""

import random
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from mixbench.run.parts import Epoch


@dataclass
class Position:
    """The progress of a training: `step` global batches into epoch `epoch` (both from 0).  Only `fit` changes it.

    loss_sum: the training loss of this rank's images of the epoch so far, on the device.
    seconds: training time since the last point of `curve`.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    loss_sum: Tensor = field(default_factory=lambda: torch.zeros(()))
    curve: list[Epoch] = field(default_factory=list)


def capture(engine: Any, average: AveragedModel | None, position: Position) -> tuple[dict[str, Any], dict[str, Any]]:
    """(what all ranks share, what is this rank's own).

    ZeRO's optimizers hold each rank's share of the optimizer's state, and of the weights.
    """
    optimizer = engine.optimizer.state_dict()
    divided = engine.zero_optimization()
    whole = not engine.zero_optimization_partition_weights()
    scaler = engine.torch_autocast_z0_gradscaler
    shared = {
        "module": engine.module.state_dict() if whole else dict(engine.module.named_buffers()),
        "optimizer": None if divided else optimizer,
        "scaler": scaler.state_dict() if scaler else None,
        "average": average.state_dict() if average is not None else None,
        "steps": (engine.global_steps, engine.global_samples, engine.skipped_steps, engine.micro_steps),
        "position": (position.epoch, position.step, position.seconds),
        "curve": [asdict(epoch) for epoch in position.curve],
    }
    own = {
        "optimizer": optimizer if divided else None,
        "random": _random_state(),
        "loss_sum": position.loss_sum,
    }
    return shared, own


def restore(engine: Any, average: AveragedModel | None, shared: dict[str, Any], own: dict[str, Any]) -> Position:
    """The reverse of `capture`, as DeepSpeed's load_checkpoint dispatches it.  Raises where it does not fit."""
    engine.module.load_state_dict(shared["module"], strict=not engine.zero_optimization_partition_weights())
    if engine.zero_optimization():
        parts: list[Any] = [None] * engine.seq_dp_world_size
        parts[torch.distributed.get_rank()] = own["optimizer"]
        engine.optimizer.load_state_dict(parts, load_from_fp32_weights=engine.zero_load_from_fp32_weights())
    else:
        engine.optimizer.load_state_dict(shared["optimizer"])
    if engine.torch_autocast_z0_gradscaler:
        engine.torch_autocast_z0_gradscaler.load_state_dict(shared["scaler"])
    if average is not None:
        average.load_state_dict(shared["average"])
    engine.global_steps, engine.global_samples, engine.skipped_steps, engine.micro_steps = shared["steps"]
    epoch, step, seconds = shared["position"]
    position = Position(epoch, step, seconds, own["loss_sum"], [Epoch(**point) for point in shared["curve"]])
    _set_random_state(own["random"])
    return position


def _random_state() -> dict[str, Any]:
    name, keys, *rest = np.random.get_state(legacy=True)
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state() if torch.cuda.is_available() else None,
        "python": random.getstate(),
        "numpy": (name, np.asarray(keys).tolist(), *rest),
    }


def _set_random_state(state: dict[str, Any]) -> None:
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None:
        torch.cuda.set_rng_state(state["cuda"])
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
