"""What becomes of a job when its ranks have ended: `python -m mixbench.launch.slurm.after STATUS`, by the batch script.

Its exit code says whether the job is to run again; it says why on stderr, and writes the record of a trial that failed.
The last job of a run to end makes the report.
"""

import os
import re
import shutil
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Literal

from mixbench.errors import Unavailable
from mixbench.launch.outcome import blame
from mixbench.launch.slurm.jobs import AGAIN, Counts, Note, SlurmJob, notes, open_jobs
from mixbench.launch.slurm.queue import ask, described, facts_in, queued, seconds_in
from mixbench.launch.slurm.rank import job_here, restarts
from mixbench.run.claim import latest
from mixbench.system.files import text_of

NODE_SECONDS = 20
"""In which every node of a job must start a process for it to count as alive."""
SETTLE_SECONDS = 5
NOTICE_SECONDS = 900
"""In which SLURM notices that a node is gone: its SlurmdTimeout is 300 s by default."""
LIMIT_SLACK_SECONDS = 90
"""SLURM signals up to a minute earlier than it was told to."""
MEMORY = re.compile(r"oom[-_ ]?kill|out of memory|exceeded (\w+ )?memory limit", re.IGNORECASE)
CANCELLED = re.compile(r"\*\*\* JOB \d+ ON \S+ CANCELLED AT \S+ \*\*\*")
"""As scancel alone leaves it: else it says DUE TO what.  scontrol may only say COMPLETING by then."""
TOLD = re.compile(r"^srun: error: (\S+): tasks? ([\d,-]+): (.+)$", re.MULTILINE)
MARK = "mixbench: attempt "
"""Begins the last line of each attempt in the batch script's log."""

Kind = Literal["done", "stopped", "raised", "memory", "vanished", "lost", "unborn"]


@dataclass(frozen=True)
class Verdict:
    """How an attempt ended: by itself; told to; by a rank's error; by what the host's memory, a kill or the net did."""

    kind: Kind
    rank: int = 0
    error: str = ""
    traceback: str = ""


def judge(found: list[Note], world_size: int, said: str) -> Verdict:
    """From what the ranks left, and what SLURM and they printed.  The first cause counts, not what follows from it.

    A rank that ends takes the others with it: they lose the connection, or SLURM tells them to end.
    """
    if len(found) == world_size and all(note.state == "done" for note in found):
        return Verdict("done")
    raised = [note for note in found if note.state == "failed" and not note.lost]
    if raised:
        first = min(raised, key=lambda note: note.at)
        return Verdict("raised", first.rank, first.error, first.traceback)
    silent = [note for note in found if note.state == "runs" and not note.signal]
    if silent and (lines := [line.strip() for line in said.splitlines() if MEMORY.search(line)]):
        return Verdict("memory", silent[0].rank, lines[0])
    if silent:
        return Verdict("vanished", silent[0].rank)
    if any(note.signal or note.state == "stopped" for note in found):
        return Verdict("stopped", error=next((note.signal for note in found if note.signal), ""))
    lost = [note for note in found if note.state == "failed"]
    if lost:
        first = min(lost, key=lambda note: note.at)
        return Verdict("lost", first.rank, first.error, first.traceback)
    return Verdict("unborn")


def main(status: str) -> None:
    job = job_here()
    attempt = restarts()
    facts = facts_in(os.environ.get("MIXBENCH_JOB", ""))
    again, why = _decide(job, attempt, facts)
    print(f"{MARK}{attempt} ended with exit code {status}: {why}", file=sys.stderr, flush=True)
    if again:
        sys.exit(AGAIN)
    if job.state().ended:
        _report_if_last(job)


def _decide(job: SlurmJob, attempt: int, facts: dict[str, str]) -> tuple[bool, str]:
    """Whether the job is to run again, and why or why not."""
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
    found = _settled_notes(job, attempt)
    verdict = judge(found, job.world_size, _said(job))
    if state == "TIMEOUT" and verdict.kind != "raised":
        return _count(job, left, "time_limits", f"the time limit of {job.array.profile.time} minutes came, ", verdict)
    if verdict.kind == "stopped":
        if _at_time_limit(job):
            return _count(
                job, left, "time_limits", f"the time limit of {job.array.profile.time} minutes came, ", verdict
            )
        return True, f"told to end by {verdict.error or 'its claim'}: to go on later"
    if verdict.kind in ("vanished", "lost") and job.array.nodes > 1 and not _nodes_answer(job):
        noticed, why = _await_notice(job, attempt)
        if noticed:
            return False, why
        return _count(job, left, "failures", why, verdict)
    if verdict.kind in ("vanished", "lost", "unborn"):
        return _count(job, left, "failures", _last_words(job, verdict), verdict)
    if verdict.kind == "done":
        _end(job, "left trials unfinished")
        return False, "its ranks ended well, and left trials unfinished"
    error = f"out of memory on the host: {verdict.error}" if verdict.kind == "memory" else verdict.error
    return _fail(job, left, error, verdict)


def _count(
    job: SlurmJob, left: list[str], what: Literal["time_limits", "failures"], why: str, verdict: Verdict
) -> tuple[bool, str]:
    """Once more for the trial that was at work; where that is once too often, it has failed."""
    trial_id, state = _current(job, left), job.state()
    counts = state.counts.setdefault(trial_id, Counts())
    times, most = getattr(counts, what) + 1, getattr(job.array.profile.requeue, what)
    if times > most:
        kept = "; its checkpoint is kept, and the same command goes on from there" if what == "time_limits" else ""
        return _fail(job, left, f"{why.rstrip(', ')} ({times} times, the profile allows {most}){kept}", verdict)
    setattr(counts, what, times)
    job.write_state(state)
    return True, f"{why.rstrip(', ')}; once more for {trial_id} ({times} of {most})"


