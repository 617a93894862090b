"""A run folder's trials as their files are: each file is parsed once, and again where it was written since."""

import gc
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any, TypeVar, cast

from mixbench.errors import RequestError
from mixbench.run.folder import Run
from mixbench.run.progress import Progress
from mixbench.run.record import SCHEMA_VERSION, DamagedRecord, Record
from mixbench.suite.trial import Trial
from mixbench.system import checksum

T = TypeVar("T")
NEWER = "written by a newer mixbench, and kept as it is"


@dataclass(frozen=True)
class Damage:
    """A file that is not what it should be, and why, in a line that names it.

    `newer`: it is whole, and written by a later mixbench.  It stays where it is, for that one.
    """

    path: Path
    text: str
    newer: bool = False


@dataclass(frozen=True)
class Found:
    """What a trial's folder holds: what of it can be read, and what is damaged."""

    trial: Trial | None = None
    record: Record | None = None
    progress: Progress | None = None
    damages: tuple[Damage, ...] = ()


class Inventory:
    """Reads a run folder's trials for a verb.  A file that is as it was when it was last read is not parsed again.

    That is looked at each time, so what another process writes is never missed: before a claim, in a job elsewhere.
    What it hands out is shared by all who ask: nobody changes a record of it.
    """

    def __init__(self, run: Run):
        self.run = run
        self._parsed: dict[str, tuple[tuple[int, ...], Any]] = {}

    @classmethod
    def of(cls, run: "Run | Inventory") -> "Inventory":
        """One of this run, or the one that is given, with all that it has read."""
        return run if isinstance(run, Inventory) else cls(run)

    def look(self, trial_id: str) -> Found:
        """Raises OSError where a file could not be read this time."""
        trial, record = self._trial(trial_id), self._record(trial_id)
        if isinstance(record, Record) and record.details.trial == trial:
            record.details.trial = trial  # of thousands, one object each instead of two
        damages = [each for each in (trial, record) if isinstance(each, Damage)]
        if damages and (folder := self.run.trial_folder(trial_id)).exists() and not folder.is_dir():
            return Found(damages=(Damage(folder, f"{folder}: not a folder"),))
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
        """The trial's record, or None where there is none that can be read.  Raises OSError."""
        found = self._record(trial_id)
        return found if isinstance(found, Record) else None

    def is_newer(self, trial_id: str) -> bool:
        """Whether the trial's record is a later mixbench's."""
        found = self._record(trial_id)
        return isinstance(found, Damage) and found.newer

    def take(self, record: Record) -> None:
        """The record of a trial that has ended, which its launcher has just read or written: it is not parsed again."""
        name = str(self.run.record_file(record.trial_id))
        with suppress(OSError), open(name, "rb", buffering=0) as file:
            self._parsed[name] = _version(file), record

    def unfinished(self, trials: Iterable[Trial]) -> list[Trial]:
        """Those without a good record."""
        with reading_many():
            return [trial for trial in trials if not self.is_done(trial)]

    def is_done(self, trial: Trial) -> bool:
        """Whether every part asked of this trial is in a good record, and its weights are kept where they should be."""
        record = self.record(trial.id)
        return record is not None and record.holds(trial.measure) and not self.lacks_weights(trial)

    def lacks_weights(self, trial: Trial) -> bool:
        """Whether the trial is to leave its weights, and they are not there, or not those that were written."""
        if not trial.keep_weights or "accuracy" not in trial.measure:
            return False
        record, file = self.record(trial.id), self.run.weights_file(trial.id)
        written = record.details.weights if record else ""
        return not file.is_file() or bool(written and checksum.fingerprint(file) != written)

    def _trial(self, trial_id: str) -> Trial | Damage:
        return self._once(self.run.trial_file(trial_id), lambda text: _parsed_trial(self.run, trial_id, text))

    def _record(self, trial_id: str) -> Record | Damage | None:
        return self._once(self.run.record_file(trial_id), lambda text: _parsed_record(self.run, trial_id, text))

    def _once(self, path: Path, parse: Callable[[bytes | None], T]) -> T:
        """What is parsed of a file's text; of None where there is no file, and nothing worth keeping.

        Opened each time: NFS asks its server then, while it may answer from memory what a file's date is.
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
    """What is another after a file was written again."""
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
        newer = text is not None and _is_newer(text)
        return Damage(run.record_file(trial_id), f"{error}: {NEWER}" if newer else str(error), newer)


@contextmanager
def reading_many() -> Iterator[None]:
    """While many records are read: they are millions of objects that stay, and the garbage collector would walk over
    them again and again.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _is_newer(text: bytes) -> bool:
    """Whether this is a record with its checksum, of a schema version that is yet to come here."""
    try:
        found = json.loads(text)
        version = found["schema_version"]
        return type(version) is int and version > SCHEMA_VERSION and checksum.KEY in found and checksum.is_intact(found)
    except (ValueError, TypeError, KeyError, RecursionError):
        return False
