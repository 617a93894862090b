"""A run's trials in SLURM: keep the jobs that are in the queue, submit the other trials, wait for the records."""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass, field

from mixbench.errors import RequestError, Unavailable
from mixbench.launch.outcome import Outcome, RecordWatch, final_record
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import jobs, open_jobs, refuse_others
from mixbench.launch.slurm.queue import last_state, queued
from mixbench.launch.slurm.submit import submit
from mixbench.run.claim import seize
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.suite.trial import Trial
from mixbench.system.polling import polls

POLL_SECONDS, QUEUE_SECONDS = 1.0, 10.0
GONE_SECONDS = 90.0
"""A job must have been out of the queue for so long before it counts as gone: NFS may show its last record so late."""


@dataclass
class Launch:
    """The trials that a run waits for: `attached` of them in jobs that were in the queue already, `submitted` now.

    `gone` describes jobs that left the queue before all their trials had ended.
    """

    run: Run
    inventory: Inventory
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
        """The ids of the trials that a job in the queue will measure.  Jobs that have left it may no longer write."""
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
                held.update(job.unfinished(self.inventory))
            else:
                seize(job.folder.lock)
                job.end(f"gone from the queue {last_state(job.slurm_id)}".strip())
        return held

    def outcomes(self, say: Callable[[str], None]) -> Generator[Outcome]:
        """Each trial as it ends, until none is waited for.  Closing the generator stops nothing: the jobs go on."""
        waiting = {trial.id: trial for trial in self.trials}
        watch = RecordWatch(self.inventory)
        missing_since: dict[str, float] = {}
        asked_at, silent = 0.0, False
        for _ in polls(POLL_SECONDS):
            for outcome in watch.ended(waiting.values()):
                del waiting[outcome.trial.id]
                yield outcome
            if waiting and time.monotonic() - asked_at > QUEUE_SECONDS:
                asked_at = time.monotonic()
                try:
                    self._drop_gone(waiting, missing_since)
                    silent = False
                except Unavailable as error:
                    if not silent:
                        say(f"SLURM cannot be asked now: {error}; the jobs go on, and so does this")
                    silent = True
            if not waiting:
                return

    def _drop_gone(self, waiting: dict[str, Trial], missing_since: dict[str, float]) -> None:
        """Stop waiting for the trials of jobs that are gone from the queue.  Raises Unavailable."""
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
            left = [each for each in mine if not final_record(self.inventory, waiting[each])]
            if left:
                ended = job.state().ended
                if not ended:
                    seize(job.folder.lock)
                    job.end(ended := f"gone from the queue {last_state(job.slurm_id)}".strip())
                for trial_id in left:
                    del waiting[trial_id]
                    self.run.clear_progress(trial_id)
                self.gone.append(f"{len(left)} of its trials are pending again: job {job.slurm_id} ({ended})")
