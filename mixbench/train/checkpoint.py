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
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from pydantic import BaseModel, ValidationError
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from mixbench.errors import TrialError
from mixbench.run.flags import Flag, Kind
from mixbench.run.folder import Run, complete
from mixbench.run.parts import Epoch
from mixbench.suite.trial import Trial
from mixbench.system.device import device_name
from mixbench.system.files import remove, set_aside, sync_names, to_json, write_atomically
from mixbench.system.host import git_state, installed
from mixbench.system.signals import Stopped
from mixbench.train.distributed import World
from mixbench.train.state import restore, states, unpickled

SCHEMA_VERSION = 1
AGREE_STEPS, AGREE_SECONDS = 16, 2.0
"""After how many steps at the most, and about what time, several ranks ask each other again: that costs a message."""


@dataclass
class Position:
    """How far a training is: `step` global batches into epoch `epoch` (from 0), `seconds` after the `curve` behind it.

    `loss_sum`, of this rank's images of the epoch so far, lies on the device.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    loss_sum: Tensor | float = 0.0
    curve: list[Epoch] = field(default_factory=list)

    def end_epoch(self, point: Epoch | None) -> None:
        """`point` of the curve, None where the epoch was not evaluated."""
        if point is not None:
            self.curve.append(point)
            self.seconds = 0.0
        self.epoch, self.step, self.loss_sum = self.epoch + 1, 0, 0.0


class Manifest(BaseModel):
    """manifest.json: whose the checkpoint is, and what its files must be.  `files`: name → SHA-256."""

    schema_version: int = SCHEMA_VERSION
    trial_id: str
    world_size: int
    made_with: str
    files: dict[str, str]


class Damaged(Exception):
    """A checkpoint that is not what was written, or not this trial's."""