def _fail(job: SlurmJob, left: list[str], error: str, verdict: Verdict) -> tuple[bool, str]:
    """Record the trial that was at work as failed.  The job's other trials go on."""
    trial_id = _current(job, left)
    run = replace(job.run, claim=latest(job.lock))
    trace = verdict.traceback or _tail(job, verdict.rank)
    unwritten = blame(run, run.trial(trial_id), error, trace).unwritten
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
    current = text_of(job.current_file)
    return current if current in left else left[0]


def _last_words(job: SlurmJob, verdict: Verdict) -> str:
    if verdict.kind == "lost":
        return f"rank {verdict.rank} of {job.world_size} lost the others: {verdict.error}"
    if verdict.kind == "vanished" and (how := told_of(verdict.rank, of_this_attempt(text_of(job.log("batch"))))):
        return f"rank {verdict.rank} of {job.world_size} died{how}"
    printed = [line for line in _tail(job, verdict.rank).splitlines() if line.strip()]
    last = printed[-1] if printed else "it left no message, as when it is killed"
    if verdict.kind == "unborn":
        return f"the ranks did not start: {last}"
    return f"rank {verdict.rank} of {job.world_size} died: {last}"


def told_of(rank: int, said: str) -> str:
    """What srun says of a rank's end, such as " on n2: Killed"; empty where it says nothing."""
    for node, tasks, how in TOLD.findall(said):
        for first, _, last in (each.partition("-") for each in tasks.split(",")):
            if int(first) <= rank <= int(last or first):
                return f" on {node}: {how}"
    return ""


def _tail(job: SlurmJob, rank: int) -> str:
    """What a rank printed last in this attempt, and what SLURM said."""
    return _printed(job, rank)[-4000:] + of_this_attempt(text_of(job.log("batch")))[-2000:]


def _said(job: SlurmJob) -> str:
    """What SLURM said in this attempt: in the batch script's log, and in those of the ranks."""
    lines = [line for rank in range(job.world_size) for line in _printed(job, rank).splitlines()]
    of_slurm = [f"{line}\n" for line in lines if line.startswith(("slurmstepd:", "srun:"))]
    return of_this_attempt(text_of(job.log("batch"))) + "".join(of_slurm)


def _printed(job: SlurmJob, rank: int) -> str:
    """What a rank printed in this attempt; all of its log where it did not come to note what was there before."""
    before = next((note.printed for note in notes(job.attempt(restarts())) if note.rank == rank), 0)
    try:
        return job.log(rank).read_bytes()[before:].decode(errors="replace")
    except OSError:
        return ""


def of_this_attempt(batch: str) -> str:
    """What of the batch script's log was written since the attempt before."""
    return batch.rpartition(MARK)[2].partition("\n")[2] if MARK in batch else batch


def _at_time_limit(job: SlurmJob) -> bool:
    left = seconds_in(os.environ.get("MIXBENCH_TIME_LEFT", ""))
    return left < job.array.profile.signal_seconds + LIMIT_SLACK_SECONDS


def _nodes_answer(job: SlurmJob) -> bool:
    """Whether every node of the job still starts processes; taken to be so in a container, which has no srun."""
    if shutil.which("srun") is None:
        return True
    try:
        each = (f"--nodes={job.array.nodes}", f"--ntasks={job.array.nodes}", "--ntasks-per-node=1")
        ask("srun", "--overlap", "--kill-on-bad-exit=0", "--mem=0", *each, "true", seconds=NODE_SECONDS)
    except Unavailable:
        return False
    return True


def _await_notice(job: SlurmJob, attempt: int) -> tuple[bool, str]:
    """Whether SLURM notices that a node is gone, and starts the job anew on others, which ends this process."""
    begun = time.monotonic()
    while time.monotonic() - begun < NOTICE_SECONDS:
        with suppress(Unavailable):
            facts = described(os.environ["SLURM_JOB_ID"])
            if facts.get("JobState") != "RUNNING" or facts.get("Restarts") != str(attempt):
                return True, "a node was lost, and SLURM starts the job anew"
        if time.monotonic() - begun > NODE_SECONDS and _nodes_answer(job):
            break
        time.sleep(2)
    return False, f"a node did not answer, and SLURM missed none in {time.monotonic() - begun:.0f} s"


def _settled_notes(job: SlurmJob, attempt: int) -> list[Note]:
    """What the ranks left, once all have said how they ended; or after a while, as those that were killed never do.

    On NFS what other nodes wrote shows with a delay.
    """
    deadline = time.monotonic() + SETTLE_SECONDS
    while True:
        found = notes(job.attempt(attempt))
        ended = [note for note in found if note.state != "runs"]
        if len(ended) == job.world_size or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def _report_if_last(job: SlurmJob) -> None:
    """Make the report where no job of the run is left, or none but such as have left the queue without a word."""
    others = open_jobs(job.run)
    with suppress(Unavailable):
        queue = queued(other.array.name for other in others)
        others = [other for other in others if other.key in queue]
    if not others:
        from mixbench.report.write import write

        write(job.run)


if __name__ == "__main__":
    main(sys.argv[1])
