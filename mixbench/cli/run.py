"""`mixbench run`: write a suite's plan into its run folder, launch and watch its trials, write the report."""

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console

from mixbench.cli import messages
from mixbench.cli.progress_display import Watch
from mixbench.cli.terminal import console
from mixbench.cli.transfer import Meter
from mixbench.errors import RequestError
from mixbench.launch.job import job_folders
from mixbench.launch.local import launch
from mixbench.launch.outcome import Outcome
from mixbench.launch.preflight import at_once, check_cluster, check_data, check_disk_space, check_folder, check_ids
from mixbench.launch.processes import end_ranks
from mixbench.launch.slurm.attach import Launch
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import open_jobs
from mixbench.results.collect import collect
from mixbench.results.rows import settings_by_trial
from mixbench.run import damage
from mixbench.run.claim import claimed
from mixbench.run.commands import note
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.run.other_code import of_other_code, set_results_aside
from mixbench.run.record import Record
from mixbench.suite.axes import point
from mixbench.suite.schema import Suite
from mixbench.suite.select import select
from mixbench.suite.trial import Trial
from mixbench.system import environment
from mixbench.system.host import timestamp


class Session:
    """Runs a suite in its run folder.  `problems`: messages on what kept the run from finishing, besides failed trials.

    Raises RequestError if the folder holds something else, or one of `only` matches no trial.
    """

    def __init__(self, suite: Suite, trials: list[Trial], cluster: str | Profile, folder: Path, only: Sequence[str]):
        self.suite, self.trials, self.cluster = suite, trials, cluster
        self.run = Run(folder)
        self.inventory = Inventory(self.run)
        self.chosen = select(trials, only) if only else trials
        self.problems: list[str] = []
        self.unwritten: dict[str, Record] = {}  # of failed trials, by trial id
        self.in_slurm: Launch | None = None
        check_folder(self.run, suite.name)
        check_ids(self.inventory, trials)

    def unfinished(self) -> list[Trial]:
        """Return the chosen trials that lack a complete record, or the weights they are to keep."""
        return self.inventory.unfinished(self.chosen)

    def run_all(self, quiet: bool = False, detach: bool = False, typed: Sequence[str] | None = None) -> dict[str, int]:
        """Launch the unfinished trials, then write the report.  Return the number of chosen trials by status.

        `detach`: return once the jobs are submitted; the last of them writes the report.  `typed`: the arguments of the
        command line, kept in commands.jsonl.

        Raises RequestError, before anything is written, if the cluster cannot run the trials, data are missing, another
        process runs them, or a newer mixbench wrote their records; Taken if another process took over the run because
        this one missed its heartbeats.
        """
        out, stderr = console(quiet=quiet), console(stderr=True)
        self._check(stderr)
        with claimed(self.run.lock, partial(stderr.print, soft_wrap=True)) as claim:
            self.run = replace(self.run, claim=claim)
            self._clean_up()
            if typed is not None:
                note(self.run, typed, timestamp())
            messages.say_set_aside(damage.set_all_aside(self.inventory), out)
            for trial in (changed := of_other_code(self.inventory, self.chosen)):
                set_results_aside(self.run, trial)
            todo = self.unfinished()  # again: another process may have finished some before this one had the claim
            self._write_plan(todo)
            messages.say_plan(self.run, self.chosen, todo, out)
            messages.say_other_code(changed, out)
            for old, new in _trained_by_other_processes(self.run, self.trials, todo):
                messages.say_starts_over(old, new, out)
            for dataset, before in _of_other_images(self.run, self.trials, todo).items():
                messages.say_other_images(dataset, before, out)
            if todo and (outcomes := self._launch(todo, out, detach)):
                self._follow(outcomes, todo, out)
            return _counts(collect(self.inventory).records, self.chosen) if detach else self._report(out)

    def _check(self, stderr: Console) -> None:
        """Raise RequestError if the trials cannot be run.  Writes nothing."""
        environment.check()
        check_cluster(self.run, self.chosen, self.cluster)
        todo = self.unfinished()
        damage.refuse_newer(self.inventory, todo)
        with Meter(stderr, counts=True) as meter:
            check_data(todo, meter.show)
        check_disk_space(todo, self.run.folder, at_once(self.cluster, len(self.trials)))

    def _clean_up(self) -> None:
        """Remove temporary files and end ranks left by a launcher that was killed."""
        if not open_jobs(self.run):  # a job in SLURM may be writing such a file now
            self.run.sweep()
        end_ranks(job_folders(self.run))

    def _write_plan(self, todo: list[Trial]) -> None:
        self.run.write_plan(self.suite.text, self.trials)
        for trial_id in {trial.id for trial in self.chosen} - {trial.id for trial in todo}:
            self.run.clear(trial_id)  # left if a process was killed after it wrote the record

    def _launch(self, todo: list[Trial], out: Console, detach: bool) -> Generator[Outcome] | None:
        """Launch trials; yield each one's outcome as it ends.  None if `detach`: nothing is awaited."""
        if not isinstance(self.cluster, Profile):
            return launch(todo, self.cluster, self.run)
        self.in_slurm = Launch(self.run, self.inventory, todo, self.cluster)
        self.in_slurm.begin()
        messages.say_submitted(self.in_slurm, detach, out)
        return None if detach else self.in_slurm.outcomes(partial(out.print, soft_wrap=True))

    def _follow(self, outcomes: Generator[Outcome], todo: list[Trial], out: Console) -> None:
        """Show the trials as they end.  Stops at the first failed trial whose record could not be written."""
        settings = settings_by_trial(map(Record.pending, self.chosen))
        with Watch(self.run, todo, out, settings) as watch, closing(outcomes):
            try:
                for outcome in outcomes:
                    watch.end(outcome.record)
                    if outcome.unwritten:
                        self.problems.append(
                            f"{outcome.trial.id} failed, and no record can say so: {outcome.unwritten}"
                        )
                        self.unwritten[outcome.trial.id] = outcome.record
                        return
                    self.inventory.take(outcome.record)
            except OSError as error:
                self.problems.append(f"the run cannot go on: {error}")
        if self.in_slurm:
            self.problems += self.in_slurm.gone

    def _report(self, out: Console) -> dict[str, int]:
        from mixbench.cli.status import print_summary
        from mixbench.report.write import write

        pages = []
        try:
            pages = [path for path in write(self.inventory) if path.suffix == ".html"]
        except OSError as error:
            self.problems.append(f"the report cannot be written: {error}")
        records = [self.unwritten.get(record.trial_id, record) for record in collect(self.inventory).records]
        out.print()
        print_summary(records, out, self.run)
        counts = _counts(records, self.chosen)
        chosen = {trial.id for trial in self.chosen}
        failed = [each.trial_id for each in records if each.status == "failed" and each.trial_id in chosen]
        gone = self.in_slurm.gone if self.in_slurm else []
        messages.say_end(self.run, pages, failed, self.problems, gone, out)
        return counts

    def how_to_resume(self) -> str:
        """Return the message after Ctrl-C or a takeover: what is kept, and the commands that resume the run."""
        if self.run.claim and self.run.claim.is_lost():
            return messages.taken_over(self.run)
        return messages.how_to_resume(self.run, len(self.chosen), len(self.unfinished()), self.in_slurm is not None)


