"""A plugin that kills its process with SIGKILL at the moment that $DIE_AT names: MOMENT:COUNT:RANK.

It notes each training step, and the death, in $DIARY.  Moments: `step` (after the weights were changed), `forward`,
`evaluate`, `write` (half of a checkpoint's file is on the disk), `delete` (half of the last checkpoint is gone), and
`before NAME` and `after NAME` of the renaming that gives a file or folder this name.  At the moment `refuse` it lives
on, but its disk is full.
"""

import os
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from errno import ENOSPC
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mixbench.train import checkpoint, checkpoint_files, classification, loop
from mixbench.train.model import autocast
from mixbench.zoo.registry import register_model

seen: Counter[str] = Counter()
moment, count, rank = os.environ.get("DIE_AT", "::").split(":")


@register_model(family="Mortal", variants={"mortal": dict()})
class Mortal(nn.Module):
    """A linear classifier that drops what it sees at random: its training depends on torch's random numbers."""

    def __init__(self, image_size: int = 8, in_chans: int = 1, num_classes: int = 10):
        super().__init__()
        self.head = nn.Sequential(nn.Dropout(0.2), nn.Linear(in_chans * image_size**2, num_classes))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            pass_by("forward")
        return self.head(x.flatten(1))


def pass_by(name: str) -> None:
    """Die here if it is time; the launcher, which has loaded this plugin too, does not."""
    if name == moment and torch.distributed.is_initialized() and torch.distributed.get_rank() == int(rank):
        seen[name] += 1
        if seen[name] == int(count):
            note("died")
            os.kill(os.getpid(), signal.SIGKILL)


def note(what: str) -> None:
    with open(os.environ["DIARY"], "a", encoding="utf-8") as diary:
        diary.write(what + "\n")


def then(action: Callable[..., Any], name: str) -> Callable[..., Any]:
    def wrapped(*arguments: Any) -> Any:
        result = action(*arguments)
        if name == "step" and torch.distributed.get_rank() == 0:
            note("step")
        pass_by(name)
        return result

    return wrapped


def replace(source: Path, target: Path) -> None:
    kind = Path(target).name.partition("-")[0]
    pass_by(f"before {kind}")
    os_replace(source, target)
    pass_by(f"after {kind}")


def write_state(path: Path, state: dict[str, Any]) -> str:
    if moment == "refuse" and torch.distributed.get_rank() == int(rank):
        seen["refuse"] += 1
        if seen["refuse"] == int(count):
            raise OSError(ENOSPC, os.strerror(ENOSPC))
    digest = checkpoint_write_state(path, state)
    if moment == "write":
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        pass_by("write")
        path.write_bytes(whole)
    return digest


def rmtree(path: Path, **options: Any) -> None:
    if moment == "delete" and (files := sorted(Path(path).glob("*.pt"))):
        files[0].unlink()
        pass_by("delete")
    shutil_rmtree(path, **options)


if "DIARY" in os.environ:
    os_replace, shutil_rmtree, checkpoint_write_state = os.replace, shutil.rmtree, checkpoint_files.write_state
    os.replace, shutil.rmtree = replace, rmtree  # type: ignore[assignment]
    vars(checkpoint)["write_state"] = write_state
    loop.train_step = then(loop.train_step, "step")
    vars(classification)["autocast"] = then(autocast, "evaluate")
