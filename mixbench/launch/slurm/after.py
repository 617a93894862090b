"""Decides if a job runs again: the batch script calls `python -m mixbench.launch.slurm.after STATUS` after its ranks.

The exit code says if it is to run again, a line on stderr why.  A trial that failed for good is recorded here.  The
batch script ends with that exit code, so that SLURM's mail and `afterok` know of a trial that has failed.
"""

import os
import re
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from mixbench.errors import EXIT_FAILED, Unavailable
from mixbench.launch.outcome import record_failure
from mixbench.launch.slurm.jobs import AGAIN, Counts, RankStatus, SlurmJob, rank_statuses
from mixbench.launch.slurm.queue import ask, job_facts, parse_facts, parse_seconds
from mixbench.launch.slurm.rank import job_here, restarts
from mixbench.run.claim import latest
from mixbench.system.files import text_of
from mixbench.system.polling import polls
from mixbench.system.words import plural

NODE_SECONDS = 20
"""The time in which every node of a job must start a process, or it counts as dead."""
SETTLE_SECONDS = 5
NOTICE_SECONDS = 900
"""The time in which SLURM notices that a node is gone: its SlurmdTimeout is 300 s by default."""
LIMIT_SLACK_SECONDS = 90
"""SLURM signals up to a minute earlier than it was told to."""
MEMORY = re.compile(r"oom[-_ ]?kill|out of memory|exceeded (\w+ )?memory limit", re.IGNORECASE)
CANCELLED = re.compile(r"\*\*\* JOB \d+ ON \S+ CANCELLED AT \S+ \*\*\*")
"""As scancel leaves it; a job ended for another reason has DUE TO there.  scontrol may only say COMPLETING by then."""
SRUN_MESSAGE = re.compile(r"^srun: error: (\S+): tasks? ([\d,-]+): (.+)$", re.MULTILINE)
MARK = "mixbench: attempt "
"""The beginning of each attempt's last line in the batch script's log."""

Kind = Literal["done", "stopped", "error", "out of memory", "crashed", "disconnected", "not started"]


@dataclass(frozen=True)
class AttemptEnd:
    """The end of an attempt, with the rank and the error that caused it."""

    kind: Kind
    rank: int = 0
    error: str = ""
    traceback: str = ""


def attempt_end(found: list[RankStatus], world_size: int, said: str) -> AttemptEnd:
    """The end of an attempt, from the ranks' statuses and what SLURM and they printed.  The first cause counts.

    When a rank ends, the others follow: they lose the connection, or SLURM tells them to end.
    """
    if len(found) == world_size and all(status.state == "done" for status in found):
        return AttemptEnd("done")
    raised = [status for status in found if status.state == "failed" and not status.lost]
    if raised:
        first = min(raised, key=lambda status: status.at)
        return AttemptEnd("error", first.rank, first.error, first.traceback)
    silent = [status for status in found if status.state == "runs" and not status.signal]
    if silent and (lines := [line.strip() for line in said.splitlines() if MEMORY.search(line)]):
        return AttemptEnd("out of memory", silent[0].rank, lines[0])
    if silent:
        return AttemptEnd("crashed", silent[0].rank)
    if any(status.signal or status.state == "stopped" for status in found):
        return AttemptEnd("stopped", error=next((status.signal for status in found if status.signal), ""))
    lost = [status for status in found if status.state == "failed"]
    if lost:
        first = min(lost, key=lambda status: status.at)
        return AttemptEnd("disconnected", first.rank, first.error, first.traceback)
    return AttemptEnd("not started")


def main(status: str) -> None:
    job = job_here()
    attempt = restarts()
    facts = parse_facts(os.environ.get("MIXBENCH_JOB", ""))
    again, why = _decide(job, attempt, facts)
    print(f"{MARK}{attempt} ended with exit code {status}: {why}", file=sys.stderr, flush=True)
    if again:
        sys.exit(AGAIN)
    good = _is_good(job)
    if job.state().ended:
        from mixbench.launch.slurm.follow_up import follow_up

        follow_up(job)
    sys.exit(0 if good else EXIT_FAILED)


