"""Collect the records of a run's trials, with the names that the current plan gives the trials."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, get_args

from mixbench.results.environments import are_the_same, difference_flags
from mixbench.results.rows import rows_of
from mixbench.run import damage
from mixbench.run.flags import Flag, Kind
from mixbench.run.folder import Run
from mixbench.run.inventory import Damage, Found, Inventory, reading_many
from mixbench.run.record import COLUMNS, Record, Status

FLOATS = [name for name in COLUMNS if float in get_args(Record.model_fields[name].annotation)]


@dataclass(frozen=True)
class Collected:
    """Every trial's record, in the plan's order, then those no longer planned; and a message for each damaged file.

    `set_aside` counts the damaged files that earlier runs renamed.
    """

    records: list[Record]
    damaged: list[str]
    set_aside: int

    @property
    def counts(self) -> dict[Status, int]:
        found = Counter(record.status for record in self.records)
        return {status: found[status] for status in get_args(Status)}


def collect(of: Run | Inventory) -> Collected:
    """Return the records of a run.  A trial without one is pending, or running if it reports progress.

    Given an inventory, only files that changed are parsed again.

    Damaged files raise nothing: such a trial is pending and flagged, and the damage is listed.
    Raises RequestError if this is not a run folder.
    """
    inventory = Inventory.of(of)
    run = inventory.run
    planned = set(run.planned())
    records: list[Record] = []
    damaged = [_without_folder(each.text, run) for each in damage.of_run(run)]
    with reading_many():
        for trial_id in run.trial_ids():
            record, damages = _read(inventory, trial_id)
            damaged += [
                _without_folder(each.text, run) for each in damages if each.flag.kind != Kind.MISSING_PREDICTIONS
            ]
            if record is None:
                continue
            of_files = [each.flag for each in damages]
            flags = list(dict.fromkeys([*record.flags, *of_files, *_warnings(record)]))
            records.append(_with(record, flags=flags, planned=trial_id in planned))
    return Collected(_with_differences(records), damaged, sum(1 for _ in damage.aside(run)))


def _read(inventory: Inventory, trial_id: str) -> tuple[Record | None, Sequence[Damage]]:
    """Return a trial's record, with the names from the current plan, and the damage found in its files."""
    try:
        found = inventory.look(trial_id)
    except OSError as error:
        return None, [Damage(inventory.run.trial_folder(trial_id), str(error))]
    return _current(found), found.damages


def _without_folder(text: str, run: Run) -> str:
    """Make paths relative to the run's folder: a report may be read on another machine."""
    return text.replace(f"{run.folder}/", "")


def _current(found: Found) -> Record | None:
    """Return the record with the names from the current plan: names are not part of a trial's identity."""
    trial, record = found.trial, found.record
    if record is None:
        if trial is None:
            return None
        record = Record.pending(trial)
    elif trial is not None:
        record = _with(record, **Record.names(trial))
        if record.details.trial is not trial:
            record = _with(record, details=record.details.model_copy(update={"trial": trial}))
    # A failed trial stays failed until its record says that it runs again: a dead process may leave its progress file.
    if record.status == "pending" and found.progress is not None:
        record = _with(record, status="running")
    return record


def _with_differences(records: list[Record]) -> list[Record]:
    """Flag the trials of rows whose seeds were measured under different conditions."""
    if are_the_same(records):
        return records  # the usual case: grouping thousands of trials takes time
    flags = {
        record.trial_id: found
        for row in rows_of(record for record in records if record.planned)
        if (found := difference_flags(row))
        for record in row
    }
    return [_with(record, flags=[*record.flags, *flags.get(record.trial_id, [])]) for record in records]


def _with(record: Record, **values: Any) -> Record:
    """Return a copy with these values, or the record itself if it has them all."""
    changed = {name: value for name, value in values.items() if getattr(record, name) != value}
    return record.model_copy(update=changed) if changed else record


def _warnings(record: Record) -> list[Flag]:
    """Flags that follow from a record's values: figures not finite or not exact, parts that are still missing."""
    flags = []
    if any(value is not None and not math.isfinite(value) for value in map(record.__dict__.get, FLOATS)):
        flags.append(Flag(Kind.NOT_FINITE))
    if (counts := record.details.complexity) and counts.uncounted:
        flags.append(Flag(Kind.UNCOUNTED, ", ".join(counts.uncounted)))
    if counts and counts.not_counted:
        flags.append(Flag(Kind.NOT_COUNTED, counts.not_counted))
    if record.status == "done":
        flags += [Flag(Kind(f"no {part} yet")) for part in record.missing(record.details.trial.measure)]
    return flags
