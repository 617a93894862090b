"""Messages of `mixbench run`: the trials to run, the jobs submitted, failures, how to resume."""

import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console

from mixbench.cli.terminal import console
from mixbench.launch.slurm.attach import Launch
from mixbench.run.claim import holder
from mixbench.run.folder import Run
from mixbench.suite.trial import Trial
from mixbench.system.words import plural


def say_set_aside(paths: Iterable[Path], out: Console) -> None:
    for path in paths:
        out.print(f"damaged, set aside and not used: {path}", style="red", soft_wrap=True)


def say_plan(run: Run, chosen: Sequence[Trial], todo: Sequence[Trial], out: Console) -> None:
    """Print the number of trials to run, of those done already, and of those that resume from a checkpoint."""
    done, resumed = len(chosen) - len(todo), sum(run.has_checkpoint(trial) for trial in todo)
    facts = [f"{done} {'is' if done == 1 else 'are'} done already"] * bool(done)
    facts += [f"{resumed} {'goes' if resumed == 1 else 'go'} on from a checkpoint"] * bool(resumed)
    already = f" ({', '.join(facts)})" if facts else ""
    out.print(f"{chosen[0].suite}: {plural(len(todo), 'trial')} to run{already}, in {run.folder}", soft_wrap=True)


def say_starts_over(old: Trial, new: Trial, out: Console) -> None:
    """Print why trial `new` does not resume from the checkpoint of `old`: the number of processes differs."""
    before, now = plural(old.world_size, "process"), plural(new.world_size, "process")
    out.print(
        f"{new.label}, seed {new.seed}, starts from scratch: its checkpoint was trained by {before}; "
        f"with {now} the results differ, so it is another trial",
        soft_wrap=True,
    )


def say_other_code(changed: Iterable[Trial], out: Console) -> None:
    """Print which trials are run anew because their model's source has changed, and that their results are kept."""
    for model, count in Counter(trial.model for trial in changed).items():
        out.print(
            f"{model}: its source has changed since {plural(count, 'trial')} of this run; run anew, the earlier "
            "results are kept beside the new ones as *.other-code-1 …",
            soft_wrap=True,
        )


def say_other_images(dataset: str, before: list[Trial], out: Console) -> None:
    """Print why trials of a dataset are run anew: its images are not those of the trials `before`."""
    changed = any(":" in trial.data.contents for trial in before)  # older versions hashed the names alone
    why = "have changed" if changed else "were known by their names alone, and are now by their contents,"
    out.print(
        f"{dataset}: its images {why} since {plural(len(before), 'trial')} of this run; they are run anew, and the "
        "earlier ones kept as not in the plan",
        soft_wrap=True,
    )


def say_submitted(launch: Launch, detach: bool, out: Console) -> None:
    facts = [f"{plural(launch.submitted, 'trial')} submitted"] * bool(launch.submitted)
    facts += [f"{plural(launch.attached, 'trial')} in the queue already"] * bool(launch.attached)
    full = f"SLURM's queue has no room for {plural(launch.left, 'trial')} now ({launch.full})"
    facts += [full] * bool(launch.left)
    said = ", ".join(facts)
    out.print(said if detach else f"{said}; to leave, press Ctrl-C: the jobs go on", soft_wrap=True)
    if launch.left:
        who = "jobs submit them as they end" if launch.jobs_can_submit else "this process submits them as jobs end"
        again = "the same command submits them once there is room"
        out.print(f"those: {again if detach and not launch.jobs_can_submit else who}", soft_wrap=True)
    if launch.kept:
        out.print(
            f"jobs in the queue keep the profile that they were submitted with: {'; '.join(launch.kept)}.  To submit "
            f"them with the new one: mixbench cancel {shlex.quote(str(launch.run.folder))}, and this command again",
            soft_wrap=True,
        )
    if detach:
        out.print(f"how far it is: mixbench status {shlex.quote(str(launch.run.folder))}", soft_wrap=True)


def say_end(
    run: Run, pages: Iterable[Path], failed: Sequence[str], problems: Iterable[str], gone: Sequence[str], out: Console
) -> None:
    """Print what follows the summary: the paths of the report, the failed trials (their ids), other problems.

    `gone`: those of the problems that are of jobs which SLURM has no more; the others are of a folder.
    """
    for page in pages:
        out.print(f"\nreport: {page}", soft_wrap=True)
    if failed:
        said = f"{plural(len(failed), 'trial')} failed; the same command tries again"
        printed = f"mixbench logs {shlex.quote(str(run.folder))} {failed[0]}"
        out.print(
            f"{said}; what {'it' if len(failed) == 1 else 'the first'} printed: {printed}", style="red", soft_wrap=True
        )
    if problems:
        stderr = console(stderr=True)
        for problem in problems:
            stderr.print(f"mixbench: {problem}", style="red", soft_wrap=True)
        once = "once the folder can be written, " if set(problems) - set(gone) else ""
        stderr.print(f"mixbench: what was measured before is kept; {once}the same command goes on", soft_wrap=True)


def how_to_resume(run: Run, trials: int, left: int, in_slurm: bool) -> str:
    """Return the message after Ctrl-C: what is kept, and the commands that resume, watch or end the run."""
    folder = shlex.quote(str(run.folder))
    done = f"{trials - left} of {plural(trials, 'trial')} done"
    if in_slurm:
        return (
            f"\nleft: {done}; the jobs go on, the last one writes the report.\n"
            f"The same command watches them again.  How far they are:\n  mixbench status {folder}\n"
            f"To end them:\n  mixbench cancel {folder}"
        )
    next_ = f"The same command goes on with the other {left}.  To see what" if left else "To see what"
    return (
        f"\nstopped: {done}; what was measured is kept in {run.folder}.\n"
        f"{next_} there is so far:\n  mixbench report {folder}"
    )


def taken_over(run: Run) -> str:
    """Return the message after another process took over the run from this one."""
    new_holder = holder(run.lock)
    return (
        f"\nstopped: {run.folder} is no longer this process's: "
        + (f"it gave no sign of life for a while, and {new_holder} took over" if new_holder else "its claim is gone")
        + "; nothing more was written."
    )
