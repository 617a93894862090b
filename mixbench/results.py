"""From a run folder to tables: results (a row per trial), summary (a row per model and dataset, over its seeds).

Imports neither torch nor submitit; pandas and scipy only in `tables`, so that counting trials costs nothing.
"""

import gc
import math
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from mixbench.errors import RequestError
from mixbench.run import damage
from mixbench.run.commands import Command, commands
from mixbench.run.folder import Run
from mixbench.run.record import COLUMNS, Record, Status
from mixbench.suite.trial import Trial
from mixbench.summary import NOT_IN_PLAN, SUMMARY_COLUMNS, Group, SummaryRow, groups

if TYPE_CHECKING:
    from pandas import DataFrame

DAMAGED = "damaged record"
NEWER = "record of a newer mixbench"
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


@dataclass(frozen=True)
class Source:
    """One of the runs that tables are made of.  `name` is what their rows' column `run` says."""

    name: str
    suite: str
    suite_text: str
    counts: dict[Status, int]
    commands: list[Command]


@dataclass(frozen=True)
class Tables:
    """What a report is made of.  `groups` are the summary's rows, in the same order.

    Of several runs, `sources` has each; the rest is of all together.  A trial that two of them have stands twice.
    """

    sources: list[Source]
    suite: str
    suite_text: str
    results: "DataFrame"
    summary: "DataFrame"
    groups: list[Group]
    records: list[Record]
    damaged: list[str]
    set_aside: int
    counts: dict[Status, int]


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
            damage_flags = dict.fromkeys(NEWER if damage.NEWER in text else DAMAGED for text in problems)
            flags = [*record.flags, *damage_flags, *_warnings(record)]
            if trial_id not in planned:
                flags.append(NOT_IN_PLAN)
            record.flags = list(dict.fromkeys(flags))
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


def tables(*runs: Run) -> Tables:
    """The tables of a run, or of several together, finished or not.  Only reads.

    Raises RequestError where one is no run folder, or is given twice.
    """
    found = {name: collect(run) for name, run in zip(_names(runs), runs, strict=True)}
    marked = [
        record.model_copy(update={"run": name}) for name, collected in found.items() for record in collected.records
    ]
    sources = [
        Source(name, each.records[0].suite if each.records else name, _text(run), each.counts, commands(run))
        for (name, each), run in zip(found.items(), runs, strict=True)
    ]
    one = len(runs) == 1
    rows = groups(marked)
    return Tables(
        sources=sources,
        suite=", ".join(dict.fromkeys(source.suite for source in sources)),
        suite_text="\n".join(s.suite_text if one else f"# run {s.name}\n{s.suite_text}" for s in sources),
        results=_frame([_cells(record) for record in marked], Record, COLUMNS),
        summary=_frame([group.row.model_dump() for group in rows], SummaryRow, SUMMARY_COLUMNS),
        groups=rows,
        records=marked,
        damaged=[text if one else f"{name}: {text}" for name, each in found.items() for text in each.damaged],
        set_aside=sum(each.set_aside for each in found.values()),
        counts={status: sum(source.counts[status] for source in sources) for status in get_args(Status)},
    )


def _names(runs: Sequence[Run]) -> list[str]:
    """The folders' names, with as much of their paths as tells them apart.  Raises RequestError for one given twice."""
    folders = [run.folder.resolve() for run in runs]
    twice = [run.folder for run, folder in zip(runs, folders, strict=True) if folders.count(folder) > 1]
    if twice:
        raise RequestError(f"{twice[0]} is given twice")
    for depth in range(1, 1 + max(len(folder.parts) for folder in folders)):
        names = [os.fsencode("/".join(folder.parts[-depth:])).decode(errors="replace") for folder in folders]
        if len(set(names)) == len(names):
            break
    return names


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


def _warnings(record: Record) -> list[str]:
    """What a reader of the numbers must know, and no record says of itself."""
    flags = []
    if any(value is not None and not math.isfinite(value) for value in map(record.__dict__.get, FLOATS)):
        flags.append("not finite")
    if record.status == "done":
        flags += [f"no {part} yet" for part in record.missing(record.details.trial.measure)]
    return flags


def _text(run: Run) -> str:
    try:
        return run.suite_file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cells(record: Record) -> dict[str, Any]:
    return record.model_dump(include=set(COLUMNS)) | {"flags": ";".join(record.flags)}


def _frame(rows: list[dict[str, Any]], model: type[BaseModel], columns: list[str]) -> "DataFrame":
    """Exact types: an int stays an int where other rows are empty, an empty table has its columns."""
    import pandas as pd

    def dtype(annotation: Any) -> str:
        kinds = set(get_args(annotation) or (annotation,))
        for kind, name in ((bool, "boolean"), (int, "Int64"), (float, "float64")):
            if kind in kinds:
                return name
        return "string"

    return pd.DataFrame(
        {
            name: pd.Series([row[name] for row in rows], dtype=dtype(model.model_fields[name].annotation))
            for name in columns
        }
    )
