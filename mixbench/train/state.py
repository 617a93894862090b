"""A training at one moment as plain data: weights, optimizer, average, loss scale, random numbers."""

import io
import random
from typing import Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel


def unpickled(contents: bytes) -> dict[str, Any]:
    """Of DeepSpeed's own classes only those that its optimizers' states hold."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    with torch.serialization.safe_globals([DynamicLossScaler, LossScaler, ZeroStageEnum, fragment_address]):
        return torch.load(io.BytesIO(contents), map_location="cpu", weights_only=True)


def states(engine: Any, average: AveragedModel | None) -> tuple[dict[str, Any], dict[str, Any]]:
    """What all ranks share, and what is this rank's own.

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
    }
    own = {
        "optimizer": optimizer if divided else None,
        "random": _random_state(),
    }
    return shared, own


def restore(engine: Any, average: AveragedModel | None, shared: dict[str, Any], own: dict[str, Any]) -> None:
    """The reverse of `states`, as DeepSpeed's load_checkpoint dispatches it."""
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
    _set_random_state(own["random"])


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
