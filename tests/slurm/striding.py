"""A plugin whose training can be held at a step, or goes wrong there, so that a test breaks it where it wants to.

$STRIDES names a folder; in it a file `hold` or `fault` says at which training step of the first attempt, and what:
`hold`: every rank touches `held-<rank>` and waits for the file `go`.  `fault`: the last rank is to `raise`, `die` or
`swell`.
"""

import os
import signal
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from mixbench.zoo.registry import register_model

HOLD_SECONDS = 240


@register_model(family="Striding", variants={"striding": dict()})
class Striding(nn.Module):
    """A convolution with BatchNorm and a classifier behind dropout: it has buffers, and draws random numbers."""

    def __init__(self, image_size: int = 8, in_chans: int = 1, num_classes: int = 10):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(in_chans, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(8 * image_size**2, num_classes))
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            self.steps += 1
            stride(self.steps)
        return self.head(self.stem(x).flatten(1))


def stride(step: int) -> None:
    folder = Path(os.environ.get("STRIDES", "/nowhere"))
    for order in ("hold", "fault"):
        if (folder / order).exists():
            what, at, attempts = (folder / order).read_text().split()
            if step == int(at) and int(os.environ.get("SLURM_RESTART_COUNT") or 0) < int(attempts):
                wait(folder) if what == "hold" else fail(what)


def wait(folder: Path) -> None:
    rank = torch.distributed.get_rank()
    print(f"rank {rank} is held", flush=True)
    (folder / f"held-{rank}").touch()
    end = time.monotonic() + HOLD_SECONDS
    while not (folder / "go").exists():
        assert time.monotonic() < end, "nobody said go"
        time.sleep(0.05)


def fail(what: str) -> None:
    if torch.distributed.get_rank() == torch.distributed.get_world_size() - 1:
        print(f"about to {what}", flush=True)
        if what == "raise":
            raise ValueError("the third rank has had enough")
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        hoard = []
        while what == "swell":
            hoard.append(b"x" * 10**8)
