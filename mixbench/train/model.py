"""A trial's model: its initial weights, and the types and memory format that it computes in."""

import random
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mixbench.errors import TrialError
from mixbench.suite.trial import Trial
from mixbench.train.distributed import World
from mixbench.zoo.contract import wrong_output
from mixbench.zoo.registry import create_model

AUTOCAST = {"amp-bf16": "bfloat16", "amp-fp16": "float16"}
MEMORY_FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}


def build_model(trial: Trial, world: World) -> nn.Module:
    """The trial's model with its seed's initial weights, on the device; later random numbers differ between ranks."""
    seed_all(trial.seed)
    model = create_model(trial.model, **trial.arguments).to(world.device)
    seed_all(trial.seed + world.rank)
    return model


def seed_all(seed: int) -> None:
    """Seed torch on all devices, and Python and NumPy, whose random numbers a plugin's model may draw."""
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed % 2**32)


def autocast(trial: Trial, world: World) -> torch.autocast:
    """The autocast context that DeepSpeed's engine computes in, for models outside an engine."""
    enabled = trial.precision in AUTOCAST
    return torch.autocast(world.device.type, getattr(torch, AUTOCAST.get(trial.precision, "bfloat16")), enabled)


def as_input(images: Tensor, trial: Trial) -> Tensor:
    """Images in the type and memory format that the trial's model computes in (autocast starts from fp32).

    Convolutions follow the format of their input; the weights stay as they are, which DeepSpeed relies on.
    """
    dtype = torch.bfloat16 if trial.precision == "bf16" else torch.float32
    return images.to(dtype=dtype, memory_format=MEMORY_FORMATS[trial.memory_format])


def logits_of(output: Any, images: Tensor, trial: Trial) -> Tensor:
    """A forward's result as fp32 logits B K.  Raises TrialError where it is anything else; waits for no device."""
    if wrong := wrong_output(output, len(images), trial.data.classes):
        raise TrialError(wrong)
    if torch.is_grad_enabled() and not output.requires_grad:
        raise TrialError(
            "forward returned logits without a gradient (detached, or of torch.no_grad): nothing is learnt"
        )
    logits: Tensor = output.float()
    return logits