class Checkpoints:
    """The checkpoints of one trial of a run.  All methods are collective.

    `flags`: what a reader of its result must know.
    What writes or deletes raises Taken where another process has the run by now.
    """

    def __init__(self, run: Run, trial: Trial, world: World):
        self.run, self.trial, self.world = run, trial, world
        self.folder = run.checkpoints(trial.id)
        self.flags: list[Flag] = []
        self._saved_at = self._asked_at = time.monotonic()
        self._asked: int | None = None
        self._ask_next = 0
        self._stopping = False

    def due(self, step: int) -> bool:
        """Whether the time interval is over, or the job is told to end; all ranks hear the same.

        `step` counts from the run's begin.  After a saving that was due for the job's end, Stopped is raised.
        """
        minutes, stop = self.trial.checkpoint.minutes, self.world.stop
        if (not minutes and stop is None) or (self.world.size > 1 and step < self._ask_next):
            return False
        now = time.monotonic()
        stopping, over = bool(stop and stop.signal), bool(minutes) and now - self._saved_at >= 60 * minutes
        if self.world.size > 1:
            pace = AGREE_SECONDS if self._asked is None else (now - self._asked_at) / max(1, step - self._asked)
            said = self.world.max(torch.tensor([stopping, over, pace], device=self.world.device)).tolist()
            stopping, over = bool(said[0]), bool(said[1])
            self._asked, self._asked_at = step, now
            self._ask_next = step + int(min(AGREE_STEPS, max(1.0, AGREE_SECONDS / max(said[2], 1e-6))))
        self._stopping = stopping
        return stopping or over

    def due_after(self, epochs: int) -> bool:
        """Whether one is asked for at the end of this many epochs; none is at the last one's."""
        every = self.trial.checkpoint.epochs
        return bool(every) and epochs % every == 0 and epochs < self.trial.recipe.epochs

    def save(self, engine: Any, average: AveragedModel | None, position: Position, step: int) -> None:
        """Write a checkpoint beside the last one, read it back, rename it, and only then delete the last one.

        Raises TrialError, on all ranks, where one of them cannot write; the last one stays.
        """
        self.run.check_claim()
        name = f"step-{step:08d}" if position.step else f"step-{step:08d}-ended"  # later than the epoch's last step
        beside, final = self.folder / f".{name}.tmp", self.folder / name
        shared, own = states(engine, average)
        shared["position"] = (position.epoch, position.step, position.seconds)
        shared["curve"] = [asdict(epoch) for epoch in position.curve]
        shared["notes"] = [str(flag) for flag in self.flags]
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
        if self._stopping:
            raise Stopped

    def load(self, engine: Any, average: AveragedModel | None) -> Position:
        """Bring engine, average and random numbers to the newest checkpoint; where there is none, to nothing.

        Damaged ones are set aside.  Raises TrialError where one cannot be read now, or not by this DeepSpeed or torch.
        """
        for name in self.world.gather(self._names())[0]:
            try:
                origin, shared, own = self._together(partial(self._read, name))
            except Damaged as damage:
                self._set_aside(name, str(damage))
                continue
            except OSError as error:
                raise TrialError(f"checkpoint {name} cannot be read now: {error}") from None
            try:
                self._together(partial(_restored, engine, average, shared, own))
            except Damaged as error:
                self._set_aside(name, str(error))
                raise TrialError(
                    f"checkpoint {name} cannot be restored ({error}): it was made with {origin}, this is "
                    f"{made_with()}; it is set aside, the same command begins this trial anew"
                ) from error
            self.flags = list(dict.fromkeys([*map(Flag.read, shared["notes"]), *self.flags]))
            if origin != made_with():
                self.flags.append(Flag(Kind.OTHER_ENVIRONMENT, origin))
            epoch, step, seconds = shared["position"]
            curve = [Epoch(**each) for each in shared["curve"]]
            return Position(epoch, step, seconds, own["loss_sum"].to(self.world.device), curve)
        return Position()

    def _names(self) -> list[str]:
        """The complete checkpoints, newest first.  What a killed process left half done goes."""
        if not self.world.is_main or not self.folder.is_dir():
            return []
        self.run.check_claim()
        for path in self.folder.glob(".*.tmp"):
            remove(path)
        return sorted((path.name for path in complete(self.folder)), reverse=True)

    def _read(self, name: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """What it was made with, the shared state, this rank's own.  Raises Damaged, OSError for any other reason."""
        folder = self.folder / name
        try:
            manifest = Manifest.model_validate_json(_bytes(folder / "manifest.json"))
        except ValidationError as error:
            raise Damaged(f"manifest.json: {error.errors()[0]['msg']}") from None
        if (manifest.schema_version, manifest.trial_id) != (SCHEMA_VERSION, self.trial.id):
            raise Damaged(f"it is of {manifest.trial_id}, schema version {manifest.schema_version}")
        if manifest.world_size != self.world.size:
            raise Damaged(f"it is of {manifest.world_size} processes, not {self.world.size}")
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
        sync_names(beside)
        self.run.check_claim()  # writing may have taken long
        os.replace(beside, final)
        write_atomically(self.folder / "latest", final.name)
        sync_names(self.folder)  # before the last one goes: a power cut must not undo the renaming alone
        for path in complete(self.folder):
            if path.name < final.name:  # a later one is of a process that has taken over meanwhile
                remove(path)

    def _set_aside(self, name: str, why: str) -> None:
        if self.world.is_main:
            set_aside(self.folder / name)
        self.flags.append(Flag(Kind.DAMAGED_CHECKPOINT, f"{name} set aside: {why}"))

    def _together(self, action: Callable[[], Any]) -> Any:
        """What the action returns here.  Raises on all ranks alike, Damaged or OSError, where it did on one."""
        result, failure = None, None
        try:
            result = action()
        except (OSError, Damaged) as error:
            failure = (type(error) is Damaged, getattr(error, "strerror", "") or str(error))
        for failed in filter(None, self.world.gather(failure)):
            raise (Damaged if failed[0] else OSError)(failed[1])
        return result


def _begin(folder: Path) -> None:
    """A new folder to write into, in place of what an earlier attempt left."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


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
    """Raises Damaged where the file is not what was written."""
    contents = _bytes(path)
    if hashlib.sha256(contents).hexdigest() != digests.get(path.name):
        raise Damaged(f"{path.name} is damaged")
    try:
        return unpickled(contents)
    except (RuntimeError, UnpicklingError) as error:
        raise Damaged(f"{path.name} cannot be read with {made_with()}: {error}") from None


def _bytes(path: Path) -> bytes:
    """Raises Damaged where there is no such file, and OSError where a disk or server does not give it now."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
        raise Damaged(f"{path.name}: {error.strerror}") from None


def _restored(engine: Any, average: AveragedModel | None, shared: dict[str, Any], own: dict[str, Any]) -> None:
    """Restore what was read.  Raises Damaged where it does not fit."""
    try:
        restore(engine, average, shared, own)
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise Damaged(" ".join(str(error).split())) from error


def made_with() -> str:
    """What a training must be gone on with to come to the same bits."""
    commit, changed = git_state()
    ours = f"mixbench {installed('mixbench')} {commit[:12]}{' and changes' if changed else ''}".strip()
    libraries = f"torch {torch.__version__}, deepspeed {installed('deepspeed')}"
    return f"{ours}, {libraries}, {device_name()}, threads: {torch.get_num_threads()}"
