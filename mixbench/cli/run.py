"""One `mixbench run`: a suite brought into its run folder, launched, watched and reported."""

import re
import shlex
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from mixbench.cli.progress_display import Watch
from mixbench.cli.terminal import console
from mixbench.data.locations import require
from mixbench.errors import RequestError, Unavailable
from mixbench.launch.cost import check_disk_space
from mixbench.launch.job import job_folders
from mixbench.launch.local import check, gpu_names, launch
from mixbench.launch.outcome import Outcome
from mixbench.launch.processes import end_ranks
from mixbench.launch.slurm import submit
from mixbench.launch.slurm.attach import Launch
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import open_jobs
from mixbench.launch.slurm.queue import queued
from mixbench.results.collect import collect
from mixbench.run import damage
from mixbench.run.claim import claimed, holder
from mixbench.run.commands import note
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.run.record import Record
from mixbench.suite.axes import point
from mixbench.suite.schema import Suite
from mixbench.suite.select import select
from mixbench.suite.trial import Trial
from mixbench.system.files import nearest_existing
from mixbench.system.host import timestamp
from mixbench.system.words import plural


class Session:
    """A suite and its run folder.  `problems` are what kept a run from being finished besides trials that failed.

    Raises RequestError where the folder holds something else, or `only` matches none.
    """

    def __init__(self, suite: Suite, trials: list[Trial], cluster: str | Profile, folder: Path, only: str | None):
        self.suite, self.cluster = suite, cluster
        self.run = Run(folder)
        self.inventory = Inventory(self.run)
        self.trials = trials
        self.problems: list[str] = []
        self.in_slurm: Launch | None = None
        self.chosen = trials if only is None else select(trials, only)
        if not (there := nearest_existing(folder)).is_dir():
            raise RequestError(f"--out {folder}: {there} is a file; a folder, or one to be made, is wanted")
        if found := re.search("%[jtAa]", str(folder.absolute())):
            raise RequestError(
                f"{folder}: submitit puts numbers in place of {found[0]} in a path; choose another with --out"
            )
        _refuse_another(self.run, suite)

    def unfinished(self) -> list[Trial]:
        """The chosen trials without a good record."""
        return self.inventory.unfinished(self.chosen)

    def run_all(self, quiet: bool = False, detach: bool = False, typed: Sequence[str] | None = None) -> dict[str, int]:
        """Launch what is unfinished, then write the report.  The number of trials by status, of those chosen.

        `detach`: return when the jobs are submitted; the last of them writes the report.  `typed`: the words of the
        command line, for the run's records.

        Raises RequestError, before anything is written, where the cluster cannot run them, data are missing or another
        process runs them or a newer mixbench did; Taken where another one took the run over, as this one showed no sign
        of life.
        """
        self._check_cluster()
        todo = self.unfinished()
        damage.refuse_newer(self.inventory, todo)
        if "accuracy" in self.suite.measure:
            data = dict.fromkeys(trial.data for trial in todo)
            require(data)
            if any(dataset.decoded for dataset in data):
                from mixbench.data.pixel_cache import require_decoded

                require_decoded(data)
        check_disk_space(todo, self.run.folder, self._at_once())
        out, aside = console(quiet=quiet), console(stderr=True)
        with claimed(self.run.lock, partial(aside.print, soft_wrap=True)) as claim:
            self.run = replace(self.run, claim=claim)
            if not open_jobs(self.run):  # which write, too
                self.run.sweep()
            if typed is not None:
                note(self.run, typed, timestamp())
            end_ranks(job_folders(self.run))  # of a process that was killed, whose ranks may outlive it a while
            unwritten = self._run_unfinished(out, detach)
            return self._counts(collect(self.inventory).records) if detach else self._report(out, unwritten)

    def _check_cluster(self) -> None:
        """Raises RequestError where the cluster cannot run the trials, or the run is still in SLURM's queue."""
        if isinstance(self.cluster, Profile):
            submit.check(self.chosen, self.cluster, self.run.folder)
            return
        check(self.chosen, self.cluster)
        try:
            queue = queued(job.array.name for job in open_jobs(self.run))
        except Unavailable as error:
            raise RequestError(
                f"{self.run.folder} has jobs in SLURM, of which nothing can be known now: {error}"
            ) from None
        if queue:
            raise RequestError(
                f"{self.run.folder} has {plural(len(queue), 'job')} in SLURM's queue: go on there with --cluster, "
                f"or end them with: mixbench cancel {shlex.quote(str(self.run.folder))}"
            )

    def _at_once(self) -> int:
        """How many trials are measured at a time, at the most."""
        if isinstance(self.cluster, Profile):
            return min(self.cluster.array_parallelism, len(self.trials))
        return max(1, len(gpu_names()))

    def _run_unfinished(self, out: Console, detach: bool) -> dict[str, Record]:
        """The records of failed trials that could not be written: the run stops at the first."""
        for path in damage.set_all_aside(self.inventory):
            out.print(f"damaged, set aside and not used: {path}", style="red", soft_wrap=True)
        todo = self.unfinished()  # again: another process may have been at work until this one had its claim
        self.run.write_plan(self.suite.text, self.trials)
        for trial_id in {trial.id for trial in self.chosen} - {trial.id for trial in todo}:
            self.run.clear(trial_id)  # a process may have been killed between its record and this
        self._say_what_is_there(todo, out)
        outcomes = self._outcomes(todo, out, detach) if todo else None
        if outcomes is None:
            return {}
        with Watch(self.run, todo, out) as watch, closing(outcomes):
            try:
                for outcome in outcomes:
                    watch.end(outcome.record)
                    if outcome.unwritten:
                        self.problems.append(
                            f"{outcome.trial.id} failed, and no record can say so: {outcome.unwritten}"
                        )
                        return {outcome.trial.id: outcome.record}
                    self.inventory.take(outcome.record)
            except OSError as error:
                self.problems.append(f"the run cannot go on: {error}")
        if self.in_slurm:
            self.problems += self.in_slurm.gone
        return {}

    def _outcomes(self, todo: list[Trial], out: Console, detach: bool) -> Generator[Outcome] | None:
        """The trials as they end; None where nobody waits for that."""
        if not isinstance(self.cluster, Profile):
            return launch(todo, self.cluster, self.run)
        self.in_slurm = Launch(self.run, self.inventory, todo, self.cluster)
        self.in_slurm.begin()
        facts = [f"{plural(self.in_slurm.submitted, 'trial')} submitted"] * bool(self.in_slurm.submitted)
        facts += [f"{plural(self.in_slurm.attached, 'trial')} in the queue already"] * bool(self.in_slurm.attached)
        out.print(f"{', '.join(facts)}; to leave, press Ctrl-C: the jobs go on" if not detach else ", ".join(facts))
        if detach:
            out.print(f"how far it is: mixbench status {shlex.quote(str(self.run.folder))}", soft_wrap=True)
            return None
        return self.in_slurm.outcomes(partial(out.print, soft_wrap=True))

    def _say_what_is_there(self, todo: list[Trial], out: Console) -> None:
        kept, begun = len(self.chosen) - len(todo), sum(self.run.has_checkpoint(trial.id) for trial in todo)
        facts = [f"{kept} are done already"] * bool(kept)
        facts += [f"{begun} {'goes' if begun == 1 else 'go'} on from a checkpoint"] * bool(begun)
        already = f" ({', '.join(facts)})" if facts else ""
        todo_text = plural(len(todo), "trial")
        out.print(f"{self.suite.name}: {todo_text} to run{already}, in {self.run.folder}", soft_wrap=True)
        for old, new in self._begun_at_another_size(todo):
            out.print(
                f"{new.label}, seed {new.seed}, begins anew: what there is was trained by "
                f"{plural(old.world_size, 'process')}; with {plural(new.world_size, 'process')} "
                "it comes to other figures and is another trial",
                soft_wrap=True,
            )

    def _begun_at_another_size(self, todo: list[Trial]) -> Iterator[tuple[Trial, Trial]]:
        """Trials that are no longer planned, with a checkpoint, and those that differ from them in their processes."""
        wanted = {_but_for_size(trial): trial for trial in todo}
        for trial_id in set(self.run.trial_folders()) - {trial.id for trial in self.trials}:
            with suppress(RequestError):
                if self.run.has_checkpoint(trial_id) and (new := wanted.get(_but_for_size(self.run.trial(trial_id)))):
                    yield self.run.trial(trial_id), new

    def _report(self, out: Console, unwritten: dict[str, Record]) -> dict[str, int]:
        from mixbench.cli.status import print_summary
        from mixbench.report.write import write

        pages = []
        try:
            pages = [path for path in write(self.inventory) if path.suffix == ".html"]
        except OSError as error:
            self.problems.append(f"the report cannot be written: {error}")
        records = [unwritten.get(record.trial_id, record) for record in collect(self.inventory).records]
        out.print()
        print_summary(records, out)
        for page in pages:
            out.print(f"\nreport: {page}", soft_wrap=True)
        counts = self._counts(records)
        if counts["failed"]:
            failed = f"{plural(counts['failed'], 'trial')} failed; the same command tries again"
            out.print(failed, style="red", soft_wrap=True)
        self._say_problems()
        return counts

    def _counts(self, records: list[Record]) -> dict[str, int]:
        chosen = {trial.id for trial in self.chosen}
        counts = {"done": 0, "failed": 0, "running": 0, "pending": 0}
        for record in records:
            if record.trial_id in chosen:
                counts[record.status] += 1
        return counts

    def _say_problems(self) -> None:
        if self.problems:
            out = console(stderr=True)
            for problem in self.problems:
                out.print(f"mixbench: {problem}", style="red", soft_wrap=True)
            kept = "what was measured before is kept; once the folder can be written, the same command goes on"
            out.print(f"mixbench: {kept}", soft_wrap=True)

    def how_to_go_on(self) -> str:
        """After Ctrl-C: what is kept, and what goes on."""
        if self.run.claim and self.run.claim.is_lost():
            who = holder(self.run.lock)
            return (
                f"\nstopped: {self.run.folder} is no longer this process's: "
                + (f"it gave no sign of life for a while, and {who} took over" if who else "its claim is gone")
                + "; nothing more was written."
            )
        left, all_ = len(self.unfinished()), plural(len(self.chosen), "trial")
        if self.in_slurm:
            folder = shlex.quote(str(self.run.folder))
            return (
                f"\nleft: {len(self.chosen) - left} of {all_} done; the jobs go on, the last one writes the report.\n"
                f"The same command watches them again.  How far they are:\n  mixbench status {folder}\n"
                f"To end them:\n  mixbench cancel {folder}"
            )
        next_ = f"The same command goes on with the other {left}.  To see what" if left else "To see what"
        return (
            f"\nstopped: {len(self.chosen) - left} of {all_} done; what was measured is kept in {self.run.folder}.\n"
            f"{next_} there is so far:\n  mixbench report {shlex.quote(str(self.run.folder))}"
        )


def _but_for_size(trial: Trial) -> str:
    return point(trial, but={"nodes", "world_size"})


def _refuse_another(run: Run, suite: Suite) -> None:
    """Raises RequestError where the folder holds something else than a run of this suite."""
    folder = run.folder
    if not folder.exists() or (folder.is_dir() and all(path == run.lock for path in folder.iterdir())):
        return
    if not run.suite_file.exists() and not (folder / "trials").is_dir():
        raise RequestError(f"{folder} is not a run folder and not empty; choose another with --out")
    names = {damage.suite_name(run.suite_file)} - {None} or _named_by_trials(run)
    if suite.name not in names:
        unknown = "a suite.yaml that cannot be read" if run.suite_file.exists() else "trials, and no suite.yaml"
        whose = f"the run of suite {names.pop()!r}" if names else unknown
        raise RequestError(f"{folder} holds {whose}, not the run of {suite.name!r}; choose another with --out")


def _named_by_trials(run: Run) -> set[str | None]:
    """What the trials call their suite, where suite.yaml is damaged or was lost."""
    names: set[str | None] = set()
    for trial_id in run.trial_folders():
        with suppress(RequestError):
            names.add(run.trial(trial_id).suite)
    return names
