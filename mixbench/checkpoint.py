"""Checkpoints: where a trial's training is, written whole or not at all, and gone on from to the bit.

checkpoint/ holds step-<n>/ and `latest`, which names it; there are two of them only while the newer is being made good.
step-<n>/  manifest.json (the files' checksums)  shared.pt (what is the same on all ranks)  rank-<r>.pt (each one's own)
"""

import hashlib
import io
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from mixbench.environment import device_name, git_state, installed
from mixbench.errors import TrialError
from mixbench.record import Epoch, set_aside, to_json, write_atomically
from mixbench.run import remove
from mixbench.snapshot import restore, states, unpickled
from mixbench.trial import Trial
from mixbench.world import World

SCHEMA_VERSION = 1
AGREE_STEPS = 16
"""How often several ranks ask each other whether it is time: that costs a message."""


@dataclass
class Position:
    """How far a training is: `step` global batches and `seconds` into epoch `epoch` (from 0), `curve` behind it.

    `loss_sum`, of this rank's images of the epoch so far, lies on the device.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    loss_sum: Tensor | float = 0.0
    curve: list[Epoch] = field(default_factory=list)

    def end_epoch(self, epoch: Epoch) -> None:
        self.curve.append(epoch)
        self.epoch, self.step, self.seconds, self.loss_sum = self.epoch + 1, 0, 0.0, 0.0


class Manifest(BaseModel):
    """manifest.json: whose the checkpoint is, and what its files must be.  `files`: name → SHA-256."""

    schema_version: int = SCHEMA_VERSION
    trial_id: str
    world_size: int
    made_with: str
    files: dict[str, str]


class Checkpoints:
    """The checkpoints of one trial.  All methods are collective.  `notes` says what a reader should know."""

    def __init__(self, folder: Path, trial: Trial, world: World):
        self.folder, self.trial, self.world = folder, trial, world
        self.notes: list[str] = []
        self._saved_at = time.monotonic()

    def due(self, step: int) -> bool:
        """Whether the time interval is over; all ranks hear the same.  `step` counts from the run's begin."""
        minutes = self.trial.checkpoint.minutes
        if not minutes or (self.world.size > 1 and step % AGREE_STEPS):
            return False
        return self.world.any(time.monotonic() - self._saved_at >= 60 * minutes)

    def due_after(self, epochs: int) -> bool:
        """Whether one is asked for at the end of this many epochs; none is at the last one's."""
        every = self.trial.checkpoint.epochs
        return bool(every) and epochs % every == 0 and epochs < self.trial.recipe.epochs

    def save(self, engine: Any, average: AveragedModel | None, position: Position, step: int) -> None:
        """Write a checkpoint beside the last one, read it back, rename it, and only then delete the last one.

        Raises TrialError, on all ranks, where one of them cannot write; the last one stays.
        """
        name = f"step-{step:08d}"
        beside, final = self.folder / f".{name}.tmp", self.folder / name
        shared, own = states(engine, average)
        shared["position"] = (position.epoch, position.step, position.seconds)
        shared["curve"] = [epoch.model_dump() for epoch in position.curve]
        own["loss_sum"] = torch.as_tensor(position.loss_sum)
        try:
            self._together(lambda: _begin(beside) if self.world.is_main else None)
            written = self.world.gather(self._together(lambda: self._write(beside, shared, own)))
            manifest = Manifest(
                trial_id=self.trial.id,
                world_size=self.world.size,
                made_with=made_with(),
                files={file: digest for files in written for file, digest in files.items()},
            )
            self._together(lambda: self._commit(manifest, beside, final) if self.world.is_main else None)
        except OSError as error:
            if self.world.is_main:
                shutil.rmtree(beside, ignore_errors=True)
            raise TrialError(f"the checkpoint could not be written: {error}") from None
        self._saved_at = time.monotonic()

    def load(self, engine: Any, average: AveragedModel | None) -> Position:
        """Bring engine, average and random numbers to the newest checkpoint; where there is none, to nothing.

        Damaged ones are set aside.  Raises TrialError where this version of DeepSpeed or torch cannot take it.
        """
        for name in self.world.gather(self._names())[0]:
            try:
                origin, shared, own = self._together(partial(self._read, name))
            except OSError as error:
                self._set_aside(name, str(error))
                continue
            try:
                self._together(partial(_restored, engine, average, shared, own))
            except OSError as error:
                self._set_aside(name, str(error))
                raise TrialError(
                    f"checkpoint {name} cannot be restored ({error}): it was made with {origin}, this is "
                    f"{made_with()}; it is set aside, the same command begins this trial anew"
                ) from error
            if origin != made_with():
                self.notes.append(f"begun with {origin}")
            epoch, step, seconds = shared["position"]
            curve = [Epoch(**each) for each in shared["curve"]]
            return Position(epoch, step, seconds, own["loss_sum"].to(self.world.device), curve)
        return Position()

    def _names(self) -> list[str]:
        """The complete checkpoints, the one that `latest` names first.  What a killed process left half done goes."""
        if not self.world.is_main or not self.folder.is_dir():
            return []
        for path in _half_done(self.folder):
            remove(path)
        try:
            latest = (self.folder / "latest").read_text(encoding="utf-8", errors="replace")
        except OSError:
            latest = ""
        names = [path.name for path in _complete(self.folder)]
        return sorted(names, key=lambda name: (name == latest, name), reverse=True)

    def _read(self, name: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """What it was made with, the shared state, this rank's own.  Raises OSError, whatever the files hold."""
        folder = self.folder / name
        try:
            manifest = Manifest.model_validate_json((folder / "manifest.json").read_bytes())
        except ValidationError as error:
            raise OSError(f"manifest.json: {error.errors()[0]['msg']}") from None
        if (manifest.schema_version, manifest.trial_id) != (SCHEMA_VERSION, self.trial.id):
            raise OSError(f"it is of {manifest.trial_id}, schema version {manifest.schema_version}")
        if manifest.world_size != self.world.size:
            raise OSError(f"it is of {manifest.world_size} processes, not {self.world.size}")
        shared, own = (_load(folder / file, manifest.files) for file in ("shared.pt", self._own_file))
        return manifest.made_with, shared, own

    def _write(self, folder: Path, shared: dict[str, Any], own: dict[str, Any]) -> dict[str, str]:
        """This rank's files; their checksums."""
        files = {self._own_file: _write(folder / self._own_file, own)}
        if self.world.is_main:
            files["shared.pt"] = _write(folder / "shared.pt", shared)
        return files

    @property
    def _own_file(self) -> str:
        return f"rank-{self.world.rank}.pt"

    def _commit(self, manifest: Manifest, beside: Path, final: Path) -> None:
        write_atomically(beside / "manifest.json", to_json(manifest))
        if final.exists():
            remove(final)  # a process was killed before `latest` named it; this is the same
        _sync(beside)
        os.replace(beside, final)
        write_atomically(self.folder / "latest", final.name)
        _sync(self.folder)  # before the last one goes: a power cut must not undo the renaming alone
        for path in _complete(self.folder):
            if path != final:
                remove(path)

    def _set_aside(self, name: str, why: str) -> None:
        if self.world.is_main:
            set_aside(self.folder / name)
        self.notes.append(f"checkpoint {name} set aside: {why}")

    def _together(self, action: Callable[[], Any]) -> Any:
        """What the action returns here.  Raises the same OSError on all ranks where it did on one."""
        result, error = None, ""
        try:
            result = action()
        except OSError as failure:
            error = failure.strerror or str(failure)
        if failed := list(filter(None, self.world.gather(error))):
            raise OSError(failed[0])
        return result


def _complete(folder: Path) -> list[Path]:
    return [path for path in folder.glob("step-*") if not path.suffix]


def _half_done(folder: Path) -> list[Path]:
    return list(folder.glob(".*.tmp"))


def _begin(folder: Path) -> None:
    """A new folder to write into, in place of what an earlier attempt left."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _sync(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(path: Path, state: dict[str, Any]) -> str:
    """Write a file to the disk and read it back; its SHA-256.  Raises OSError."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    with open(path, "wb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    if digest != _digest(path):
        raise OSError(f"{path.name} does not read as it was written")
    return digest


def _digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(path: Path, digests: dict[str, str]) -> dict[str, Any]:
    """Raises OSError where the file is not what was written."""
    contents = path.read_bytes()
    if hashlib.sha256(contents).hexdigest() != digests.get(path.name):
        raise OSError(f"{path.name} is damaged")
    try:
        return unpickled(contents)
    except (RuntimeError, UnpicklingError) as error:
        raise OSError(f"{path.name} cannot be read with {made_with()}: {error}") from None


def _restored(engine: Any, average: AveragedModel | None, shared: dict[str, Any], own: dict[str, Any]) -> None:
    """Restore what was read.  Raises OSError where it does not fit."""
    try:
        restore(engine, average, shared, own)
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise OSError(" ".join(str(error).split())) from error


def made_with() -> str:
    """What a training must be gone on with to come to the same bits."""
    commit, changed = git_state()
    ours = f"mixbench {installed('mixbench')} {commit[:12]}{' and changes' if changed else ''}".strip()
    return f"{ours}, torch {torch.__version__}, deepspeed {installed('deepspeed')}, {device_name()}"