def _counts(records: Iterable[Record], trials: Iterable[Trial]) -> dict[str, int]:
    """Return the number of these trials by status."""
    chosen = {trial.id for trial in trials}
    counts = {"done": 0, "failed": 0, "running": 0, "pending": 0}
    for record in records:
        if record.trial_id in chosen:
            counts[record.status] += 1
    return counts


def _trained_by_other_processes(run: Run, planned: list[Trial], todo: list[Trial]) -> Iterator[tuple[Trial, Trial]]:
    """Yield pairs: a trial no longer planned that has a checkpoint, and one to run that differs only in processes."""
    wanted = {_without_processes(trial): trial for trial in todo}
    for trial_id in set(run.trial_folders()) - {trial.id for trial in planned}:
        with suppress(RequestError):
            if run.has_checkpoint(run.trial(trial_id)) and (new := wanted.get(_without_processes(run.trial(trial_id)))):
                yield run.trial(trial_id), new


def _of_other_images(run: Run, planned: list[Trial], todo: list[Trial]) -> dict[str, list[Trial]]:
    """Return, by dataset, the trials no longer planned that differ from one to run only in the images of its folder."""
    wanted = {_without_images(trial) for trial in todo if trial.data.folder}
    found: dict[str, list[Trial]] = {}
    for trial_id in set(run.trial_folders()) - {trial.id for trial in planned} if wanted else ():
        with suppress(RequestError):
            if _without_images(old := run.trial(trial_id)) in wanted:
                found.setdefault(old.dataset, []).append(old)
    return found


def _without_images(trial: Trial) -> tuple[str, str]:
    return trial.dataset, point(trial, but={"dataset"})


def _without_processes(trial: Trial) -> str:
    """Return the values of all that tells trials apart, except the number of nodes and processes."""
    return point(trial, but={"nodes", "world_size"})
