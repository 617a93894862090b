"""A run's trials in SLURM: go on with the jobs that are there, submit the rest, watch the records come."""

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, field

from mixbench.errors import RequestError, Unavailable
from mixbench.launch.outcome import Outcome
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import jobs, open_jobs, refuse_others
from mixbench.launch.slurm.queue import last_state, queued
from mixbench.launch.slurm.submit import submit
from mixbench.run.claim import seize
from mixbench.run.folder import Run
from mixbench.suite.trial import Trial
from mixbench.system.files import written

POLL_SECONDS, QUEUE_SECONDS = 1.0, 10.0
GONE_SECONDS = 90.0
"""A job must have been out of the queue for so long before it counts as gone: NFS may show its last record so late."""


@dataclass
class Launch:
    """The trials that a run waits for: those of jobs that were there already, and those that are submitted now.

    `gone` tells of jobs that left the queue before all their trials had ended.
    """

    run: Run
    trials: list[Trial]
    profile: Profile
    attached: int = 0
    submitted: int = 0
    gone: list[str] = field(default_factory=list)

    def begin(self) -> None:
        """Raises RequestError where SLURM cannot be asked, or refuses the jobs."""
        held = self._held()
        self.attached = len(held)
        new = [trial for trial in self.trials if trial.id not in held]
        if new:
            submit(new, self.profile, self.run)
        self.submitted = len(new)

    def _held(self) -> set[str]:
        """The trials that a job in the queue will come to.  Jobs that have left it may no longer write."""
        found = open_jobs(self.run)
        refuse_others(found)
        try:
            queue = queued(job.array.name for job in found)
        except Unavailable as error:
            raise RequestError(
                f"what is in SLURM's queue for {self.run.folder} cannot be known now, so nothing was submitted: {error}"
            ) from None
        held: set[str] = set()
        for job in found:
            if job.key in queue:
                held.update(job.unfinished())
            else:
                seize(job.lock)
                job.end(f"gone from the queue {last_state(job.slurm_id)}".strip())
        return held

    def outcomes(self, say: Callable[[str], None]) -> Generator[Outcome]:
        """Each trial as it ends, until none is waited for.  Closing the generator stops nothing: the jobs go on."""
        waiting = {trial.id: trial for trial in self.trials}
        looked_at: dict[str, int] = {}
        missing_since: dict[str, float] = {}
        asked_at, silent = 0.0, False
        while waiting:
            yield from self._ended(waiting, looked_at)
            if waiting and time.monotonic() - asked_at > QUEUE_SECONDS:
                asked_at = time.monotonic()
                try:
                    self._drop_gone(waiting, missing_since)
                    silent = False
                except Unavailable as error:
                    if not silent:
                        say(f"SLURM cannot be asked now: {error}; the jobs go on, and so does this")
                    silent = True
            time.sleep(POLL_SECONDS)

    def _ended(self, waiting: dict[str, Trial], looked_at: dict[str, int]) -> Iterator[Outcome]:
        for trial in list(waiting.values()):
            at = written(self.run.record_file(trial.id))
            if at == looked_at.get(trial.id, 0):
                continue
            looked_at[trial.id] = at
            record = self.run.readable(trial.id)
            if record is not None and (record.status == "failed" or self.run.is_done(trial)):
                del waiting[trial.id]
                yield Outcome(trial, record)

    def _drop_gone(self, waiting: dict[str, Trial], missing_since: dict[str, float]) -> None:
        """Wait no more for the trials of jobs that are gone from the queue.  Raises Unavailable."""
        found = [job for job in jobs(self.run) if set(job.trials) & set(waiting)]
        open_ = [job for job in found if not job.state().ended]
        queue, now = queued(job.array.name for job in open_), time.monotonic()
        holders = {trial_id: job.name for job in found for trial_id in job.trials}  # the last one's
        for job in found:
            if job.key in queue:
                missing_since.pop(job.name, None)
                continue
            if not job.state().ended and now - missing_since.setdefault(job.name, now) < GONE_SECONDS:
                continue
            mine = [each for each in job.trials if each in waiting and holders[each] == job.name]
            left = [each for each in mine if not job.is_over(each)]
            if left:
                ended = job.state().ended
                if not ended:
                    seize(job.lock)
                    job.end(ended := f"gone from the queue {last_state(job.slurm_id)}".strip())
                for trial_id in left:
                    del waiting[trial_id]
                    self.run.clear_progress(trial_id)
                self.gone.append(f"{len(left)} of its trials are pending again: job {job.slurm_id} ({ended})")
