"""The leaderboard's rows as JSON, for the page's script: values, texts, settings, seeds and learning curves."""

import json
import math
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from mixbench.report import numbers
from mixbench.report.leaderboard import Board
from mixbench.report.leaderboard_columns import Line, agreement
from mixbench.report.pair_verdicts import pair_verdicts
from mixbench.report.row_names import Look
from mixbench.report.tradeoffs import brief
from mixbench.results.comparisons import Comparisons
from mixbench.results.metrics import PRICES, QUALITY, Metric
from mixbench.run.record import Record
from mixbench.suite.axes import AXES

MOST_EPOCHS = 120  # points of one curve
SHOWN = [QUALITY, *PRICES]
DIGITS = 6  # significant ones of a curve's values, or of a column's


def page_data(
    board: Board,
    compared: Comparisons,
    anchors: Mapping[str, str],
    look: Mapping[str, Look],
    beside: Mapping[str, Any],
) -> Markup:
    """Return a JSON object, safe inside a script element: `metrics`, `verdicts` by images, `rows` as on the board.

    `beside`: more keys of it, for the comparison of two rows and for copies.
    A row's values are those of its summary, not finite ones left out; its curves have a list of values for each seed.
    """
    facts = {
        "metrics": [_metric(metric) for metric in SHOWN],
        "verdicts": {
            images: pair_verdicts([line.group for line in lines], compared) for images, lines in board.by_images.items()
        },
        "rows": [
            _row(line) | {"anchor": anchors[line.key], "look": vars(look[line.row.family])} for line in board.lines
        ],
        **beside,
    }
    text = json.dumps(facts, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


def _metric(metric: Metric) -> dict[str, Any]:
    return {
        "key": metric.key,
        "title": metric.title,
        "name": metric.name,
        "unit": metric.unit,
        "axis": metric.axis_label,
        "better": metric.better,
        "quantity": metric.quantity,
        "timed": metric.of_device,
        "speed": metric.is_speed,
    }


def _row(line: Line) -> dict[str, Any]:
    row, records = line.row, line.group.records
    values = {metric.key: line.group.value(metric) for metric in SHOWN}
    trial = records[0].details.trial
    return {
        "key": line.key,
        "name": numbers.short(line.name, 200),
        "label": numbers.short(row.label, 100),
        "family": row.family,
        "recipe": row.recipe,
        "images": row.images,
        "device": row.device,
        "arguments": {name: numbers.short(value, 80) for name, value in sorted(trial.arguments.items())},
        "settings": {
            axis.full_title: numbers.short(axis.text(trial), 80)
            for axis in AXES
            if axis.name not in ("dataset", "seed")
        },
        "flags": line.flags,
        "unsure": row.speed_is_unsure,
        "values": {key: value for key, value in values.items() if _finite(value) is not None},
        "texts": {metric.key: _text(line, metric, values[metric.key]) for metric in SHOWN},
        "interval": _finite(row.quality_ci95),
        "seeds": [[record.seed, _finite(QUALITY.of(record))] for record in records if record.status == "done"],
        "toBest": numbers.to_best(row) if row.top1_verdict else "",
        "verdict": row.top1_verdict,
        "agrees": agreement(row).shown,
        "curves": [_curve(record) for record in records if record.status == "done" and record.details.curve],
    }


def _text(line: Line, metric: Metric, value: float | None) -> str:
    if value is None:
        return numbers.DASH
    if metric.is_quality:
        return f"{numbers.quality(line.row)} {metric.unit}{' (one seed)' if line.row.n_seeds == 1 else ''}"
    return numbers.roughly(brief(metric, value), metric.is_speed and line.row.speed_is_unsure)


def _curve(record: Record) -> dict[str, Any]:
    """Return one seed's curve, at most MOST_EPOCHS points of it, always including the last."""
    epochs = record.details.curve.epochs if record.details.curve else []
    step = max(1, math.ceil(len(epochs) / MOST_EPOCHS))
    seconds, spent = [], 0.0
    for epoch in epochs:
        spent += epoch.seconds
        seconds.append(spent)
    keep = slice((len(epochs) - 1) % step, None, step)
    columns: dict[str, list[Any]] = {
        "epoch": [epoch.epoch for epoch in epochs],
        "seconds": seconds,
        QUALITY.key: [QUALITY.of(epoch) for epoch in epochs],
        "test loss": [epoch.test_loss for epoch in epochs],
        "train loss": [epoch.train_loss for epoch in epochs],
    }
    return {"seed": record.seed} | {
        name: [rounded(value) for value in column[keep]] for name, column in columns.items()
    }


def rounded(value: float | None) -> float | None:
    """Return a value with DIGITS significant digits; None if it is not finite."""
    value = _finite(value)
    return None if value is None else float(f"{value:.{DIGITS}g}")


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
