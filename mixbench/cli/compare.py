"""`mixbench compare`: print two runs side by side, by trial and over seeds, and how they differ.  Imports no torch."""

import json
from dataclasses import asdict
from typing import Any

import click
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mixbench.cli.terminal import console, print_table
from mixbench.report.numbers import DASH, rate, roughly
from mixbench.results.changes import Cell, Change, Pair
from mixbench.results.metrics import COMPARED, SPEEDS, Metric
from mixbench.results.side_by_side import MOST_LINES, SideBySide, side_by_side
from mixbench.results.thresholds import Limit, answers, checked, parse
from mixbench.run.flags import has_unsure_speed
from mixbench.run.folder import Run
from mixbench.system.words import plural

LEAST_VERDICT = 20
"""Characters of a verdict's column below which a cell is printed without a table."""
NOTE = (
    "change: B - A with its 95 % interval. By images: by each image's predictions in both runs; by timed rounds: by "
    "those of both runs, which can't show what differs between the runs as a whole; both simultaneous over these "
    "models. By seeds: a t-test, paired by seed, p Holm-corrected. ≈: a flag casts doubt on it."
)
_STYLES = {"better": "green", "worse": "red", "not distinguishable": "", "": "yellow"}


def print_comparison(a: Run, b: Run, limits: tuple[str, ...], strict: bool, as_json: bool) -> bool:
    """Print runs A and B side by side; return True if B keeps every limit, and if `strict` certainly so.

    Raises RequestError if the runs cannot be compared or a limit is invalid.
    """
    wanted = [parse(text) for text in limits]
    found = side_by_side(a, b)
    answered = answers(found, wanted)
    kept = not answered.crossed and not (strict and answered.inconclusive)
    if as_json:
        click.echo(
            json.dumps(
                {"a": str(a.folder), "b": str(b.folder)}
                | _facts(found)
                | {"crossed": answered.crossed, "checked": {each.text: checked(found, each) for each in wanted}}
                | {"inconclusive": answered.inconclusive},
                indent=1,
            )
        )
        return kept
    to = console()
    _print_overview(found, a, b, to)
    trials = [_trial_row(cell, pair) for cell in found.cells for pair in cell.pairs]
    known = [key for key in trials[0] if any(row[key] for row in trials)]
    print_table([{key: row[key] for key in known} for row in trials], to)
    to.print()
    _print_cells(found, to)
    for name, lines, style in (("crossed", answered.crossed, "red"), ("inconclusive", answered.inconclusive, "yellow")):
        for line in lines:
            _say(f"{name}: {line}", to, style)
    if wanted and not answered.crossed and not answered.inconclusive:
        _say(_within(found, wanted), to, "green")
    return kept


def _say(line: str, to: Console, style: str = "") -> None:
    to.print(Text(line, style=style), soft_wrap=True)


def _within(found: SideBySide, limits: list[Limit]) -> str:
    """Say that all limits are kept, and for how many trials a limit could be checked if not for all."""
    total, pairs = len(found.pairs), plural(len(found.pairs), "trial")
    partly = [f"{n} of {pairs} for {each.text}" for each in limits if (n := checked(found, each)) < total]
    kept = "the limit" if len(limits) == 1 else f"all {len(limits)} limits"
    return f"within {kept}" + (f", as far as it could be checked: {'; '.join(partly)}" if partly else "")


def _print_overview(found: SideBySide, a: Run, b: Run, to: Console) -> None:
    _say(f"A {a.folder}\nB {b.folder}", to)
    _say(f"trials in both: {len(found.pairs)}; only in A: {len(found.only_a)}; only in B: {len(found.only_b)}", to)
    more = len(found.differences) - MOST_LINES
    unlike = [f"not the same: {line}" for line in found.differences[:MOST_LINES]]
    unlike += [f"not the same: {more} more; --json has them all"] if more > 0 else []
    unlike += [
        f"devices: {one} in A, {other} in B: accuracy is compared, throughput and memory are not"
        for one, other in found.devices
    ]
    unlike += [f"measured with: {line}" for line in found.conditions]
    for line in unlike:
        _say(line, to, "yellow")
    for line in found.damaged:
        _say(f"damaged: {line}", to, "red")
    to.print()


def _trial_row(cell: Cell, pair: Pair) -> dict[str, Any]:
    row: dict[str, Any] = {"trial": f"{cell.name}, seed {pair.a.seed}"}
    for metric in COMPARED:
        values = zip(pair.values(metric), (pair.a, pair.b), strict=True)
        one, other = (_shown(metric, each, has_unsure_speed(of.flags)) for each, of in values)
        row[metric.brief] = f"{one or DASH} → {other or DASH}" if one or other else ""
    states = [(run, record.status) for run, record in (("A", pair.a), ("B", pair.b)) if record.status != "done"]
    same = len(states) == 2 and pair.a.status == pair.b.status
    row["state"] = f"{pair.a.status} in both" if same else ", ".join(f"{status} in {run}" for run, status in states)
    return row


