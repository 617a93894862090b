"""The report's figures, as SVG text: accuracy against its price, and learning curves.

Drawn on figures of their own: no pyplot, no state that outlives the call.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from mixbench.report import numbers
from mixbench.report.names import Look, looks, names, seeds
from mixbench.report.svg import INK, STYLE, svg
from mixbench.results import Tables
from mixbench.summary import Group, SummaryRow
from mixbench.trial import file_name

LOG_FROM = 8  # a log axis where the largest value is this many times the smallest
MOST_LABELS = 16  # points named in one figure; the others say their names when pointed at
MOST_CURVES = 48
UP_LEFT, UP_RIGHT = "Better is up and to the left.", "Better is up and to the right."
LABEL_PLACES = [  # offset in points from the mark, and how the text is aligned there
    (7, 0, "left", "center"), (-7, 0, "right", "center"), (0, 6, "center", "bottom"), (0, -6, "center", "top"),
    (5, 5, "left", "bottom"), (5, -5, "left", "top"), (-5, 5, "right", "bottom"), (-5, -5, "right", "top"),
]  # fmt: skip
MOST_EPOCHS = 120  # points drawn of one curve


@dataclass(frozen=True)
class Price:
    """What accuracy is set against: a column of the summary, its axis, and how a value is written."""

    name: str
    column: str
    axis: str
    unit: str
    better: str
    shown: Callable[[float], str]
    tick: Callable[[float], str]


PRICES = [
    Price("params", "params", "parameters", "parameters", UP_LEFT, numbers.exact, numbers.tick),
    Price("macs", "macs", "MACs per image", "MACs", UP_LEFT, numbers.exact, numbers.tick),
    Price(
        "throughput", "infer_samples_per_sec", "inference throughput (images/s)", "images/s", UP_RIGHT,
        numbers.rate, numbers.rate_tick,
    ),
]  # fmt: skip


@dataclass(frozen=True)
class Drawing:
    """One figure: `name` is its file's, without the suffix."""

    name: str
    dataset: str
    title: str
    caption: str
    svg: str


def figures(tables: Tables) -> list[Drawing]:
    """Every figure that has something to show, dataset by dataset."""
    look = looks(tables.records)
    drawings: list[Drawing | None] = []
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser has the font
        for index, dataset in enumerate(dict.fromkeys(group.row.dataset for group in tables.groups), start=1):
            groups = [group for group in tables.groups if group.row.dataset == dataset]
            prefix = f"{index}-{file_name(dataset)[:60]}"
            drawings += [_scatter(groups, look, prefix, price) for price in PRICES]
            drawings.append(_curves(groups, look, prefix))
    return [drawing for drawing in drawings if drawing]


@dataclass(frozen=True)
class Point:
    """One row of the summary in one scatter."""

    name: str
    row: SummaryRow
    x: float
    top1: float


def _scatter(groups: list[Group], look: dict[str, Look], prefix: str, price: Price) -> Drawing | None:
    """None where fewer than two rows can be compared."""
    points = [
        Point(name, group.row, x, group.row.top1_mean)
        for name, group in zip(names(groups), groups, strict=True)
        if group.row.top1_mean is not None and (x := getattr(group.row, price.column))
    ]
    if len(points) < 2:
        return None
    figure = Figure(figsize=(4.5, 3.7), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    families = _draw_points(axes, points, look)
    _price_axis(axes, [point.x for point in points], price)
    if len(families) > 1:
        _legend(figure, families, look)
    notes = [price.better]
    if any(point.row.top1_std is not None for point in points):
        notes.append("Bars: one standard deviation over seeds.")
    if _label_points(figure, axes, points) < len(points):
        notes.append("Point at a mark to read its name.")
    name, dataset = f"{prefix}-{price.name}", points[0].row.dataset
    title = f"{dataset}: accuracy against {price.axis}"
    hover = [f"{point.name}: {_accuracy(point.row)}, {price.shown(point.x)} {price.unit}" for point in points]
    return Drawing(name, dataset, title, " ".join(notes), svg(figure, name, title, {"points": hover}))


def _draw_points(axes: Axes, points: list[Point], look: dict[str, Look]) -> list[str]:
    """Marks and error bars.  Returns the families drawn."""
    table = pd.DataFrame([{"family": point.row.family, "x": point.x, "top1": point.top1} for point in points])
    families = [family for family in look if (table["family"] == family).any()]
    for point in points:
        if point.row.top1_std is not None:
            colour = look[point.row.family].colour
            axes.errorbar([point.x], [point.top1], yerr=[point.row.top1_std], fmt="none", ecolor=colour, elinewidth=1)
    sns.scatterplot(
        table, x="x", y="top1", hue="family", style="family", hue_order=families, style_order=families, ax=axes,
        palette={family: look[family].colour for family in families}, legend=False, s=42, linewidth=0.5, edgecolor=INK,
        markers={family: look[family].marker for family in families}, zorder=3, gid="points",
    )  # fmt: skip
    axes.set_ylabel("top-1 accuracy (%)")
    return families


def _accuracy(row: SummaryRow) -> str:
    spread = f" ± {numbers.fixed(row.top1_std)}" if row.top1_std is not None else ""
    return f"{numbers.fixed(row.top1_mean)}{spread} % ({seeds(row)})"


def _price_axis(axes: Axes, values: list[float], price: Price) -> None:
    label = price.axis
    if max(values) >= LOG_FROM * min(values):
        axes.set_xscale("log")
        decades = math.log10(max(values) / min(values))
        axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)))
        axes.xaxis.set_minor_locator(NullLocator())
        label += ", log scale"
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: price.tick(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.margins(x=0.12, y=0.1)
    axes.set_xlabel(label)


def _legend(figure: Figure, families: list[str], look: dict[str, Look]) -> None:
    handles = [
        Line2D(
            [], [], linestyle="none", marker=look[family].marker, markersize=6, color=look[family].colour,
            markeredgecolor=INK, markeredgewidth=0.5,
            label=numbers.short(family, 24),
        )
        for family in families
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(families)), frameon=False, fontsize=8)


