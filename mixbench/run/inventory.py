"""Inventory: reads the trials of a run folder; parses a file again only if it was written since."""

import gc
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar, cast

from mixbench.errors import RequestError
from mixbench.run.flags import Flag, Kind
from mixbench.run.folder import Run
from mixbench.run.progress import Progress
from mixbench.run.record import SCHEMA_VERSION, DamagedRecord, Record
from mixbench.suite.trial import Trial
from mixbench.system import checksum

T = TypeVar("T")
NEWER = "written by a newer mixbench, and kept as it is"
DAMAGED = Flag(Kind.DAMAGED_RECORD)


@dataclass(frozen=True)
class Damage:
    """A damaged file; `text`: one line that names it and says what is wrong; `flag`: what its trial's row says.

    Two are no damage, and left in place: an intact record of a later mixbench, and predictions that are missing.
    """

    path: Path
    text: str
    flag: Flag = DAMAGED

    @property
    def is_damaged(self) -> bool:
        return self.flag.kind not in (Kind.NEWER_RECORD, Kind.MISSING_PREDICTIONS)


@dataclass(frozen=True)
class Found:
    """Contents of a trial's folder: the files that can be read, and the damages of the others."""

    trial: Trial | None = None
    record: Record | None = None
    progress: Progress | None = None
    damages: tuple[Damage, ...] = ()


class Inventory:
    """Reads the trials of a run folder, for one verb.  A file is parsed again only if it changed since it was read.

    Each call checks for changes, so files written by other processes (before the claim, in jobs on other machines) are
    never missed.  Returned objects are shared by all callers, who must not change them.
    """

    def __init__(self, run: Run):
        self.run = run
        self._parsed: dict[str, tuple[tuple[int, ...], Any]] = {}

    @classmethod
    def of(cls, run: "Run | Inventory") -> "Inventory":
        """Return a new inventory of a run; an inventory is returned as it is, with all it has parsed."""
        return run if isinstance(run, Inventory) else cls(run)

    def look(self, trial_id: str) -> Found:
        """Read a trial's files.  Raises OSError if one cannot be read now."""
        trial, record = self._trial(trial_id), self._record(trial_id)
        if isinstance(record, Record) and record.details.trial == trial:
            record.details.trial = trial  # one object instead of two equal ones: saves memory with thousands of trials
        damages = [each for each in (trial, record) if isinstance(each, Damage)]
        if damages and (folder := self.run.trial_folder(trial_id)).exists() and not folder.is_dir():
            return Found(damages=(Damage(folder, f"{folder}: not a folder"),))
        if isinstance(record, Record) and (damage := self._of_predictions(record)):
            damages.append(damage)
        progress, path = None, self.run.progress_file(trial_id)
        if os.path.lexists(path):
            progress = self.run.progress(trial_id)
            if progress is None and path.exists():
                damages.append(Damage(path, f"{path} cannot be read"))
        return Found(
            trial if isinstance(trial, Trial) else None,
            record if isinstance(record, Record) else None,
            progress,
            tuple(damages),
        )

    def record(self, trial_id: str) -> Record | None:
        """Return the trial's record; None if there is none or it is damaged.  Raises OSError."""
        found = self._record(trial_id)
        return found if isinstance(found, Record) else None

    def is_newer(self, trial_id: str) -> bool:
        """Return True if a later mixbench wrote the trial's record."""
        found = self._record(trial_id)
        return isinstance(found, Damage) and found.flag.kind == Kind.NEWER_RECORD

    def take(self, record: Record) -> None:
        """Add the record of a trial that has ended, just read or written by its launcher: it is not parsed again."""
        name = str(self.run.record_file(record.trial_id))
        with suppress(OSError), open(name, "rb", buffering=0) as file:
            self._parsed[name] = _version(file), record

    def unfinished(self, trials: Iterable[Trial]) -> list[Trial]:
        """Return the trials that are not done (see is_done)."""
        with reading_many():
            return [trial for trial in trials if not self.is_done(trial)]

    def is_done(self, trial: Trial) -> bool:
        """Return True if it has a complete record of its model's present code and, if it keeps its weights, these."""
        record = self.record(trial.id)
        if record is None or not record.holds(trial.measure) or record.is_of_other_code(trial):
            return False
        return not self.lacks_weights(trial)

    def lacks_weights(self, trial: Trial) -> bool:
        """Return True if the trial keeps its weights, but their file is missing or was changed."""
        if not trial.keep_weights or "accuracy" not in trial.measure:
            return False
        record, file = self.record(trial.id), self.run.weights_file(trial.id)
        written = record.details.weights if record else ""
        return not file.is_file() or bool(written and checksum.fingerprint(file) != written)

    def _trial(self, trial_id: str) -> Trial | Damage:
        return self._once(self.run.trial_file(trial_id), lambda text: _parsed_trial(self.run, trial_id, text))

    def _record(self, trial_id: str) -> Record | Damage | None:
        return self._once(self.run.record_file(trial_id), lambda text: _parsed_record(self.run, trial_id, text))

    def _of_predictions(self, record: Record) -> Damage | None:
        """Return what is wrong with the file of predictions that a record names; None if it is as it was written."""
        if record.details.curve is None or (named := record.details.curve.predictions) is None:
            return None
        path = self.run.trial_folder(record.trial_id) / named.name
        try:
            written = self._once(path, _sha256)
        except OSError as error:
            return Damage(path, f"{path} cannot be read: {error.strerror}", Flag(Kind.MISSING_PREDICTIONS))
        if written is None and not path.exists():
            return Damage(path, f"{path} is missing", Flag(Kind.MISSING_PREDICTIONS))
        if written != named.sha256:
            why = f"{path}: it does not have the checksum that its record names"
            return Damage(path, why, Flag(Kind.DAMAGED_PREDICTIONS))
        return None

    def _once(self, path: Path, parse: Callable[[bytes | None], T]) -> T:
        """Return parse(text of the file), from memory if the file is unchanged; parse(None) if there is no file.

        The file is opened each time: NFS asks its server then, but may answer a stat alone from its cache.
        """
        name = str(path)
        known = self._parsed.get(name)
        try:
            with open(name, "rb", buffering=0) as file:
                version = _version(file)
                if known is not None and known[0] == version:
                    return cast(T, known[1])
                text = file.readall()
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            return parse(None)
        found = parse(text)
        self._parsed[name] = version, found
        return found


