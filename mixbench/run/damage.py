"""What cannot be read in a run folder: named by whoever reads, set aside by the next run, never used, never deleted."""

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
"""How deep in a run folder something may lie that was set aside: trials/<trial id>/checkpoint/<name>.damaged-1."""


def of_run(run: Run) -> list[Damage]:
    """What is damaged of the run's own files, not of its trials'."""
    found = []
    if suite_name(run.suite_file) is None and run.suite_file.exists():
        found.append(Damage(run.suite_file, f"{run.suite_file} cannot be read as a suite"))
    try:
        run.planned()
    except RequestError as error:
        found.append(Damage(run.plan_file, str(error)))
    return found


def set_all_aside(inventory: Inventory) -> list[Path]:
    """Rename all that is damaged; the new names.  For whoever has a claim on the run.  What is newer stays."""
    run = inventory.run
    try:
        trials = run.trial_ids()
    except RequestError:
        trials = run.trial_folders()
    with reading_many():
        damages = [*of_run(run), *(damage for trial_id in trials for damage in inventory.look(trial_id).damages)]
    return [set_aside(damage.path) for damage in damages if damage.path.exists() and not damage.newer]


def refuse_newer(inventory: Inventory, trials: Iterable[Trial]) -> None:
    """Raises RequestError where a record of these trials, which cannot be used, is a later mixbench's."""
    paths = [inventory.run.record_file(trial.id) for trial in trials if inventory.is_newer(trial.id)]
    if paths:
        more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
        raise RequestError(
            f"{paths[0]}{more}: {NEWER}; this one reads schema version {SCHEMA_VERSION}, and would measure the trial "
            "again. Go on with the mixbench that wrote it, or take another folder with --out"
        )


def aside(run: Run) -> Iterator[Path]:
    """All that was set aside, now or earlier."""
    return _aside(str(run.folder), ASIDE_DEPTH)


def _aside(folder: str, depth: int) -> Iterator[Path]:
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if ASIDE.search(entry.name):
                yield Path(entry.path)
            elif depth > 1 and entry.is_dir(follow_symlinks=False):
                yield from _aside(entry.path, depth - 1)


def suite_name(path: Path) -> str | None:
    """What a frozen suite calls itself; None where it is missing or damaged."""
    try:
        name = yaml.safe_load(path.read_text(encoding="utf-8"))["name"]
    except (OSError, yaml.YAMLError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return name if isinstance(name, str) else None
