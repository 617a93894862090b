"""What cannot be read in a run folder: named by whoever reads, set aside by the next run, never used, never deleted."""

import json
import os
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import yaml

from mixbench.errors import RequestError
from mixbench.run.folder import Run
from mixbench.run.record import SCHEMA_VERSION, DamagedRecord, Record
from mixbench.suite.trial import Trial
from mixbench.system import checksum
from mixbench.system.files import set_aside

ASIDE = re.compile(r"\.damaged-[0-9]")
NEWER = "written by a newer mixbench, and kept as it is"
ASIDE_DEPTH = 4
"""How deep in a run folder something may lie that was set aside: trials/<trial id>/checkpoint/<name>.damaged-1."""


@dataclass(frozen=True)
class Damage:
    """A file that is not what it should be, and why, in a line that names it.

    `newer`: it is whole, and written by a later mixbench.  It stays where it is, for that one.
    """

    path: Path
    text: str
    newer: bool = False


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


def of_trial(run: Run, trial_id: str) -> tuple[Trial | None, Record | None, list[Damage]]:
    """What of a trial can be read, and what is damaged.  Raises OSError where a file could not be read this time."""
    folder = run.trial_folder(trial_id)
    try:
        there = set(os.listdir(folder))
    except FileNotFoundError:
        there = set()
    except NotADirectoryError:
        return None, None, [Damage(folder, f"{folder}: not a folder")]
    trial, record, found = None, None, []
    try:
        trial = run.trial(trial_id)
    except RequestError as error:
        found.append(Damage(folder / "trial.json", str(error)))
    if "record.json" in there:
        try:
            record = run.record(trial_id)
        except DamagedRecord as error:
            path = run.record_file(trial_id)
            newer = _is_newer(path)
            found.append(Damage(path, f"{error}: {NEWER}" if newer else str(error), newer))
    if "progress.json" in there and run.progress(trial_id) is None and run.progress_file(trial_id).exists():
        found.append(Damage(run.progress_file(trial_id), f"{run.progress_file(trial_id)} cannot be read"))
    return trial, record, found


def set_all_aside(run: Run) -> list[Path]:
    """Rename all that is damaged; the new names.  For whoever has a claim on the run.  What is newer stays."""
    try:
        trials = run.trial_ids()
    except RequestError:
        trials = run.trial_folders()
    damages = [*of_run(run), *(damage for trial_id in trials for damage in of_trial(run, trial_id)[2])]
    return [set_aside(damage.path) for damage in damages if damage.path.exists() and not damage.newer]


def refuse_newer(run: Run, trials: Iterable[Trial]) -> None:
    """Raises RequestError where a record of these trials, which cannot be used, is a later mixbench's."""
    paths = [path for trial in trials if _is_newer(path := run.record_file(trial.id))]
    if paths:
        more = f" (and {len(paths) - 1} more)" if len(paths) > 1 else ""
        raise RequestError(
            f"{paths[0]}{more}: {NEWER}; this one reads schema version {SCHEMA_VERSION}, and would measure the trial "
            "again. Go on with the mixbench that wrote it, or take another folder with --out"
        )


def _is_newer(path: Path) -> bool:
    """Whether this is a record with its checksum, of a schema version that is yet to come here."""
    try:
        found = json.loads(path.read_bytes())
        version = found["schema_version"]
        return type(version) is int and version > SCHEMA_VERSION and checksum.KEY in found and checksum.is_intact(found)
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


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