def _shown(metric: Metric, value: float | None, unsure: bool, half_width: float | None = None) -> str:
    if value is None:
        return ""
    return roughly(rate(value), unsure) if metric in SPEEDS else metric.shown(value, half_width)


def _print_cells(found: SideBySide, to: Console) -> None:
    """Print each cell's name and below it a line for each metric; in a narrow terminal three."""
    rows = [
        (cell.name, [(each, _change_row(each)) for each in cell.changes if each.a.n])
        for cell in found.cells
        if any(each.a.n for each in cell.changes)
    ]
    if not rows:
        _say("no trial is done in both runs: there is nothing to compare yet", to)
        return
    columns = ("metric", "seeds", "A", "B", "change", "verdict")
    widths = {key: max(len(key), *(len(row[key]) for _, some in rows for _, row in some)) for key in columns}
    fits = sum(widths[key] + 2 for key in columns[:-1]) + LEAST_VERDICT <= to.width
    if fits:
        to.print(_table(widths, heading=True))
    for name, changes in rows:
        to.print(Text(name, style="bold"))
        table = _table(widths)
        for change, row in changes:
            texts = [Text(row[key], style=_STYLES[change.outcome] if key == "verdict" else "") for key in columns]
            if fits:
                table.add_row(*texts)
            else:
                to.print(Text(f"{row['metric']}: {row['A']} → {row['B']}"))
                for text in texts[-2:]:
                    to.print(Padding(text, (0, 0, 0, 4), expand=False))
        if fits:
            to.print(table)
    to.print()
    to.print(Text(NOTE))


def _table(widths: dict[str, int], *, heading: bool = False) -> Table:
    """A table whose columns stand where those of the other cells do; only the verdict is folded."""
    table = Table(box=None, pad_edge=False, show_header=heading, header_style="bold", padding=(0, 2, 0, 0))
    for key, width in widths.items():
        table.add_column(key, min_width=None if key == "verdict" else width, no_wrap=key != "verdict")
    return table


def _change_row(change: Change) -> dict[str, str]:
    metric, own = change.metric, change.own or (change.a.half_width, change.b.half_width)
    return {
        "metric": f"  {metric.brief}",
        "seeds": str(change.a.n),
        "A": _shown(metric, change.a.mean, bool(change.unsure_a), own[0]),
        "B": _shown(metric, change.b.mean, bool(change.unsure_b), own[1]),
        "change": change.text,
        "verdict": _verdict(change),
    }


def _verdict(change: Change) -> str:
    """ "better, by images and seeds", "worse, by timed rounds", "unsure: busy neighbours in A" """
    tested = change.difference
    if change.unsure:
        return f"unsure: {change.unsure}"
    if change.verdict:
        note = f" ({change.verdict.note})" if change.verdict.note else ""
        return f"{change.outcome or change.verdict.outcome}, by {change.verdict.basis}{note}"
    if change.log_width is not None:
        return f"{change.outcome}, by timed rounds"
    if tested.note:
        return tested.note.removeprefix("not comparable: ")
    p = "" if change.p_holm is None else ", p <0.001" if change.p_holm < 0.001 else f", p {change.p_holm:.3f}"
    return f"{change.outcome}, by seeds{p}"


def _facts(found: SideBySide) -> dict[str, Any]:
    return {
        "trials": [_trial_facts(pair) for pair in found.pairs],
        "cells": [_cell_facts(cell) for cell in found.cells],
        "only_a": found.only_a,
        "only_b": found.only_b,
        "differences": found.differences,
        "devices": [{"a": one, "b": other} for one, other in found.devices],
        "conditions": found.conditions,
        "damaged": found.damaged,
    }


def _trial_facts(pair: Pair) -> dict[str, Any]:
    values = {metric.column: pair.values(metric) for metric in COMPARED}
    return {
        "trial_id": pair.a.trial_id,
        "status": {"a": pair.a.status, "b": pair.b.status},
        "same_device": pair.same_device,
    } | {column: {"a": one, "b": other} for column, (one, other) in values.items()}


def _cell_facts(cell: Cell) -> dict[str, Any]:
    first = cell.pairs[0].a
    facts: dict[str, Any] = {"model": first.model, "label": first.label, "dataset": first.dataset}
    facts["settings"], facts["in_b"] = cell.settings, cell.in_b
    facts["trials"] = [pair.a.trial_id for pair in cell.pairs]
    for change in cell.changes:
        tested = asdict(change.difference)
        facts[change.metric.column] = {
            "a": asdict(change.a),
            "b": asdict(change.b),
            "change": tested.pop("value"),
            "change_percent": change.relative,
            "test": tested | {"effect_name": change.difference.effect_name, "p_holm": change.p_holm},
            "verdict": None
            if change.verdict is None
            else {
                "half_width": change.verdict.half_width,
                "outcome": change.verdict.outcome,
                "basis": change.verdict.basis,
                "note": change.verdict.note,
            },
            "significant": change.significant,
            "interval": change.ends,
            "unsure": {"a": change.unsure_a, "b": change.unsure_b},
            "lost": [pair.a.trial_id for pair in change.lost],
        }
    return facts
