"""How far a run is, in a terminal.  Imports neither torch nor pandas."""

import json
from statistics import mean, stdev

import click
from rich.console import Console
from rich.table import Table

from mixbench.results import Collected, collect
from mixbench.run import Run
from mixbench.watch import describe


def print_status(run: Run, collected: Collected, as_json: bool) -> None:
    counts = collected.counts
    if as_json:
        trials = [
            {"trial_id": record.trial_id, "status": record.status, "top1": record.top1, "error": record.error}
            for record in collected.records
        ]
        click.echo(json.dumps({"run": str(run.folder), "counts": counts, "trials": trials}, indent=1))
        return
    console = Console(highlight=False)
    console.print(summary_table(run, console.width))
    for record in collected.records:
        if record.status == "running" and (progress := run.progress(record.trial_id)):
            console.print(f"now: {describe(record.details.trial, progress)}", markup=False, soft_wrap=True)
        if record.status == "failed":
            console.print(f"failed: {record.trial_id}: {record.error}", markup=False, soft_wrap=True)
    for damage in collected.damaged:
        console.print(f"damaged: {damage}", markup=False, soft_wrap=True)
    console.print(", ".join(f"{count} {status}" for status, count in counts.items() if count) or "no trials")


def summary_table(run: Run, width: int) -> Table:
    """A line per model and dataset: how many trials are done, accuracy over seeds, counts, speed."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("model", overflow="fold")
    table.add_column("dataset")
    for heading in ("done", "top-1 %", "params", "MACs", *(["infer img/s", "train img/s"] if width >= 100 else [])):
        table.add_column(heading, justify="right")
    cells: dict[tuple[str, str, str], list] = {}
    for record in collect(run).records:
        cells.setdefault((record.label, record.dataset, record.recipe), []).append(record)
    for (label, dataset, _), records in cells.items():
        done = [record for record in records if record.status == "done"]
        top1 = [record.top1 for record in done if record.top1 is not None]
        row = [
            label,
            dataset,
            f"{len(done)}/{len(records)}",
            _accuracy(top1),
            _count(records[0].params),
            _count(records[0].macs),
            _speed([record.infer_samples_per_sec for record in done]),
            _speed([record.train_samples_per_sec for record in done]),
        ]
        table.add_row(*row[: len(table.columns)])
    return table


def _accuracy(values: list[float]) -> str:
    if len(values) > 1:
        return f"{mean(values):.2f} ± {stdev(values):.2f}"
    return f"{values[0]:.2f} (1 seed)" if values else ""


def _count(value: int | None) -> str:
    return "" if value is None else f"{value:,}"


def _speed(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    return f"{mean(known):,.0f}" if known else ""