def _label_points(figure: Figure, axes: Axes, points: list[Point]) -> int:
    """Name the points where there is room: the Pareto-optimal first, then the most accurate.  How many are named."""
    figure.draw_without_rendering()
    spots = [axes.transData.transform((point.x, point.top1)) for point in points]
    taken = [Bbox.from_bounds(x - 5, y - 5, 10, 10) for x, y in spots]
    room = Bbox.from_extents(axes.bbox.x0 + 2, axes.bbox.y0, figure.bbox.x1, figure.bbox.y1)
    for point in sorted(points, key=lambda point: (not point.row.pareto, -point.top1))[:MOST_LABELS]:
        for dx, dy, ha, va in LABEL_PLACES:
            text = axes.annotate(
                numbers.short(point.name, 30), (point.x, point.top1), (dx, dy),
                textcoords="offset points", ha=ha, va=va, fontsize=7.5, in_layout=False,
            )  # fmt: skip
            box = text.get_window_extent()
            corners = box.corners()
            if all(room.contains(x, y) for x, y in corners) and not any(box.overlaps(other) for other in taken):
                taken.append(box)
                break
            text.remove()
    return len(taken) - len(points)


def _curves(groups: list[Group], look: dict[str, Look], prefix: str) -> Drawing | None:
    """A panel for each model, the best first: its mean over seeds, and the range of all models behind it."""
    curves = [(name, group.row, _curve(group)) for name, group in zip(names(groups), groups, strict=True)]
    found = [(name, row, curve) for name, row, curve in curves if curve is not None]
    if not found:
        return None
    found.sort(key=lambda item: -(item[1].top1_mean or 0))
    everyone = pd.concat([curve for _, _, curve in found]).groupby(level=0).agg({"low": "min", "high": "max"})
    shown = found[:MOST_CURVES]
    columns = min(4, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = Figure(figsize=(2.25 * columns + 0.4, 1.55 * lines + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for index, (panel, (name, row, curve)) in enumerate(zip(panels, shown, strict=False)):
        colour = look[row.family].colour
        panel.fill_between(everyone.index, everyone["low"], everyone["high"], color=INK, alpha=0.07, linewidth=0)
        panel.fill_between(curve.index, curve["low"], curve["high"], color=colour, alpha=0.35, linewidth=0)
        dot = "o" if len(curve) == 1 else None  # a line needs two epochs
        panel.plot(curve.index, curve["mean"], color=colour, linewidth=1.4, marker=dot, gid=f"curve-{index}")
        panel.set_title(numbers.short(name, 30), fontsize=8)
        panel.text(0.98, 0.06, numbers.fixed(row.top1_mean), transform=panel.transAxes, ha="right", fontsize=8)
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        panel.tick_params(labelbottom=index >= len(shown) - columns, labelsize=8)
    for panel in panels[len(shown) :]:
        panel.set_visible(False)
    panels[0].set_xlim(0, max(1, everyone.index.max()) * 1.03)
    panels[0].set_ylim(*_curve_limits([curve for _, _, curve in found]))
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("test top-1 (%)", fontsize=9)
    title = f"{shown[0][1].dataset}: learning curves"
    left_out = f" The best {len(shown)} of {len(found)} are shown." if len(found) > len(shown) else ""
    caption = (
        "Test accuracy after each epoch. Line: mean over seeds. Coloured band: lowest to highest seed. "
        f"Grey: the range of all models. The number is the last epoch's. Early epochs may lie below the axis.{left_out}"
    )
    hover = {f"curve-{index}": [f"{name}: {_accuracy(row)}"] for index, (name, row, _) in enumerate(shown)}
    return Drawing(
        f"{prefix}-curves", shown[0][1].dataset, title, caption, svg(figure, f"{prefix}-curves", title, hover)
    )


def _curve(group: Group) -> pd.DataFrame | None:
    """Mean, low and high over the done seeds, by epoch; thinned to what a panel can show."""
    epochs = [
        (epoch.epoch, epoch.top1)
        for record in group.records
        if record.status == "done" and record.details.curve
        for epoch in record.details.curve.epochs
    ]
    if not epochs:
        return None
    by_epoch = pd.DataFrame(epochs, columns=["epoch", "top1"]).groupby("epoch")["top1"]
    curve = pd.DataFrame({"mean": by_epoch.mean(), "low": by_epoch.min(), "high": by_epoch.max()})
    step = math.ceil(len(curve) / MOST_EPOCHS)
    return curve.iloc[::-step].iloc[::-1]  # the last epoch is always kept


def _curve_limits(curves: list[pd.DataFrame]) -> tuple[float, float]:
    """The axis that shows the last three quarters of every curve."""
    low = min(curve["low"].iloc[len(curve) // 4 :].min() for curve in curves)
    high = max(curve["high"].max() for curve in curves)
    room = max(high - low, 1.0) * 0.08
    return max(low - room, 0.0 - room), high + room
