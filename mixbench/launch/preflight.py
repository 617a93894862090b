"""Checks that a run passes before it writes anything: its folder, the cluster, the data, the disk space."""

import re
import shlex
import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from mixbench.data.locations import incomplete, remedy, require
from mixbench.errors import RequestError, Unavailable
from mixbench.launch import local
from mixbench.launch.cost import needed_bytes
from mixbench.launch.slurm import submit
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import open_jobs
from mixbench.launch.slurm.queue import queued
from mixbench.run import damage
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.suite.axes import NO_IDENTITY, are_unequal, leaves
from mixbench.suite.trial import Trial
from mixbench.system.files import nearest_existing
from mixbench.system.words import decimal_size, plural

if TYPE_CHECKING:
    from mixbench.data.array_cache import Say


def check_folder(run: Run, suite_name: str) -> None:
    """Raises RequestError where the folder cannot be this suite's run, or holds something else."""
    folder = run.folder
    if not (existing := nearest_existing(folder)).is_dir():
        raise RequestError(f"--out {folder}: {existing} is a file; a folder, or one to be made, is wanted")
    if found := re.search("%[jtAa]", str(folder.absolute())):
        raise RequestError(
            f"{folder}: submitit puts numbers in place of {found[0]} in a path; choose another with --out"
        )
    if not folder.exists() or (folder.is_dir() and all(path == run.lock for path in folder.iterdir())):
        return
    if not run.suite_file.exists() and not (folder / "trials").is_dir():
        raise RequestError(f"{folder} is not a run folder and not empty; choose another with --out")
    names = {damage.suite_name(run.suite_file)} - {None} or _named_by_trials(run)
    if suite_name not in names:
        unknown = "a suite.yaml that cannot be read" if run.suite_file.exists() else "trials, and no suite.yaml"
        whose = f"the run of suite {names.pop()!r}" if names else unknown
        raise RequestError(f"{folder} holds {whose}, not the run of {suite_name!r}; choose another with --out")


def check_ids(inventory: Inventory, trials: Iterable[Trial]) -> None:
    """Raises RequestError where the folder holds another trial under the id of one of these."""
    for trial in trials:
        found = inventory.look(trial.id)
        for there in (found.trial, found.record and found.record.details.trial):
            if there and are_unequal(there, trial):
                old, new = (dict(leaves(each.model_dump(mode="json"))) for each in (there, trial))
                differ = [f"{key} {old.get(key)}, not {new[key]}" for key in new if old.get(key) != new[key]]
                differ = [text for text in differ if text.partition(".")[0].split()[0] not in NO_IDENTITY]
                raise RequestError(
                    f"{inventory.run.folder} holds another trial under the id {trial.id}, which is the same by chance "
                    f"({', '.join(differ[:3])}): run this one in a folder of its own, with --out"
                )


def _named_by_trials(run: Run) -> set[str | None]:
    """The suite names in the trials' files, for a suite.yaml that is damaged or lost."""
    names: set[str | None] = set()
    for trial_id in run.trial_folders():
        with suppress(RequestError):
            names.add(run.trial(trial_id).suite)
    return names


def check_cluster(run: Run, trials: list[Trial], cluster: str | Profile) -> None:
    """Raises RequestError where the cluster cannot run the trials, or the run is still in SLURM's queue."""
    if isinstance(cluster, Profile):
        submit.check(trials, cluster, run.folder)
        return
    local.check(trials, cluster)
    try:
        queue = queued(job.array for job in open_jobs(run))
    except Unavailable as error:
        raise RequestError(f"{run.folder} has jobs in SLURM, of which nothing can be known now: {error}") from None
    if queue:
        raise RequestError(
            f"{run.folder} has {plural(len(queue), 'job')} in SLURM's queue: go on there with --cluster, or end them "
            f"with: mixbench cancel {shlex.quote(str(run.folder))}"
        )


def check_data(trials: Iterable[Trial], say: "Say") -> None:
    """Raises RequestError where data that these trials need are missing or damaged, or there is no room to decode them.

    `say` gets the progress of reading the images of an `image_folder`, all of which are decoded once.
    """
    data = dict.fromkeys(trial.data for trial in trials if "accuracy" in trial.measure)
    require(data)
    if short := [f"{dataset.name}: {found}. {remedy(dataset)}" for dataset in data if (found := incomplete(dataset))]:
        raise RequestError("\n".join(short))
    if any(dataset.decoded for dataset in data):
        from mixbench.data.pixel_cache import require_decoded

        require_decoded(data)
    if any(dataset.folder for dataset in data):
        from mixbench.data.verify import require_readable

        require_readable(data, say)


def check_disk_space(trials: list[Trial], folder: Path, at_once: int) -> None:
    """Raises RequestError where the folder's disk has less free space than these trials need, `at_once` at a time."""
    kept, checkpoints = needed_bytes(trials, at_once)
    run = Run(folder)
    there = [path for trial in trials for path in run.checkpoints(trial.id).glob("*/*") if path.is_file()]
    needed = kept + max(0, checkpoints - sum(path.stat().st_size for path in there))
    free = shutil.disk_usage(nearest_existing(folder)).free
    if free < needed:
        raise RequestError(
            f"{folder}: these trials need {decimal_size(needed)} (records, checkpoints, predictions, weights that are "
            f"kept), {decimal_size(free)} are free; delete files, or choose another folder with --out.  "
            "Nothing was started"
        )


def at_once(cluster: str | Profile, trials: int) -> int:
    """The most of so many trials that are measured at the same time."""
    if isinstance(cluster, Profile):
        return min(cluster.array_parallelism, trials)
    return max(1, len(local.gpu_names()))