def _version(file: FileIO) -> tuple[int, ...]:
    """Return inode, modification time and size, of which one changes when the file is written again."""
    found = os.fstat(file.fileno())
    return found.st_ino, found.st_mtime_ns, found.st_size


def _parsed_trial(run: Run, trial_id: str, text: bytes | None) -> Trial | Damage:
    try:
        return run.trial(trial_id, text=text)
    except RequestError as error:
        return Damage(run.trial_file(trial_id), str(error))


def _parsed_record(run: Run, trial_id: str, text: bytes | None) -> Record | Damage | None:
    try:
        return run.record(trial_id, text=text)
    except DamagedRecord as error:
        path = run.record_file(trial_id)
        if text is not None and _is_newer(text):
            return Damage(path, f"{error}: {NEWER}", Flag(Kind.NEWER_RECORD))
        return Damage(path, str(error))


def _sha256(contents: bytes | None) -> str | None:
    return None if contents is None else hashlib.sha256(contents).hexdigest()


@contextmanager
def reading_many() -> Iterator[None]:
    """Turn off the garbage collector while many records are read: it would traverse their millions of live objects
    again and again.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _is_newer(text: bytes) -> bool:
    """Return True if this is a record with a valid checksum, of a later schema version than this mixbench reads."""
    try:
        found = json.loads(text)
        version = found["schema_version"]
        return type(version) is int and version > SCHEMA_VERSION and checksum.KEY in found and checksum.is_intact(found)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
