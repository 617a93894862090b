"""The checkpoints of a trial's training: written whole or not at all, and resumed from to the bit.

checkpoint/ holds step-<n>/ and `latest`, which names it.  There are two of them only while the newer is not yet good.
"""

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch.optim.swa_utils import AveragedModel

from mixbench.errors import TrialError
from mixbench.run.flags import Flag, Kind
from mixbench.run.folder import Run, complete
from mixbench.suite.trial import Trial
from mixbench.system.files import remove, set_aside, sync_names, to_json, write_atomically
from mixbench.train.checkpoint_files import Damaged, Manifest, made_with, read_manifest, read_state, write_state
from mixbench.train.distributed import World
from mixbench.train.save_times import SaveTimes
from mixbench.train.state import Position, capture, restore
from mixbench.zoo.registry import find


class Checkpoints:
    """The checkpoints of one trial of a run.  All methods are collective.

    `times` says when to save; `flags`: what a reader of the record must know.
    What writes or deletes raises Taken where another process has taken the run over.
    """

    def __init__(self, run: Run, trial: Trial, world: World):
        self.run, self.trial, self.world = run, trial, world
        self.folder = run.checkpoints(trial.id)
        self.own_file = f"rank-{world.rank}.pt"
        self.model_code = find(trial.model).code
        self.times = SaveTimes(trial, world)
        self.flags: list[Flag] = []

    def save(self, engine: Any, average: AveragedModel | None, position: Position, step: int) -> None:
        """Write a checkpoint beside the last one, read it back, rename it, and only then delete the last one.

        `step` counts from the run's first.  Raises TrialError, on all ranks, where one of them cannot write; the last
        checkpoint stays.
        """
        self.run.check_claim()
        name = f"step-{step:08d}" if position.step else f"step-{step:08d}-ended"  # later than the epoch's last step
        beside, final = self.folder / f".{name}.tmp", self.folder / name
        shared, own = capture(engine, average, position)
        shared["notes"] = [str(flag) for flag in self.flags]
        try:
            self._together(lambda: _begin(beside) if self.world.is_main else None)
            written = self.world.gather(self._together(lambda: self._write(beside, shared, own)))
            manifest = Manifest(
                trial_id=self.trial.id,
                world_size=self.world.size,
                made_with=made_with(),
                model_code=self.model_code,
                files={file: digest for files in written for file, digest in files.items()},
            )
            self._together(lambda: self._commit(manifest, beside, final) if self.world.is_main else None)
        except OSError as error:
            if self.world.is_main:
                shutil.rmtree(beside, ignore_errors=True)
            raise TrialError(f"the checkpoint could not be written: {error}") from None
        self.times.saved()

    def load(self, engine: Any, average: AveragedModel | None) -> Position:
        """Bring engine, average and random numbers to the newest checkpoint; its position, the start's where none is.

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
                position: Position = self._together(partial(_restored, engine, average, shared, own))
            except Damaged as error:
                self._set_aside(name, str(error))
                raise TrialError(
                    f"checkpoint {name} cannot be restored ({error}): it was made with {origin}, this is "
                    f"{made_with()}; it is set aside, the same command begins this trial anew"
                ) from error
            self.flags = list(dict.fromkeys([*map(Flag.read, shared["notes"]), *self.flags]))
            if origin != made_with():
                self.flags.append(Flag(Kind.OTHER_ENVIRONMENT, origin))
            return position
        return Position()

    def _names(self) -> list[str]:
        """The complete checkpoints, newest first.  Deletes what a killed process left half written."""
        if not self.world.is_main or not self.folder.is_dir():
            return []
        self.run.check_claim()
        for path in self.folder.glob(".*.tmp"):
            remove(path)
        return sorted((path.name for path in complete(self.folder)), reverse=True)

    def _read(self, name: str) -> tuple[str, dict[str, Any], dict[str, Any]]:
        """(made_with, shared state, this rank's own).  Raises Damaged, OSError for any other reason."""
        folder = self.folder / name
        manifest = read_manifest(folder, self.trial.id, self.world.size, self.model_code)
        shared, own = (read_state(folder / file, manifest) for file in ("shared.pt", self.own_file))
        return manifest.made_with, shared, own

    def _write(self, folder: Path, shared: dict[str, Any], own: dict[str, Any]) -> dict[str, str]:
        """Write this rank's files; their checksums."""
        files = {self.own_file: write_state(folder / self.own_file, own)}
        if self.world.is_main:
            files["shared.pt"] = write_state(folder / "shared.pt", shared)
        return files

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
        """The action's result on this rank.  Raises Damaged or OSError on all ranks where the action did on one."""
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


def _restored(engine: Any, average: AveragedModel | None, shared: dict[str, Any], own: dict[str, Any]) -> Position:
    """Restore a training.  Raises Damaged where the state does not fit the engine."""
    try:
        return restore(engine, average, shared, own)
    except (KeyError, ValueError, RuntimeError, TypeError, AttributeError) as error:
        raise Damaged(" ".join(str(error).split())) from error