def _is_good(job: SlurmJob) -> bool:
    """True if the job's trials have ended well; those that another job was given later don't count."""
    records = [job.run.readable(trial_id) for trial_id in job.trials]
    return not job.unfinished() and not any(record and record.status == "failed" for record in records)


def _decide(job: SlurmJob, attempt: int, facts: dict[str, str]) -> tuple[bool, str]:
    """True if the job is to run again, and why or why not."""
    state = facts.get("JobState", "RUNNING")
    if job.state().ended:
        return False, f"the job is no longer wanted: {job.state().ended}"
    if facts.get("Restarts", str(attempt)) != str(attempt):
        return False, "SLURM has started it anew elsewhere"
    if state == "CANCELLED" or CANCELLED.search(of_this_attempt(text_of(job.log("batch")))):
        _end(job, "cancelled")
        return False, "cancelled"
    if state not in (
        "RUNNING",
        "TIMEOUT",
        "COMPLETING",
        "FAILED",
        "COMPLETED",
        "OUT_OF_MEMORY",
        "PREEMPTED",
        "DEADLINE",
    ):
        return False, f"it is {state}, and SLURM's to start again"
    left = job.unfinished()
    if not left:
        _end(job, "done")
        return False, "all its trials have ended"
    found = _settled_statuses(job, attempt)
    end = attempt_end(found, job.world_size, _said(job))
    if (state == "TIMEOUT" and end.kind != "error") or (end.kind == "stopped" and _at_time_limit(job)):
        return _count(
            job, left, "time_limits", f"the time limit of {plural(job.array.profile.time, 'minute')} came", end
        )
    if end.kind == "stopped":
        return True, f"told to end by {end.error or 'its claim'}: to go on later"
    if end.kind in ("crashed", "disconnected") and job.array.nodes > 1 and not _nodes_answer(job):
        noticed, why = _await_notice(job, attempt)
        if noticed:
            return False, why
        return _count(job, left, "failures", why, end)
    if end.kind in ("crashed", "disconnected", "not started"):
        return _count(job, left, "failures", _last_words(job, end), end)
    if end.kind == "done":
        _end(job, "left trials unfinished")
        return False, "its ranks ended well, and left trials unfinished"
    error = f"out of memory on the host: {end.error}" if end.kind == "out of memory" else end.error
    return _fail(job, left, error, end)


def _count(
    job: SlurmJob, left: list[str], what: Literal["time_limits", "failures"], why: str, end: AttemptEnd
) -> tuple[bool, str]:
    """Run again for the trial that was being measured; if that was too often already, the trial has failed."""
    trial_id, state = _current(job, left), job.state()
    counts = state.counts.setdefault(trial_id, Counts())
    times, most = getattr(counts, what) + 1, getattr(job.array.profile.requeue, what)
    if times > most:
        kept = "; its checkpoint is kept, and the same command goes on from there" if what == "time_limits" else ""
        return _fail(job, left, f"{why} ({times} times, the profile allows {most}){kept}", end)
    setattr(counts, what, times)
    job.write_state(state)
    return True, f"{why}; once more for {trial_id} ({times} of {most})"


def _fail(job: SlurmJob, left: list[str], error: str, end: AttemptEnd) -> tuple[bool, str]:
    """Record the trial that was being measured as failed.  The job's other trials go on."""
    trial_id = _current(job, left)
    run = replace(job.run, claim=latest(job.folder.lock))
    trace = end.traceback or _tail(job, end.rank)
    unwritten = record_failure(run, run.trial(trial_id), error, trace).unwritten
    why = f"{trial_id} failed: {error}" + (f"; its record could not be written: {unwritten}" if unwritten else "")
    if len(left) > 1 and not unwritten:
        return True, f"{why}; to go on with the job's other trials"
    _end(job, "done" if not unwritten else "its record could not be written")
    return False, why


def _end(job: SlurmJob, why: str) -> None:
    for trial_id in job.trials:
        job.run.clear_progress(trial_id)
    job.end(why)


def _current(job: SlurmJob, left: list[str]) -> str:
    """The trial that was being measured."""
    current = text_of(job.folder.current_file)
    return current if current in left else left[0]


