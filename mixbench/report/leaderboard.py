"""The leaderboard: a line for each row of the summary; each column has a heading and a function for its cells."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import permutations
from typing import Literal

from mixbench.report import numbers
from mixbench.report.citations import Papers, papers
from mixbench.report.row_names import by_images, settings
from mixbench.report.step_times import Kind, steps
from mixbench.results.comparisons import Comparisons
from mixbench.results.flag_counts import common
from mixbench.results.metrics import INFERENCE, MACS, PARAMS, PRICES, QUALITY, TRAINING, Metric
from mixbench.results.summary import Group, SummaryRow
from mixbench.results.tables import Tables
from mixbench.run.flags import Flag
from mixbench.suite.axes import AXES, Axis

MOST_BASELINES = 40  # rows tested on the same images, at most, for any of them to be selectable as baseline


@dataclass(frozen=True)
class Cell:
    """A table cell.  `value`: used for sorting and in the CSV copy; `spread`: shown after `shown`, in fainter type.

    `reachable`: can be focused by keyboard, as `hover` has facts that are nowhere else in the table.
    """

    shown: str
    value: float | str | None = None
    spread: str = ""
    hover: str = ""
    reachable: bool = False


@dataclass(frozen=True)
class Line:
    """A line of the table.  `apart`: its settings that vary among the rows; `seeds`: number planned, done or not;
    `source`: the number of its citation; `versus`: the difference in quality to each baseline, by the baseline's key.
    """

    group: Group
    apart: list[str]
    seeds: int
    flags: list[str]
    source: int | None
    versus: dict[str, str]

    @property
    def name(self) -> str:
        return " · ".join([self.row.label, *self.apart])

    @property
    def key(self) -> str:
        return self.group.key

    @property
    def row(self) -> SummaryRow:
        return self.group.row


@dataclass(frozen=True)
class Column:
    """A column.  `kind`: how a cell is compared with the baseline's: by difference in points, by ratio, or not at all.

    `standard`: shown by default; the others can be switched on.
    """

    name: str
    title: str
    unit: str
    cell: Callable[[Line], Cell]
    kind: Literal["points", "ratio", "number", "text"] = "ratio"
    better: Literal["high", "low"] = "high"
    standard: bool = True
    note: str = ""

    @property
    def plain(self) -> str:
        if self.name == "pareto":
            return "Pareto mark"
        return f"{self.title} ({self.unit})" if self.unit else self.title


@dataclass(frozen=True)
class Board:
    columns: list[Column]
    lines: list[Line]
    families: list[str]
    images: list[str]
    papers: Papers


def board(tables: Tables) -> Board:
    """Return each dataset's rows, in the suite's order of datasets, the most accurate first, without empty columns."""
    common_flags = common(tables.records)
    found = papers(tables.groups)
    lines = []
    together = by_images(tables.groups)
    for groups in together.values():
        versus = _versus(groups, tables.comparisons)
        lines += sorted(
            (
                Line(
                    group,
                    apart,
                    seeds(group),
                    _flags(group, common_flags),
                    found.number(group.row.top1_source),
                    versus.get(group.key, {}),
                )
                for group, apart in zip(groups, settings(groups), strict=True)
            ),
            key=lambda line: QUALITY.cost(line.row.quality),
        )
    columns = [column for column in COLUMNS if any(column.cell(line).value is not None for line in lines)]
    settings_ = [column for column in SETTINGS if len({column.cell(line).value for line in lines}) > 1]
    families = sorted({line.row.family for line in lines}, key=lambda family: (family.casefold(), family))
    return Board(
        [*settings_[:1], *columns, *settings_[1:]] if len(together) > 1 else columns + settings_,
        lines,
        families,
        list(together),
        found,
    )


def _versus(groups: Sequence[Group], compared: Comparisons) -> dict[str, dict[str, str]]:
    """Return the texts of quality differences, by the row's and the baseline's key: interval and verdict included.

    Empty above MOST_BASELINES rows: pairs grow quadratically.
    """
    found: dict[str, dict[str, str]] = {}
    ranked = [group for group in groups if group.row.quality is not None]
    if len(groups) > MOST_BASELINES:
        return found
    for group, base in permutations(ranked, 2):
        verdict = compared.of(group, base).verdict
        text = numbers.against(verdict.value, verdict.half_width, verdict.outcome)
        found.setdefault(group.key, {})[base.key] = text
    return found


def seeds(group: Group) -> int:
    return len({record.seed for record in group.records})


def _flags(group: Group, common_flags: list[Flag]) -> list[str]:
    """Flags and failures of a row, each with the number of its trials; trials that have not run show in the seeds."""
    found = Counter(str(flag) for record in group.records for flag in record.flags if flag not in common_flags)
    found["failed"] = sum(record.status == "failed" for record in group.records)
    total = len(group.records)
    return [flag if n == total == 1 else f"{flag} ({n} of {total})" for flag, n in found.items() if n]


def _quality(line: Line) -> Cell:
    row = line.row
    if row.quality is None:
        return Cell(numbers.DASH)
    shown, _, spread = numbers.quality(row).partition(" ± ")
    if row.n_seeds == 1:
        return Cell(shown, row.quality, "one seed", "a single seed: no interval can be given")
    found = [QUALITY.of(record) for record in line.group.records if record.status == "done"]
    values = ", ".join(numbers.FORMATS[QUALITY.quantity].cell(value) for value in found if value is not None)
    hover = f"mean {row.quality:.4f}, standard deviation {row.quality_std:.4f}, {row.n_seeds} seeds: {values}"
    return Cell(shown, row.quality, f"± {spread}", hover)


def _seeds(line: Line) -> Cell:
    done = line.row.n_seeds
    return Cell(str(done), done, f"of {line.seeds}" if done < line.seeds else "")


def _macs(line: Line) -> Cell:
    row = line.row
    if row.macs is None:
        return Cell(numbers.DASH)
    hover = f"{numbers.exact(row.macs)}: multiply–accumulates of convolutions and matrix products, for one image"
    if row.macs_published is not None:
        ours = f", ours {numbers.count(row.macs_as_published)} by it" if row.macs_as_published is not None else ""
        hover += f"; published {numbers.count(row.macs_published)} by the convention “{row.macs_convention}”{ours}"
    return Cell(numbers.count(row.macs), row.macs, hover=hover, reachable=row.macs_published is not None)


def _macs_published(line: Line) -> Cell:
    row = line.row
    return Cell(numbers.count(row.macs_published), row.macs_published, hover=f"convention: {row.macs_convention}")


def _agrees(row: SummaryRow) -> Cell:
    """The published figures that ours do not agree with, or yes; empty if there is none to compare with."""
    met = {QUALITY.name: row.top1_agrees, PARAMS.brief: row.params_agrees, MACS.brief: row.macs_agrees}
    if all(agrees is None for agrees in met.values()):
        return Cell("")
    missed = [name for name, agrees in met.items() if agrees is False]
    shown = f"not {' or '.join(missed)}" if missed else "yes"
    return Cell(shown, shown, hover=row.published_note)


def _exact(value: float | None, shown: str) -> Cell:
    return Cell(shown, value, hover=numbers.exact(value) if value is not None and numbers.exact(value) != shown else "")


def _price(line: Line, metric: Metric) -> Cell:
    value = line.group.value(metric)
    return _exact(value, numbers.FORMATS[metric.quantity].cell(value))


def _speed(line: Line, metric: Metric, kind: Kind) -> Cell:
    cell = _price(line, metric)
    texts = [cell.hover and f"{cell.hover} {metric.unit}", steps(kind, line.row, line.group.records)]
    shown = numbers.roughly(cell.shown, line.row.speed_is_unsure)
    return replace(cell, shown=shown, hover="; ".join(filter(None, texts)))


CELLS: dict[str, Callable[[Line], Cell]] = {
    MACS.key: _macs,
    INFERENCE.key: lambda line: _speed(line, INFERENCE, "infer"),
    TRAINING.key: lambda line: _speed(line, TRAINING, "train"),
}
"""Metrics whose cells show more than the value."""


def _text(value: str) -> Cell:
    return Cell(value, value)


COLUMNS = [
    Column(
        QUALITY.key, QUALITY.title, f"{QUALITY.unit}, ± 95 %", _quality, "points", QUALITY.better,
        note="mean over seeds, and half the width of its 95 % t-interval",
    ),
    Column("n", "Seeds", "n", _seeds, "number"),
    Column(
        "std", "Std", "points", lambda x: _exact(x.row.quality_std, numbers.percent(x.row.quality_std)),
        "number", "low", False,
    ),
    Column(
        "pareto", "◆", "", lambda x: Cell("◆" if x.row.pareto else "", 1 if x.row.pareto else None), "number",
        note="Pareto-optimal in accuracy, MACs and parameters",
    ),
    *(
        Column(
            metric.key, metric.title, metric.under,
            CELLS.get(metric.key) or partial(_price, metric=metric), "ratio", metric.better,
            note="Our convention: see Terms" if metric is MACS else "",
        )
        for metric in PRICES
    ),
    Column(
        "published", "Published", f"{QUALITY.name}, {QUALITY.unit}",
        lambda x: Cell(numbers.percent(x.row.top1_published), x.row.top1_published), "number",
    ),
    Column(
        "delta", "Difference", "points", lambda x: _exact(x.row.top1_delta, numbers.apart(x.row)), "number",
        note="ours − published",
    ),
    Column(
        "agrees", "Agrees", "with the paper", lambda x: _agrees(x.row), "text", "low",
        note=f"{QUALITY.name} within half a point or the interval; "
        "counts, in the source's convention, to the printed digit",
    ),
    Column("source", "Source", "", lambda x: Cell(f"[{x.source}]" if x.source else "", x.source), "number", "low"),
    Column(
        "params_published", "Published", PARAMS.brief,
        lambda x: _exact(x.row.params_published, numbers.count(x.row.params_published)), "number", "low", False,
    ),
    Column("macs_published", "Published", MACS.brief, _macs_published, "number", "low", False),
]  # fmt: skip


def _setting(line: Line, axis: Axis) -> Cell:
    """Return a cell with the summary's value, in which `max` is the batch size found, or the trial's if it has none."""
    value = getattr(line.row, axis.column, None)
    if value is None:
        value = axis.value(line.group.records[0].details.trial)
    if isinstance(value, bool):
        return _text("yes" if value else "no")
    return Cell(numbers.exact(value), value) if isinstance(value, int) else _text(value)


# Columns of settings, added if they vary; except for the dataset, row names show them already.
SETTINGS = [
    Column("dataset", "Dataset", "", lambda x: _text(x.row.images), "text", "low"),
    Column("run", "Run", "", lambda x: _text(x.row.run), "text", "low", False),
    *(
        Column(
            axis.column, axis.title, axis.unit, partial(_setting, axis=axis), "number" if axis.numeric else "text",
            "low", False,
        )
        for axis in AXES
        if axis.name not in ("dataset", "seed")
    ),
    Column("device", "Device", "", lambda x: _text(x.row.device), "text", "low", False),
]  # fmt: skip
