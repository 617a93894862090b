"""The table of metrics: all that is measured stands in it, and what is said of a metric is said there alone."""

import ast
import io
import math
import types
from pathlib import Path
from typing import Any, get_args

import pytest
from rich.console import Console

import mixbench
from mixbench.cli.status import print_summary
from mixbench.report import tradeoffs
from mixbench.report.formats.markdown import markdown
from mixbench.report.leaderboard import board
from mixbench.report.numbers import FORMATS
from mixbench.report.tradeoffs import front
from mixbench.results import summary
from mixbench.results.metrics import (
    COMPARED,
    IN_ALL,
    MACS,
    METRICS,
    OF_TRIALS,
    PARAMS,
    PRICES,
    QUALITY,
    SETTINGS,
    SPEEDS,
    Metric,
    Quantity,
)
from mixbench.results.summary import SummaryRow
from mixbench.results.tables import tables
from mixbench.run.record import COLUMNS, Record
from tests.fake_runs import done, full_run, trial, write_run

OF_QUALITY = ("_mean", "_std", "_ci95", "_published", "_delta", "_to_best", "_to_best_ci95", "_ci95_images")
OF_COUNTS = ("_published", "_as_published")


def measured(model: Any) -> set[str]:
    """The columns of a class that hold numbers, and may be empty."""
    kinds = {name: set(get_args(field.annotation)) for name, field in model.model_fields.items()}
    return {name for name, each in kinds.items() if types.NoneType in each and each & {int, float}}


def test_every_column_that_is_measured_is_in_the_table_or_said_to_be_a_setting() -> None:
    columns = [metric.column for metric in METRICS]
    assert len(columns) == len(set(columns))
    assert measured(Record) == {*columns, *SETTINGS}
    assert set(columns) <= set(COLUMNS)
    rest = measured(SummaryRow) - set(columns) - set(SETTINGS)
    assert rest == {
        *(QUALITY.column + end for end in OF_QUALITY),
        *(metric.column + end for metric in (PARAMS, MACS) for end in OF_COUNTS),
        *(metric.column + end for metric in SPEEDS for end in ("_low", "_high")),
    }


def test_a_metric_has_all_the_words_that_the_tables_it_is_in_need() -> None:
    keys = [metric.key for metric in (QUALITY, *PRICES)]
    assert all(keys) and len(keys) == len(set(keys))
    for metric in (QUALITY, *PRICES):
        assert metric.name and metric.behind and metric.more_is_better is not None, metric.column
    for metric in (*IN_ALL, *COMPARED):
        assert metric.brief and metric.more_is_better is not None, metric.column
    assert all(metric.column in SummaryRow.model_fields for metric in IN_ALL if not metric.is_quality)
    assert all(metric.over_seeds for metric in (*IN_ALL, *PRICES))
    assert set(FORMATS) == set(get_args(Quantity))
    assert {metric.column for metric in OF_TRIALS} <= set(COLUMNS)


def test_headings_axes_and_lines_come_from_the_table(tmp_path: Path) -> None:
    found = tables(full_run(tmp_path))
    page = {column.name: column for column in board(found).columns}
    text, stream = markdown(found), io.StringIO()
    print_summary(found.records, Console(file=stream, width=200, highlight=False, markup=False))
    for metric in IN_ALL:
        assert f" {metric.heading} |" in text and set(metric.brief.split()) <= set(stream.getvalue().split())
    for metric in PRICES:
        column = page[metric.key]
        assert (column.title, column.unit, column.better) == (metric.title, metric.under, metric.better)
    assert [price.axis_label for price in PRICES] == [
        "parameters", "MACs per image", "inference throughput (images/s)", "training throughput (images/s)",
        "training time", "peak memory",
    ]  # fmt: skip


def test_names_and_units_of_metrics_are_written_in_the_table_alone() -> None:
    """Of the wing that reads, and the terminal; a docstring may say them, and the help of an option."""
    root = Path(mixbench.__file__).parent
    words, found = ("top-1", "img/s", "images/s"), set()
    for path in [path for part in ("results", "report", "cli") for path in sorted((root / part).rglob("*.py"))]:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            text = node.value if isinstance(node, ast.Constant) and id(node) not in prose else ""
            if isinstance(text, str) and any(word in text.lower() for word in words):
                found.add(path.name)
    assert found == {"metrics.py"}


def test_a_quality_of_which_less_is_better_turns_the_ranking_and_the_fronts_round(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As bits per dimension are: here of the same numbers."""
    small, large = trial("splitmixer_ii_256_8"), trial("splitmixer_i_256_8")
    run = write_run(tmp_path, [small, large], [done(small, 3.1), done(large, 3.4)])
    more = tables(run).groups
    assert [group.row.pareto for group in more] == [True, True]
    assert front(more, PRICES[0]) == more
    worse = Metric(column="top1", title="Bits per dim", quantity="loss", more_is_better=False, over_seeds="mean")
    for module in (summary, tradeoffs):
        monkeypatch.setattr(module, "QUALITY", worse)
    less = tables(run).groups
    assert [group.row.pareto for group in less] == [True, False], "the smaller one is the better one too"
    assert front(less, PRICES[0]) == less[:1]
    assert sorted([3.1, None, 2.9], key=worse.cost) == [2.9, 3.1, None]
    assert sorted([3.1, None, 2.9], key=QUALITY.cost) == [3.1, 2.9, None]


def test_the_terminal_leaves_out_a_seed_that_diverged() -> None:
    def shown(*values: float) -> str:
        stream = io.StringIO()
        records = [done(trial(seed=seed), value) for seed, value in enumerate(values)]
        print_summary(records, Console(file=stream, width=200, highlight=False, markup=False))
        return stream.getvalue()

    assert "91 ± 13" in shown(90.0, math.nan, 92.0)
    assert "90.00 (1 seed)" in shown(90.0, math.nan) and "nan (1 seed)" in shown(math.nan)


def test_a_training_that_took_no_time_has_none() -> None:
    [seconds] = [metric for metric in METRICS if metric.quantity == "seconds"]
    evaluated = done(trial(seed=0), 90.0, train_seconds=0.0)
    assert seconds.summed_up([evaluated]) is None
    assert seconds.summed_up([evaluated, done(trial(seed=1), 90.0, train_seconds=7.0)]) == 7.0