def _last_words(job: SlurmJob, end: AttemptEnd) -> str:
    if end.kind == "disconnected":
        return f"rank {end.rank} of {job.world_size} lost the others: {end.error}"
    if end.kind == "crashed" and (how := srun_message(end.rank, of_this_attempt(text_of(job.log("batch"))))):
        return f"rank {end.rank} of {job.world_size} died{how}"
    printed = [line for line in _tail(job, end.rank).splitlines() if line.strip()]
    last = printed[-1] if printed else "it left no message, as when it is killed"
    if end.kind == "not started":
        return f"the ranks did not start: {last}"
    return f"rank {end.rank} of {job.world_size} died: {last}"


def srun_message(rank: int, said: str) -> str:
    """srun's message about a rank's end, such as " on n2: Killed"; empty where there is none."""
    for node, tasks, how in SRUN_MESSAGE.findall(said):
        for first, _, last in (each.partition("-") for each in tasks.split(",")):
            if int(first) <= rank <= int(last or first):
                return f" on {node}: {how}"
    return ""


def _tail(job: SlurmJob, rank: int) -> str:
    """The last lines that a rank and SLURM printed in this attempt."""
    return _printed(job, rank)[-4000:] + of_this_attempt(text_of(job.log("batch")))[-2000:]


def _said(job: SlurmJob) -> str:
    """SLURM's messages in this attempt: those in the batch script's log, and in those of the ranks."""
    lines = [line for rank in range(job.world_size) for line in _printed(job, rank).splitlines()]
    of_slurm = [f"{line}\n" for line in lines if line.startswith(("slurmstepd:", "srun:"))]
    return of_this_attempt(text_of(job.log("batch"))) + "".join(of_slurm)


def _printed(job: SlurmJob, rank: int) -> str:
    """The rank's log of this attempt; all of its log if the rank ended before it could write down where that begins."""
    statuses = rank_statuses(job.folder.attempt(restarts()))
    before = next((status.printed for status in statuses if status.rank == rank), 0)
    try:
        return job.log(rank).read_bytes()[before:].decode(errors="replace")
    except OSError:
        return ""


def of_this_attempt(batch: str) -> str:
    """The part of the batch script's log that was written since the attempt before."""
    return batch.rpartition(MARK)[2].partition("\n")[2] if MARK in batch else batch


def _at_time_limit(job: SlurmJob) -> bool:
    left = parse_seconds(os.environ.get("MIXBENCH_TIME_LEFT", ""))
    return left < job.array.profile.signal_seconds + LIMIT_SLACK_SECONDS


def _nodes_answer(job: SlurmJob) -> bool:
    """True if every node of the job still starts processes, or in a container, which has no srun to ask."""
    if shutil.which("srun") is None:
        return True
    try:
        each = (f"--nodes={job.array.nodes}", f"--ntasks={job.array.nodes}", "--ntasks-per-node=1")
        ask("srun", "--overlap", "--kill-on-bad-exit=0", "--mem=0", *each, "true", seconds=NODE_SECONDS)
    except Unavailable:
        return False
    return True


def _await_notice(job: SlurmJob, attempt: int) -> tuple[bool, str]:
    """True if SLURM notices that a node is gone and restarts the job on others, which ends this process."""
    begun = time.monotonic()
    for _ in polls(2, NOTICE_SECONDS):
        with suppress(Unavailable):
            facts = job_facts(os.environ["SLURM_JOB_ID"])
            if facts.get("JobState") != "RUNNING" or facts.get("Restarts") != str(attempt):
                return True, "a node was lost, and SLURM starts the job anew"
        if time.monotonic() - begun > NODE_SECONDS and _nodes_answer(job):
            break
    return False, f"a node did not answer, and SLURM missed none in {time.monotonic() - begun:.0f} s"


def _settled_statuses(job: SlurmJob, attempt: int) -> list[RankStatus]:
    """The ranks' statuses once all have ended, or after a while: a rank that was killed never says that it has.

    On NFS the files that other nodes wrote appear with a delay.
    """
    found: list[RankStatus] = []
    for _ in polls(0.5, SETTLE_SECONDS):
        found = rank_statuses(job.folder.attempt(attempt))
        ended = [status for status in found if status.state != "runs"]
        if len(ended) == job.world_size:
            break
    return found


if __name__ == "__main__":
    main(sys.argv[1])
