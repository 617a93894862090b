"""A run's trials in SLURM: keep the jobs that are in the queue, submit the other trials, wait for the records."""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from mixbench.errors import RequestError, Unavailable, shown
from mixbench.launch.outcome import Outcome, RecordWatch, final_record, reset_failed
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import (
    Array,
    Backlog,
    SlurmJob,
    jobs,
    open_jobs,
    refuse_others,
    taken_backlog,
    waiting_for_room,
)
from mixbench.launch.slurm.queue import last_states, max_array_size, queued
from mixbench.launch.slurm.submit import arrays, submit, top_up
from mixbench.run.claim import seize
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.suite.trial import Trial
from mixbench.system.polling import polls
from mixbench.system.words import plural

POLL_SECONDS, QUEUE_SECONDS = 1.0, 10.0
ROOM_SECONDS = 60.0
"""How often it is tried to submit what waits for room in SLURM's queue."""
GONE_SECONDS = 90.0
"""A job must have been out of the queue for so long before it counts as gone: NFS may show its last record so late."""
MOST_SHOWN = 8
IN_OTHER_TRIALS = {"description", "nodes", "processes_per_node"}
"""Keys of a profile that change nothing of a job, or whose change makes other trials."""


@dataclass
class Launch:
    """The trials that a run waits for: `attached` of them in jobs that were in the queue already, `submitted` now.

    `left` wait for room in SLURM's queue, because of the limit `full`.  `kept` describes what differs between the
    profile and that of jobs in the queue.  `gone` describes jobs that left the queue before all their trials had ended.
    """

    run: Run
    inventory: Inventory
    trials: list[Trial]
    profile: Profile
    attached: int = 0
    submitted: int = 0
    left: int = 0
    full: str = ""
    kept: dict[str, None] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    _missing_since: dict[str, float] = field(default_factory=dict)

    @property
    def jobs_can_submit(self) -> bool:
        """True if jobs submit what waits for room as they end: a container has none of SLURM's commands."""
        return self.profile.container is None

    def begin(self) -> None:
        """Raises RequestError where SLURM cannot be asked, or refuses the jobs."""
        held, there = self._held()
        new = [trial for trial in self.trials if trial.id not in held]
        with taken_backlog(self.run) as backlog:
            backlog.arrays = self._of_others(backlog)
            planned = list(arrays(new, self.profile, max_array_size(self.profile.clusters))) if new else []
            done = submit([*planned, *backlog.arrays], self.run)
            if done.full and not done.arrays and not there:
                raise done.full
            backlog.arrays, backlog.most = tuple(done.left), there + done.jobs
            left = [trial for trial in new if trial.id in backlog.trials]
        for trial in left:
            reset_failed(trial, self.run)
        self.attached, self.submitted, self.left = len(held), len(new) - len(left), len(left)
        self.full = done.full.reason if done.full else ""

    def _held(self) -> tuple[set[str], int]:
        """The ids of the trials that a job in the queue will measure, and the number of the run's jobs there.

        Jobs that have left it may no longer write.
        """
        found = open_jobs(self.run)
        refuse_others(found)
        try:
            queue = queued(job.array for job in found)
        except Unavailable as error:
            raise RequestError(
                f"what is in SLURM's queue for {self.run.folder} cannot be known now, so nothing was submitted: {error}"
            ) from None
        held: set[str] = set()
        for job in found:
            if job.key in queue:
                held.update(job.unfinished(self.inventory))
                self.kept |= dict.fromkeys(_differences(job.array.profile, self.profile))
        _end_gone([job for job in found if job.key not in queue])
        return held, len(queue)

    def _of_others(self, backlog: Backlog) -> tuple[Array, ...]:
        """What an earlier command left to wait for room, without the trials of this one, which it submits anew."""
        mine, found = {trial.id for trial in self.trials}, []
        for array in backlog.arrays:
            rest = [tuple(each for each in job if each not in mine) for job in array.jobs]
            if any(rest):
                found.append(array.model_copy(update={"jobs": tuple(job for job in rest if job)}))
        return tuple(found)

    def outcomes(self, say: Callable[[str], None]) -> Generator[Outcome]:
        """Each trial as it ends, until none is waited for.  Closing the generator stops nothing: the jobs go on."""
        waiting = {trial.id: trial for trial in self.trials}
        watch = RecordWatch(self.inventory)
        asked_at, tried_at, last_problem = 0.0, time.monotonic(), ""
        for _ in polls(POLL_SECONDS):
            for outcome in watch.ended(waiting.values()):
                del waiting[outcome.trial.id]
                yield outcome
            if waiting and time.monotonic() - asked_at > QUEUE_SECONDS:
                asked_at, problem = time.monotonic(), ""
                try:
                    self._drop_gone(waiting)
                    if time.monotonic() - tried_at > ROOM_SECONDS:
                        tried_at = time.monotonic()
                        if more := top_up(self.run):
                            say(f"{plural(more, 'more job')} submitted: there was room in SLURM's queue")
                except Unavailable as error:
                    problem = f"SLURM cannot be asked now: {error}; the jobs go on, and so does this"
                except RequestError as error:
                    problem = f"{error}; it is tried again"
                if problem and problem != last_problem:
                    say(problem)
                last_problem = problem
            if not waiting:
                return

    def _drop_gone(self, waiting: dict[str, Trial]) -> None:
        """Stop waiting for the trials of jobs that are gone from the queue, and for those of no job.

        Raises Unavailable.
        """
        found = [job for job in jobs(self.run) if set(job.trials) & set(waiting)]
        queue = queued(job.array for job in found if not job.state().ended)
        holders = {trial_id: job.name for job in found for trial_id in job.trials}  # the last one's
        gone: dict[str, list[str]] = {}
        for job in found:
            missing = self._is_missing(job.name, job.key in queue)
            if job.key in queue or not (missing or job.state().ended):
                continue
            mine = [each for each in job.trials if each in waiting and holders[each] == job.name]
            if left := [each for each in mine if not final_record(self.inventory, waiting[each])]:
                gone[job.name] = left
        over = [job for job in found if job.name in gone]
        _end_gone([job for job in over if not job.state().ended])
        lines = [
            f"{len(gone[job.name])} of its trials are pending again: job {job.slurm_id} ({job.state().ended})"
            for job in over
        ]
        self.gone += lines[:MOST_SHOWN]
        if more := len(lines) - MOST_SHOWN:
            self.gone += [f"and {plural(more, 'more job')}"] * (more > 0)
        known = holders.keys() | waiting_for_room(self.run)
        if lost := [each for each in waiting if self._is_missing(each, each in known)]:
            self.gone.append(
                f"{plural(len(lost), 'trial')} of no job any more, pending again: {self.run.jobs} does not hold the "
                f"files of their jobs"
            )
        for trial_id in (*(each for left in gone.values() for each in left), *lost):
            del waiting[trial_id]
            self.run.clear_progress(trial_id)

    def _is_missing(self, name: str, there: bool) -> bool:
        """True once something has not been there for long enough."""
        if there:
            self._missing_since.pop(name, None)
            return False
        return time.monotonic() - self._missing_since.setdefault(name, time.monotonic()) >= GONE_SECONDS


def _end_gone(gone: list[SlurmJob]) -> None:
    """Jobs that have left the queue may no longer write."""
    states = last_states(gone)
    for job in gone:
        seize(job.folder.lock)
        job.end(f"gone from the queue {states.get(job.key, '')}".strip())


def _differences(kept: Profile, new: Profile) -> list[str]:
    """What a job in the queue keeps of the profile that it was submitted with, where the profile now says otherwise."""
    old, now = kept.model_dump(mode="json"), new.model_dump(mode="json")
    changed = [key for key in now if old[key] != now[key] and key not in IN_OTHER_TRIALS]
    return [f"{key} {shown(old[key])}, not {shown(now[key])}" for key in changed]
