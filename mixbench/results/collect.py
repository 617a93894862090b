"""Every trial's record, as the plan now describes the trial."""

import gc
import math
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from mixbench.run import damage
from mixbench.run.flags import Flag, Kind
from mixbench.run.folder import Run
from mixbench.run.record import COLUMNS, Record, Status
from mixbench.suite.trial import Trial

if TYPE_CHECKING:
    pass


FLOATS = [name for name in COLUMNS if float in get_args(Record.model_fields[name].annotation)]


@dataclass(frozen=True)
class Collected:
    """Every trial's record, in the plan's order, then those no longer planned; and what could not be read.

    `set_aside` counts what earlier runs found damaged and renamed.
    """

    records: list[Record]
    damaged: list[str]
    set_aside: int

    @property
    def counts(self) -> dict[Status, int]:
        found = Counter(record.status for record in self.records)
        return {status: found[status] for status in get_args(Status)}


def collect(run: Run) -> Collected:
    """Whatever records there are.  A trial without one is pending, or running where it shows progress.

    Damaged files raise nothing: such a trial is pending, flagged, and the damage is listed.
    Raises RequestError where this is no run folder.
    """
    planned = set(run.planned())
    records: list[Record] = []
    damaged = [_without_folder(each.text, run) for each in damage.of_run(run)]
    with _no_garbage():
        for trial_id in run.trial_ids():
            record, problems = _read(run, trial_id)
            damaged += problems
            if record is None:
                continue
            of_files = (Kind.NEWER_RECORD if damage.NEWER in text else Kind.DAMAGED_RECORD for text in problems)
            record.flags = list(dict.fromkeys([*record.flags, *map(Flag, of_files), *_warnings(record)]))
            record.planned = trial_id in planned
            records.append(record)
    return Collected(records, damaged, sum(1 for _ in damage.aside(run)))


@contextmanager
def _no_garbage() -> Iterator[None]:
    """Records are millions of objects that stay: the garbage collector would walk over them again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _read(run: Run, trial_id: str) -> tuple[Record | None, list[str]]:
    """A trial's record as the plan now describes the trial, and what was wrong with its files."""
    try:
        trial, record, damages = damage.of_trial(run, trial_id)
    except OSError as error:
        return None, [_without_folder(str(error), run)]
    problems = [_without_folder(each.text, run) for each in damages]
    if trial is None and record is None:
        return None, problems
    return _current(run, trial, record), problems


def _without_folder(text: str, run: Run) -> str:
    """A report is passed on: it names files as they lie in the run's folder."""
    return text.replace(f"{run.folder}/", "")


def _current(run: Run, trial: Trial | None, record: Record | None) -> Record:
    """The record with the names that the plan now gives, since none of them is part of the trial's identity."""
    if record is None:
        assert trial is not None
        record = Record.pending(trial)
    elif trial is not None:
        for name, text in Record.names(trial).items():
            setattr(record, name, text)
        record.details.trial = trial
    # A failed trial stays failed until its record says that it runs again: what died may leave its progress behind.
    if record.status == "pending" and run.progress(record.trial_id) is not None:
        record.status = "running"
    return record


def _warnings(record: Record) -> list[Flag]:
    """What a reader of the numbers must know, and no record says of itself."""
    flags = []
    if any(value is not None and not math.isfinite(value) for value in map(record.__dict__.get, FLOATS)):
        flags.append(Flag(Kind.NOT_FINITE))
    if record.status == "done":
        flags += [Flag(Kind(f"no {part} yet")) for part in record.missing(record.details.trial.measure)]
    return flags
