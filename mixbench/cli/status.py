"""`mixbench status`: print the progress of a run.  Imports neither torch nor pandas."""

import json
from dataclasses import replace
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from mixbench.cli.terminal import NO_BREAK, console, print_fitting
from mixbench.launch.job import backlog_file, job_folders, last_folders
from mixbench.results.collect import Collected, collect
from mixbench.results.flag_counts import by_kind
from mixbench.results.metrics import IN_ALL, INFERENCE, MACS, PARAMS, QUALITY, TRAINING, Metric
from mixbench.results.rows import columns, rows_of, settings_by_trial
from mixbench.results.statistics import interval
from mixbench.run.claim import holder
from mixbench.run.flags import has_unsure_speed
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.run.progress import describe
from mixbench.run.record import Record
from mixbench.system.words import plural


def print_status(run: Run, as_json: bool) -> None:
    inventory, queue = Inventory(run), None
    collected = collect(inventory)
    if any(folder.array_file.exists() for folder in job_folders(run)) or backlog_file(run).exists():
        from mixbench.launch.slurm.queue_state import in_queue

        collected, queue = in_queue(inventory, collected)
    collected = _without_lost(run, collected)
    if as_json:
        trials = [
            {
                "trial_id": record.trial_id,
                "status": record.status,
                QUALITY.column: QUALITY.of(record),
                "error": record.error,
            }
            for record in collected.records
        ]
        facts: dict[str, Any] = {
            "run": str(run.folder),
            "counts": collected.counts,
            "trials": trials,
            "damaged": collected.damaged,
        }
        facts |= {"set_aside": collected.set_aside}
        by = holder(run.lock)
        facts |= {"run_by": by and {"host": by.host, "pid": by.pid, "since": by.since, "lives": by.lives()}}
        facts |= queue.facts() if queue else {}
        click.echo(json.dumps(facts, indent=1))
        return
    print_summary(collected.records, console(), run)
    settings = settings_by_trial(collected.records)
    for record in collected.records:
        if record.status == "running" and (progress := run.progress(record.trial_id)):
            click.echo(f"now: {describe(record.details.trial, progress, settings.get(record.trial_id, ''))}")
        if record.status == "failed":
            click.echo(f"failed: {record.trial_id}: {record.error}")
    if by := holder(run.lock):
        alive = {
            True: "",
            False: " (it died: the same command takes over)",
            None: " (whether it is still alive is not known from here)",
        }
        click.echo(f"run by {by}{alive[by.lives()]}")
    for line in queue.lines() if queue else []:
        click.echo(line)
    for damage in collected.damaged:
        click.echo(f"damaged: {damage}")
    if collected.set_aside:
        click.echo(f"set aside: {collected.set_aside} damaged, kept in the same folders as *.damaged-1 …")
    counts = [f"{count} {status}" for status, count in collected.counts.items() if count]
    if left_out := sum(not record.planned for record in collected.records):
        counts.append(f"{left_out} of them no longer in the plan")
    click.echo(", ".join(counts) or "no trials")


def _without_lost(run: Run, collected: Collected) -> Collected:
    """The records, where a trial that is in no job does not run: its progress is of a job whose folder is gone."""
    known = last_folders(run)
    records = [
        record.model_copy(update={"status": "pending"})
        if record.status == "running" and record.trial_id not in known
        else record
        for record in collected.records
    ]
    return replace(collected, records=records)


def print_summary(records: list[Record], to: Console, run: Run | None = None) -> None:
    """Print a row per group of trials that differ only in their seed: number done, accuracy, counts, speeds.

    The counts, known before a run, are the first that a narrow terminal leaves out.  A row with a flag
    is marked *; a line below the table counts the kinds of flags.  `run`: where their predictions are, which ± counts.
    """
    planned = [record for record in records if record.planned]
    found, rows = rows_of(planned), []
    for group, settings in zip(found, columns(found), strict=True):
        done = [record for record in group if record.status == "done"]
        mark = " *" if any(record.flags for record in group) else ""
        row: dict[str, Any] = {"model": f"{group[0].label}{mark}", "dataset": group[0].dataset} | settings
        row |= {"done": f"{len(done)}/{len(group)}", f"{QUALITY.brief} ±{NO_BREAK}95{NO_BREAK}%": _quality(done, run)}
        row |= {metric.brief: metric.summed_up(group) for metric in IN_ALL if metric.over_seeds == "first"}
        row |= {metric.brief: _speed(done, metric) for metric in IN_ALL if metric.of_device}
        rows.append(row)
    measured = {key for row in rows for key, value in row.items() if value is not None}
    rows = [{key: value for key, value in row.items() if key in measured} for row in rows]
    if rows:
        print_fitting(rows, to, (MACS.brief, PARAMS.brief), (TRAINING.brief, INFERENCE.brief), one_line=True)
    if flagged := sum(bool(record.flags) for record in planned):
        kinds = ", ".join(f"{each.kind} ({each.trials})" for each in by_kind(planned))
        to.print(Text(f"* {flagged} of {plural(len(planned), 'trial')} flagged: {kinds}"))


def _quality(records: list[Record], run: Run | None) -> str:
    """The mean accuracy ± half its 95 % interval, which counts the test images too where predictions were kept."""
    known = [value for record in records if (value := QUALITY.of(record)) is not None]
    if not known:
        return ""
    found = interval(known)
    value = known[0] if found.mean is None else found.mean  # NaN if all are
    width = _width_by_images(records, run) if run else None
    return QUALITY.shown(value, found.half_width if width is None else width) + (" (1 seed)" if found.n < 2 else "")


def _width_by_images(records: list[Record], run: Run) -> float | None:
    if not all(record.details.curve and record.details.curve.predictions for record in records):
        return None
    from mixbench.results.comparisons import own_half_width  # numpy, which a run without predictions does without

    return own_half_width(run, records)


def _speed(records: list[Record], metric: Metric) -> int | str | None:
    value = metric.summed_up(records)
    if value is None:
        return None
    unsure = has_unsure_speed(flag for record in records for flag in record.flags)
    return f"≈ {round(value):,}" if unsure else round(value)
