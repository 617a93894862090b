"""Damaged files in a run folder: every reader reports them, the next run renames them, none is used or deleted."""

import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

import yaml

from mixbench.errors import RequestError
from mixbench.run.folder import Run
from mixbench.run.inventory import NEWER, Damage, Inventory, reading_many
from mixbench.run.record import SCHEMA_VERSION
from mixbench.suite.trial import Trial
from mixbench.system.files import set_aside

ASIDE = re.compile(r"\.damaged-[0-9]")
ASIDE_DEPTH = 4
"""Levels of a run folder that are searched for files set aside: trials/<trial id>/checkpoint/<name>.damaged-1."""


def of_run(run: Run) -> list[Damage]:
    """Return the run's own damaged files, without those of its trials."""
    found = []
    if suite_name(run.suite_file) is None and run.suite_file.exists():
        found.append(Damage(run.suite_file, f"{run.suite_file} cannot be read as a suite"))
    try:
        run.planned()
    except RequestError as error:
        found.append(Damage(run.plan_file, str(error)))
    return found


def set_all_aside(inventory: Inventory) -> list[Path]:
    """Rename all damaged files, and return the new paths; a later version's stay.  Needs a claim on the run."""
    run = inventory.run
    try:
        trials = run.trial_ids()
    except RequestError:
        trials = run.trial_folders()
    with reading_many():
        damages = [*of_run(run), *(damage for trial_id in trials for damage in inventory.look(trial_id).damages)]
    return [set_aside(damage.path) for damage in damages if damage.is_damaged and damage.path.exists()]


def refuse_newer(inventory: Inventory, trials: Iterable[Trial]) -> None:
    """Raise RequestError if a record of these trials was written by a later mixbench, which this one cannot use."""
    paths = [inventory.run.record_file(trial.id) for trial in trials if inventory.is_newer(trial.id)]
    if paths:
        more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
        raise RequestError(
            f"{paths[0]}{more}: {NEWER}; this one reads schema version {SCHEMA_VERSION}, and would measure the trial "
            "again. Use the mixbench that wrote it, or another folder with --out"
        )


def aside(run: Run) -> Iterator[Path]:
    """Yield all files that were set aside, by this run or an earlier one."""
    return _aside(str(run.folder), ASIDE_DEPTH)


def _aside(folder: str, depth: int) -> Iterator[Path]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if ASIDE.search(entry.name):
                yield Path(entry.path)
            elif depth > 1 and entry.is_dir(follow_symlinks=False):
                yield from _aside(entry.path, depth - 1)


def suite_name(path: Path) -> str | None:
    """Return the `name` in a run's suite.yaml; None if the file is missing or damaged."""
    try:
        name = yaml.safe_load(path.read_text(encoding="utf-8"))["name"]
    except (OSError, yaml.YAMLError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return name if isinstance(name, str) else None
