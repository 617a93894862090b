"""Data for the page's figure, beyond the board's rows: more columns of numbers, seeds, steps."""

from collections.abc import Iterable, Mapping
from fractions import Fraction
from statistics import median
from typing import Any

from mixbench.report import numbers
from mixbench.report.compare_data import RECIPE
from mixbench.report.evidence import Evidence
from mixbench.report.leaderboard import Board
from mixbench.report.leaderboard_columns import Line
from mixbench.report.page_data import SHOWN, rounded
from mixbench.report.row_names import LOOKS
from mixbench.results.metrics import METRICS, Metric
from mixbench.results.summary import Group
from mixbench.suite.axes import AXES

MORE = [metric for metric in METRICS if metric not in SHOWN and metric.column != "flops"]  # FLOPs: twice the MACs


def plot_data(board: Board, found: Mapping[str, Evidence]) -> dict[str, Any]:
    """Return `columns`: numbers beside SHOWN, each with a `values` (null: none) for every row of the board, in order.

    Also, row by row, `ofSeeds`: values of single trials, by metric, where they differ; `stepsPerEpoch`: of training,
    null if unknown.  `looks`: colours and markers, for categories.  `recipe`: keys that all rows share.
    """
    lines = board.lines
    return {
        "columns": [*_metrics(lines), *_evidence(lines, found), *_arguments(lines), *_settings(lines)],
        "ofSeeds": [_of_seeds(line.group) for line in lines],
        "stepsPerEpoch": [_steps_per_epoch(line) for line in lines],
        "looks": [vars(look) for look in LOOKS],
        "recipe": _shared_recipe(lines),
    }


def _column(key: str, label: str, group: str, values: Iterable[float | None], **facts: Any) -> dict[str, Any]:
    usual = {"quantity": "number", "better": "", "timed": False}
    return {"key": key, "label": label, "group": group, "values": list(map(rounded, values))} | usual | facts


def _metrics(lines: list[Line]) -> list[dict[str, Any]]:
    columns = []
    for metric in MORE:
        values = [_median(metric, line.group) for line in lines]
        if any(value is not None for value in values):
            better = metric.better if metric.more_is_better is not None else ""
            facts = {"quantity": metric.quantity, "better": better, "timed": metric.of_device}
            columns.append(_column(metric.column, metric.axis_label, "Metrics", values, **facts))
    return columns


def _evidence(lines: list[Line], found: Mapping[str, Evidence]) -> list[dict[str, Any]]:
    errors = [found[line.key].calibration_error if line.key in found else None for line in lines]
    likelihoods = [found[line.key].likelihood if line.key in found else None for line in lines]
    if not found:
        return []
    percent = [None if each is None else 100 * each for each in errors]
    return [
        _column("ece", "ECE (%)", "Metrics", percent, quantity="percent", better="low"),
        _column("nll", "NLL", "Metrics", likelihoods, quantity="loss", better="low"),
    ]


def _arguments(lines: list[Line]) -> list[dict[str, Any]]:
    """Arguments, then keys of the recipe, that are numbers and vary."""
    arguments = [line.group.records[0].details.trial.arguments for line in lines]
    recipes = [RECIPE.parts(line.group.records[0].details.trial) for line in lines]
    return [
        _column(f"{group}.{name}", name, title, values)
        for group, title, texts in (("arguments", "Arguments", arguments), ("recipe", "Recipe", recipes))
        for name in sorted({name for each in texts for name in each})
        if _vary(values := [_number(each.get(name)) for each in texts])
    ]


def _settings(lines: list[Line]) -> list[dict[str, Any]]:
    trials = [line.group.records[0].details.trial for line in lines]
    return [
        _column(f"settings.{axis.full_title}", axis.full_title, "Settings", values)
        for axis in AXES
        if axis.numeric and axis.name not in ("seed", "image_size")  # the image's size is an argument
        if _vary(values := [_number(axis.value(trial)) for trial in trials])
    ]


def _shared_recipe(lines: list[Line]) -> dict[str, str]:
    """Return what `recipe` in the sides of compare_data leaves out."""
    recipes = [RECIPE.parts(line.group.records[0].details.trial) for line in lines]
    shared = set.intersection(*(set(each.items()) for each in recipes)) if recipes else set()
    return {key: numbers.short(text, 80) for key, text in sorted(shared)}


def _vary(values: Iterable[float | None]) -> bool:
    return len(set(values) - {None}) > 1


def _number(value: object) -> float | None:
    """Return a number, or the number that a text is: "2/3", "0.05"; None of anything else, as of True."""
    if isinstance(value, bool) or not isinstance(value, int | float | str | Fraction):
        return None
    try:
        return float(Fraction(value))
    except (ValueError, OverflowError, ZeroDivisionError):
        return None


def _median(metric: Metric, group: Group) -> float | None:
    if metric.over_seeds:
        return group.value(metric)
    known = [value for record in group.records if (value := rounded(metric.of(record))) is not None]
    return median(known) if known else None


def _of_seeds(group: Group) -> dict[str, list[float | None]]:
    done = [record for record in group.records if record.status == "done"]
    values = {metric.key or metric.column: [rounded(metric.of(record)) for record in done] for metric in METRICS}
    return {key: each for key, each in values.items() if len(set(each)) > 1}


def _steps_per_epoch(line: Line) -> int | None:
    """As TrainLoader.steps of mixbench/data/loader.py, of a training on the whole training set."""
    trial = line.group.records[0].details.trial
    if trial.recipe.split != "test" or not trial.data.train_images:
        return None
    whole, rest = divmod(trial.data.train_images, trial.recipe.global_batch_size)
    shares = trial.world_size * trial.recipe.gradient_accumulation
    return whole + (not trial.recipe.drop_last and rest >= shares)
