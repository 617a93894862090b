"""How far a run is, in a terminal.  Imports neither torch nor pandas."""

import json
import math
from statistics import mean, stdev
from typing import Any

import click
from rich.console import Console
from rich.text import Text

from mixbench.cli.terminal import console, print_table
from mixbench.launch.job import job_folders
from mixbench.results.collect import collect
from mixbench.results.flag_counts import by_kind
from mixbench.results.metrics import IN_ALL, QUALITY, Metric
from mixbench.results.rows import columns
from mixbench.results.rows import rows as rows_of
from mixbench.run.claim import holder
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.run.progress import describe
from mixbench.run.record import Record
from mixbench.system.words import plural

WIDE = 110


def print_status(run: Run, as_json: bool) -> None:
    inventory, queue = Inventory(run), None
    collected = collect(inventory)
    if any(folder.array_file.exists() for folder in job_folders(run)):
        from mixbench.launch.slurm.queue_state import in_queue

        collected, queue = in_queue(inventory, collected)
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
        who = holder(run.lock)
        facts |= {"run_by": who and {"host": who.host, "pid": who.pid, "since": who.since, "lives": who.lives()}}
        facts |= queue.facts() if queue else {}
        click.echo(json.dumps(facts, indent=1))
        return
    print_summary(collected.records, console())
    for record in collected.records:
        if record.status == "running" and (progress := run.progress(record.trial_id)):
            click.echo(f"now: {describe(record.details.trial, progress)}")
        if record.status == "failed":
            click.echo(f"failed: {record.trial_id}: {record.error}")
    if who := holder(run.lock):
        end = {
            True: "",
            False: " (it died: the same command takes over)",
            None: " (from here, whether it lives cannot be told)",
        }
        click.echo(f"run by {who}{end[who.lives()]}")
    for line in queue.lines() if queue else []:
        click.echo(line)
    for damage in collected.damaged:
        click.echo(f"damaged: {damage}")
    if collected.set_aside:
        click.echo(f"set aside: {collected.set_aside} damaged, kept as *.damaged-1 … beside where they lay")
    counts = [f"{count} {status}" for status, count in collected.counts.items() if count]
    if left_out := sum(not record.planned for record in collected.records):
        counts.append(f"{left_out} of them no longer in the plan")
    click.echo(", ".join(counts) or "no trials")


def print_summary(records: list[Record], to: Console) -> None:
    """A line for trials that differ in their seed alone: how many are done, accuracy, counts, and speed if it fits.

    A row with a flag is marked *, and below stands what the flags are.
    """
    planned = [record for record in records if record.planned]
    found, rows = rows_of(planned), []
    for alike, settings in zip(found, columns(found), strict=True):
        done = [record for record in alike if record.status == "done"]
        mark = " *" if any(record.flags for record in alike) else ""
        row: dict[str, Any] = {"model": f"{alike[0].label}{mark}", "dataset": alike[0].dataset} | settings
        row |= {"done": f"{len(done)}/{len(alike)}", f"{QUALITY.brief} ± sd": _quality(done)}
        row |= {metric.brief: metric.summed_up(alike) for metric in IN_ALL if metric.over_seeds == "first"}
        if to.width >= WIDE:
            row |= {metric.brief: _speed(done, metric) for metric in IN_ALL if metric.of_device}
        rows.append(row)
    if rows:
        print_table(rows, to)
    if flagged := sum(bool(record.flags) for record in planned):
        kinds = ", ".join(f"{each.kind} ({each.trials})" for each in by_kind(planned))
        to.print(Text(f"* {flagged} of {plural(len(planned), 'trial')} flagged: {kinds}"))


def _quality(records: list[Record]) -> str:
    known = [value for record in records if (value := QUALITY.of(record)) is not None]
    values = [value for value in known if math.isfinite(value)] or known[:1]
    if len(values) > 1:
        return f"{mean(values):.{QUALITY.decimals}f} ± {stdev(values):.{QUALITY.decimals}f}"
    return f"{values[0]:.{QUALITY.decimals}f} (1 seed)" if values else ""


def _speed(records: list[Record], metric: Metric) -> int | None:
    value = metric.summed_up(records)
    return None if value is None else round(value)
