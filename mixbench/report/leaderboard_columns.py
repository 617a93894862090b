"""The columns of the page's leaderboard: their headings, and how a row's cell is formatted, sorted and compared."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from mixbench.report import numbers
from mixbench.report.step_times import Kind, samples, steps
from mixbench.results.metrics import INFERENCE, MACS, PARAMS, PRICES, QUALITY, TIME, TRAINING, Metric
from mixbench.results.summary import Group, SummaryRow
from mixbench.run.timings import percentile
from mixbench.suite.axes import AXES, Axis
from mixbench.system.words import significant

LATENCY = "latency"


@dataclass(frozen=True)
class Cell:
    """A table cell.  `value`: used for sorting and in the CSV copy; `spread`: shown after `shown`, in fainter type.

    `reachable`: can be focused by keyboard, as `hover` has facts that are nowhere else in the table.
    `range`: lowest, middle and highest value, drawn as a bar.
    """

    shown: str
    value: float | str | None = None
    spread: str = ""
    hover: str = ""
    reachable: bool = False
    range: tuple[float, float, float] | None = None


@dataclass(frozen=True)
class Line:
    """A line of the table.  `apart`: its settings that vary among the rows; `unusual`: those that most rows do not
    have; `seeds`: number planned, done or not; `source`: the number of its citation.
    """

    group: Group
    apart: list[str]
    unusual: list[str]
    seeds: int
    flags: list[str]
    source: int | None

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

    `standard`: shown by default; the others can be switched on.  `speed`: compared on the same device only, and ≈ where
    a flag casts doubt on it.
    """

    name: str
    title: str
    unit: str
    cell: Callable[[Line], Cell]
    kind: Literal["points", "ratio", "number", "text"] = "ratio"
    better: Literal["high", "low"] = "high"
    standard: bool = True
    note: str = ""
    speed: bool = False

    @property
    def plain(self) -> str:
        if self.name == "pareto":
            return "Pareto mark"
        return f"{self.title} ({self.unit})" if self.unit else self.title


def _quality(line: Line) -> Cell:
    row = line.row
    if row.quality is None:
        return Cell(numbers.DASH)
    shown, _, width = numbers.quality(row).partition(" ± ")
    if row.n_seeds == 1:
        of_one = f"± {width}, one seed" if width else "one seed"
        return Cell(shown, row.quality, of_one, f"a single seed: {numbers.counted(row)}")
    found = [QUALITY.of(record) for record in line.group.records if record.status == "done"]
    values = ", ".join(numbers.FORMATS[QUALITY.quantity].cell(value) for value in found if value is not None)
    hover = f"mean {row.quality:.4f}, standard deviation {row.quality_std:.4f}, {row.n_seeds} seeds: {values}"
    return Cell(shown, row.quality, f"± {width}" if width else "equal seeds", f"{hover}; {numbers.counted(row)}")


def _seeds(line: Line) -> Cell:
    done = line.row.n_seeds
    if not any("accuracy" in record.details.trial.measure for record in line.group.records):
        return Cell("")
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


def _published(line: Line) -> Cell:
    """The published accuracy, our difference to it, and whether accuracy and counts agree with the paper."""
    row, agrees = line.row, agreement(line.row)
    if row.top1_published is None and not agrees.shown:
        return Cell(numbers.DASH)
    mark = {"": "", "yes": "✓"}.get(agrees.shown, f"✗ {agrees.shown.removeprefix('not ').replace(' or ', ', ')}")
    apart = numbers.apart(row) if row.top1_delta is not None else ""
    spread = " ".join(filter(None, [apart, mark]))
    return Cell(numbers.percent(row.top1_published), row.top1_published, spread, agrees.hover, bool(agrees.hover))


def agreement(row: SummaryRow) -> Cell:
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


def _time(line: Line) -> Cell:
    cell = _price(line, TIME)
    return replace(cell, shown=numbers.roughly(cell.shown, line.row.speed_is_unsure))


def _speed(line: Line, metric: Metric, kind: Kind) -> Cell:
    cell = _price(line, metric)
    texts = [cell.hover and f"{cell.hover} {metric.unit}", steps(kind, line.row, line.group.records)]
    shown = numbers.roughly(cell.shown, line.row.speed_is_unsure)
    return replace(cell, shown=shown, hover="; ".join(filter(None, texts)))


def _latency(line: Line) -> Cell:
    """The median step of inference, and the 5th to 95th percentile of all trials' steps."""
    timed = samples("infer", line.group.records)
    if not timed:
        return Cell("")
    low, middle, high = (percentile(timed, percent) for percent in (5, 50, 95))
    shown = numbers.roughly(significant(middle), line.row.speed_is_unsure)
    spread = f"({significant(low)} to {significant(high)})"
    return Cell(shown, middle, spread, steps("infer", line.row, line.group.records), range=(low, middle, high))


CELLS: dict[str, Callable[[Line], Cell]] = {
    MACS.key: _macs,
    INFERENCE.key: lambda line: _speed(line, INFERENCE, "infer"),
    TRAINING.key: lambda line: _speed(line, TRAINING, "train"),
    TIME.key: _time,
}
"""Metrics whose cells show more than the value."""


def _text(value: str) -> Cell:
    return Cell(value, value)


COLUMNS = [
    Column(
        QUALITY.key, QUALITY.title, f"{QUALITY.unit}, ± 95 %", _quality, "points", QUALITY.better,
        note="mean over seeds, and half the width of its 95 % interval, which counts the test images too: see Terms",
    ),
    Column("n", "Seeds", "n", _seeds, "number"),
    Column(
        "std", "Std", "points", lambda x: _exact(x.row.quality_std, numbers.percent(x.row.quality_std)),
        "number", "low", False,
    ),
    Column(
        "published", "Published", f"{QUALITY.name}, ours − theirs", _published, "number",
        note=f"✓: {QUALITY.name} agrees within half a point or our interval; "
        "counts, in the source's convention, to the printed digit",
    ),
    Column(
        "pareto", "◆", "", lambda x: Cell("◆" if x.row.pareto else "", 1 if x.row.pareto else None), "number",
        note="Pareto-optimal in accuracy, MACs and parameters",
    ),
    *(
        Column(
            metric.key, metric.title, metric.under,
            CELLS.get(metric.key) or partial(_price, metric=metric), "ratio", metric.better,
            note="Our convention: see Terms" if metric is MACS else "", speed=metric.of_device,
        )
        for metric in PRICES
    ),
    Column(
        "delta", "Difference", "ours − published", lambda x: _exact(x.row.top1_delta, numbers.apart(x.row)), "number",
        "high", False,
    ),
    Column("agrees", "Agrees", "with the paper", lambda x: agreement(x.row), "text", "low", False),
    Column(
        LATENCY, "Step", "ms, p5 to p95", _latency, "ratio", "low",
        note="median time of an inference step of one batch, and the range without its fastest and slowest 5 %",
        speed=True,
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


# Columns of settings, added if they vary: row names and the groups of data sets show them already.
SETTINGS = [
    Column("dataset", "Dataset", "", lambda x: _text(x.row.images), "text", "low", False),
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
