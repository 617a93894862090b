"""A plugin whose models go wrong while they are trained, each in its own way."""

import os
import signal
from contextlib import suppress
from pathlib import Path

import torch
from torch import Tensor, nn

from mixbench.zoo.registry import register_model


@register_model(
    family="Faulty",
    variants={
        "raises": dict(fault="raise"),
        "dies": dict(fault="die"),
        "vanishes": dict(fault="vanish"),
        "swells": dict(fault="swell"),
        "hangs": dict(fault="hang"),
        "tires": dict(fault="tire"),
        "hoards": dict(fault="hoard"),
        "overflows": dict(fault="overflow"),
        "fills": dict(fault="fill"),
    },
)
class Faulty(nn.Module):
    """A linear classifier; `hang` says so in the file $HANGING, and learns where there is no such variable.

    `tire` raises on its third training step, `hoard` asks for a petabyte, `swell` takes ever more memory.
    `fill` fills the disk with the file $FILLING, where there is one.
    """

    def __init__(self, fault: str, image_size: int = 8, in_chans: int = 1, num_classes: int = 10):
        super().__init__()
        self.fault, self.steps = fault, 0
        self.head = nn.Linear(in_chans * image_size**2, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
            if self.fault == "tire" and self.steps == 3:
                raise RuntimeError("too tired for a third step")
            if self.fault == "raise" and torch.distributed.get_rank() == torch.distributed.get_world_size() - 1:
                raise RuntimeError("a tensor of the wrong size <b>&")
            if self.fault == "hoard":
                torch.zeros(2**50)
            if self.fault == "overflow":  # as a GPU would say it
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            if self.fault == "die":
                os._exit(7)
            if self.fault == "vanish" and torch.distributed.get_rank() == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            if self.fault == "swell":
                hoard = []
                while True:
                    hoard.append(b"x" * 10**8)
            if self.fault == "fill" and "FILLING" in os.environ:
                with open(os.environ["FILLING"], "ab", buffering=0) as file, suppress(OSError):
                    while True:
                        file.write(bytes(4096))
            if self.fault == "hang" and "HANGING" in os.environ:
                Path(os.environ["HANGING"]).touch()
                while True:
                    torch.ones(1).add_(1)
        return self.head(x.flatten(1))
