"""`mixbench compare`: print two runs side by side, by trial and over seeds, and how they differ.  Imports no torch."""

import json
from dataclasses import asdict, replace
from typing import Any

import click
from rich.console import Console

from mixbench.cli.terminal import console, print_table
from mixbench.results.metrics import COMPARED
from mixbench.results.rows import columns
from mixbench.results.side_by_side import MOST_LINES, Cell, Change, Pair, SideBySide, side_by_side
from mixbench.results.thresholds import Limit, checked, crossed, parse
from mixbench.run.folder import Run
from mixbench.system.words import plural


def print_comparison(a: Run, b: Run, limits: tuple[str, ...], as_json: bool) -> bool:
    """Print runs A and B side by side; return True if B keeps every limit.

    Raises RequestError if the runs cannot be compared or a limit is invalid.
    """
    wanted = [parse(text) for text in limits]
    found = side_by_side(a, b)
    broken = crossed(found, wanted)
    if as_json:
        click.echo(
            json.dumps(
                {"a": str(a.folder), "b": str(b.folder)}
                | _facts(found)
                | {"crossed": broken, "checked": {each.text: checked(found, each) for each in wanted}},
                indent=1,
            )
        )
        return not broken
    to = console()
    _print_overview(found, a, b)
    print_table([_trial_row(pair) for pair in found.pairs], to)
    click.echo()
    _print_cells(found, to)
    for line in broken:
        click.echo(f"crossed: {line}")
    if wanted and not broken:
        click.echo(_within(found, wanted))
    return not broken


def _within(found: SideBySide, limits: list[Limit]) -> str:
    """Say that all limits are kept, and for how many trials a limit could be checked if not for all."""
    total, pairs = len(found.pairs), plural(len(found.pairs), "trial")
    partly = [f"{n} of {pairs} for {each.text}" for each in limits if (n := checked(found, each)) < total]
    kept = "the limit" if len(limits) == 1 else f"all {len(limits)} limits"
    return f"within {kept}" + (f", as far as it could be checked: {'; '.join(partly)}" if partly else "")


def _print_overview(found: SideBySide, a: Run, b: Run) -> None:
    click.echo(f"A {a.folder}\nB {b.folder}")
    click.echo(f"trials in both: {len(found.pairs)}; only in A: {len(found.only_a)}; only in B: {len(found.only_b)}")
    for line in found.differences[:MOST_LINES]:
        click.echo(f"not the same: {line}")
    if len(found.differences) > MOST_LINES:
        click.echo(f"not the same: {len(found.differences) - MOST_LINES} more; --json has them all")
    for one, other in found.devices:
        click.echo(f"devices: {one} in A, {other} in B: accuracy is compared, throughput and memory are not")
    for line in found.conditions:
        click.echo(f"measured with: {line}")
    for line in found.damaged:
        click.echo(f"damaged: {line}")
    click.echo()


def _trial_row(pair: Pair) -> dict[str, Any]:
    row: dict[str, Any] = {"trial": pair.a.trial_id}
    for metric in COMPARED:
        one, other = pair.values(metric)
        row[metric.brief] = "" if one is other is None else f"{metric.shown(one) or '–'} → {metric.shown(other) or '–'}"
    states = [(run, record.status) for run, record in (("A", pair.a), ("B", pair.b)) if record.status != "done"]
    row["state"] = ", ".join(f"{status} in {run}" for run, status in states)
    return row


def _print_cells(found: SideBySide, to: Console) -> None:
    rows = []
    settings_of = columns([[pair.a for pair in cell.pairs] for cell in found.cells])
    for cell, settings in zip(found.cells, settings_of, strict=True):
        first = cell.pairs[0].a
        cell_facts = {"model": first.label, "dataset": first.dataset} | settings
        cell_facts |= {"in B": cell.in_b} if any(each.in_b for each in found.cells) else {}
        rows += [cell_facts | _change_row(change) for change in cell.changes if change.a.n]
    if not rows:
        click.echo("no trial is done in both runs: there is nothing to compare yet")
    else:
        print_table(rows, to)
        click.echo(
            "change: B - A, ± half its 95 % interval; p: t-test over seeds, Holm-corrected over the rows of a metric;\n"
            "by images: by each image's predictions in both runs, the interval simultaneous over these rows"
        )


def _change_row(change: Change) -> dict[str, Any]:
    metric, tested = change.metric, change.difference
    verdict = {True: "significant", False: "not significant", None: "not comparable"}[change.significant]
    if change.verdict:
        verdict, tested = f"{verdict}, by {change.verdict.basis}", replace(tested, note="")
    return {
        "metric": metric.brief,
        "n": change.a.n,
        "A": metric.shown(change.a.mean, change.a.half_width),
        "B": metric.shown(change.b.mean, change.b.half_width),
        "change": change.text,
        "p": ""
        if change.verdict or change.p_holm is None
        else "<0.001"
        if change.p_holm < 0.001
        else f"{change.p_holm:.3f}",
        "verdict": tested.note.removeprefix("not comparable: ") or verdict,
    }


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
            "lost": [pair.a.trial_id for pair in change.lost],
        }
    return facts
