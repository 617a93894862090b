"""Scatter plots with a mark for each row: accuracy against a price (MACs, time …), and ours against published."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise, zip_longest
from typing import Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator
from matplotlib.transforms import Bbox

from mixbench.report import numbers
from mixbench.report.figures.drawing import Drawing, Scene, blank, drawing, families_of, fix_layout, left_out, legend
from mixbench.report.figures.svg import COLUMN_INCHES, INK, SMALL, Mark
from mixbench.report.row_names import seeds
from mixbench.report.tradeoffs import front
from mixbench.results.metrics import QUALITY, Metric
from mixbench.results.summary import Group, SummaryRow

WIDE = 8  # if the largest value is this many times the smallest, the axis has the ticks of a log axis, else round ones
BAR_ROOM = 0.6  # how far error bars may extend the y axis, as a share of the means' range
CUT = " The widest extend beyond the edge."
BARS = "Bars: the 95 % interval of the mean over seeds, as in the leaderboard."
MOST_BARS = 60  # of more marks, only those of the Pareto front have bars: others would hide each other
MOST_LABELS = 16  # points labelled in one figure; the names of others appear when pointed at
LABEL_PLACES = [  # offset in points from the mark, and how the text is aligned there
    (7, 0, "left", "center"), (-7, 0, "right", "center"), (0, 6, "center", "bottom"), (0, -6, "center", "top"),
    (5, 5, "left", "bottom"), (5, -5, "left", "top"), (-5, 5, "right", "bottom"), (-5, -5, "right", "top"),
]  # fmt: skip


@dataclass(frozen=True)
class Point:
    """A row of the summary in a scatter plot."""

    name: str
    key: str
    group: Group
    x: float
    quality: float
    interval: float | None
    """Half of the error bar; None without one."""

    @property
    def row(self) -> SummaryRow:
        return self.group.row


def scatter(scene: Scene, price: Metric) -> Drawing | None:
    """Accuracy against a price, with the Pareto front; None if fewer than two rows have both."""
    points = [
        Point(name, key, group, x, group.row.quality, group.row.quality_ci95)
        for group, name, key in scene.rows()
        if group.row.quality is not None and (x := group.value(price))
    ]
    if len(points) < 2:
        return None
    figure = blank(COLUMN_INCHES, 3.2)
    axes = figure.subplots()
    devices = {point.row.device for point in points} if price.of_device else set()
    best = [] if len(devices) > 1 else front([point.group for point in points], price)
    steps = _draw_front(axes, best, price) if best else []
    points = _with_bars(points, best)
    _draw_points(axes, points, scene)
    means = [point.quality for point in points]
    ends = [end for point in points for end in _bar(point, means)]
    axes.set_ylim(*_with_room(min(ends), max(ends)))
    _price_axis(axes, [point.x for point in points], price)
    legend(figure, families_of([point.group for point in points], scene.look), scene.look)
    up, right = "up" if QUALITY.more_is_better else "down", "right" if price.more_is_better else "left"
    notes = [f"Better is {up} and to the {right}."]
    notes.append("Dashed: the Pareto front." if steps else "Several devices: no Pareto front across them.")
    notes += _about_bars(points, means)
    notes += _label_points(figure, axes, points, best, steps)
    notes += left_out(len(points), scene, f"without accuracy or {price.name}")
    whole = numbers.FORMATS[price.quantity].whole
    hover = [
        Mark(f"{point.name}: {accuracy(point.row)}, {whole(point.x)} {price.behind}", point.key) for point in points
    ]
    return drawing(
        figure, scene, price.key, f"accuracy against {price.axis_label}", notes, {"points": hover}
    )  # fmt: skip


def published(scene: Scene) -> Drawing | None:
    """Our accuracy against the published one; None if no row has both."""
    points = [
        Point(name, key, group, group.row.top1_published, group.row.quality, group.row.quality_ci95)
        for group, name, key in scene.rows()
        if group.row.quality is not None and group.row.top1_published is not None
    ]
    if not points:
        return None
    points = _with_bars(points, [])
    figure = blank(COLUMN_INCHES, 3.2)
    axes = figure.subplots()
    means = [value for point in points for value in (point.x, point.quality)]
    ends = [*means, *(end for point in points for end in _bar(point, means))]
    limits = _with_room(min(ends), max(ends))
    axes.plot(limits, limits, color=INK, linewidth=0.8, linestyle=(0, (4, 3)), alpha=0.6)
    _draw_points(axes, points, scene)
    axes.set(xlim=limits, ylim=limits, xlabel=f"published {QUALITY.axis_label}", ylabel=f"our {QUALITY.axis_label}")
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    legend(figure, families_of([point.group for point in points], scene.look), scene.look)
    labelled = _label_points(figure, axes, points)
    hover = [
        Mark(
            f"{point.name}: {accuracy(point.row)}, published {numbers.percent(point.x)} {QUALITY.unit}, "
            f"difference {numbers.apart(point.row)}",
            point.key,
        )
        for point in points
    ]
    notes = ["On the dashed line both agree; above it ours is better."]
    notes += [
        *_about_bars(points, means),
        *labelled,
        *left_out(len(points), scene, "without accuracy or a published one"),
    ]
    return drawing(figure, scene, "published", "ours against published", notes, {"points": hover})


def accuracy(row: SummaryRow) -> str:
    """Mean top-1 with its 95 % interval and number of seeds."""
    return f"{numbers.quality(row)} {QUALITY.unit} ({seeds(row)})"


def _with_bars(points: Sequence[Point], best: Sequence[Group]) -> list[Point]:
    """Return the points, of more than MOST_BARS only those of the rows `best` with their bars."""
    few, kept = len(points) <= MOST_BARS, {id(group) for group in best}
    return [point if few or id(point.group) in kept else replace(point, interval=None) for point in points]


def _about_bars(points: Sequence[Point], means: Sequence[float]) -> list[str]:
    """Sentences on the error bars, if rows have an interval: what they are, which of them are drawn."""
    known = sum(point.row.quality_ci95 is not None for point in points)
    barred = sum(point.interval is not None for point in points)
    said = [BARS + CUT * any(_is_cut(point, means) for point in points)] if barred else []
    if barred < known:
        said.append(f"Bars only on the front: {barred} of {known} marks." if barred else "Too many marks for bars.")
    return said


def _bar(point: Point, means: Sequence[float]) -> tuple[float, float]:
    """Ends of a point's error bar, cut at the figure's edge: with two seeds a bar may be far wider than the rest."""
    room = BAR_ROOM * max(max(means) - min(means), 1.0)
    most = 100.0 if QUALITY.quantity == "percent" else math.inf
    low, high = max(0.0, min(means) - room), min(most, max(means) + room)
    width = point.interval or 0.0
    return max(low, point.quality - width), min(high, point.quality + width)


def _is_cut(point: Point, means: Sequence[float]) -> bool:
    low, high = _bar(point, means)
    return high - low < 2 * (point.interval or 0.0) - 1e-9


def _with_room(low: float, high: float) -> tuple[float, float]:
    room = max(high - low, 0.5) * 0.08
    return low - room, high + room


def _draw_front(axes: Axes, best: Sequence[Group], price: Metric) -> list[tuple[float, float]]:
    """Draw the Pareto front as a step line, and return its corners."""
    steps = sorted((group.value(price) or 0.0, group.row.quality or 0.0) for group in best)
    where: Literal["pre", "post"] = "pre" if price.more_is_better else "post"
    axes.step(*zip(*steps, strict=True), where=where, color=INK, alpha=0.6, linewidth=0.9, linestyle=(0, (4, 3)))
    inner = [
        (before[0], after[1]) if price.more_is_better else (after[0], before[1]) for before, after in pairwise(steps)
    ]
    return [corner for pair in zip_longest(steps, inner) for corner in pair if corner]


def _draw_points(axes: Axes, points: Sequence[Point], scene: Scene) -> None:
    """Draw the marks, and error bars of rows with an interval."""
    table = pd.DataFrame([{"family": point.row.family, "x": point.x, "quality": point.quality} for point in points])
    families, look = families_of([point.group for point in points], scene.look), scene.look
    for family in families:
        spread = [
            (point.x, point.quality, point.interval)
            for point in points
            if point.row.family == family and point.interval is not None
        ]
        if spread:
            xs, ys, errors = zip(*spread, strict=True)
            axes.errorbar(xs, ys, yerr=errors, fmt="none", ecolor=look[family].colour, elinewidth=1)
    size = 42 if len(points) <= MOST_BARS else 24
    sns.scatterplot(
        table, x="x", y="quality", hue="family", style="family", hue_order=families, style_order=families, ax=axes,
        palette={family: look[family].colour for family in families}, legend=False, s=size, linewidth=0.5,
        markers={family: look[family].marker for family in families}, edgecolor=INK, zorder=3, gid="points",
    )  # fmt: skip
    axes.set_ylabel(f"test {QUALITY.axis_label}")


def _price_axis(axes: Axes, values: list[float], price: Metric) -> None:
    written = numbers.FORMATS[price.quantity]
    room = max(1.1, (max(values) / min(values)) ** 0.12)
    low, high = min(values) / room, max(values) * room
    axes.set_xscale("log")
    if max(values) >= WIDE * min(values):
        decades = math.log10(max(values) / min(values))
        inside = [value for value in written.round_values if min(values) / 1.5 <= value <= 1.5 * max(values)]
        fixed = FixedLocator(inside[:: math.ceil(len(inside) / 6)]) if len(inside) > 1 else None
        axes.xaxis.set_major_locator(fixed or LogLocator(subs=(1.0, 2.0, 5.0) if decades < 2.5 else (1.0,)))
    else:
        unit = next((unit for unit in reversed(written.units) if max(values) >= unit), written.units[0])
        round_ones = [tick * unit for tick in MaxNLocator(4, steps=[1, 2, 5, 10]).tick_values(low / unit, high / unit)]
        axes.xaxis.set_major_locator(FixedLocator([tick for tick in round_ones if low <= tick <= high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: written.tick(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(low, high)
    axes.set_xlabel(f"{price.axis_label}, log scale")


def _label_points(
    figure: Figure,
    axes: Axes,
    points: Sequence[Point],
    best: Sequence[Group] = (),
    lines: Sequence[tuple[float, float]] = (),
) -> list[str]:
    """Label points if there is space, those of `best` first, then the most accurate; return a sentence if not all are.

    `lines`: corners of a line of horizontal and vertical segments that labels must not cross.
    """
    fix_layout(figure)
    spans = [(point.x, point.quality + sign * (point.interval or 0.0)) for point in points for sign in (-1, 0, 1)]
    low, spot, high = axes.transData.transform(spans).reshape(-1, 3, 2).swapaxes(0, 1)
    taken = np.concatenate([np.hstack([spot - 5, spot + 5]), np.hstack([low - 1, high + 1])])  # x0 y0 x1 y1
    if len(lines) > 1:
        corners = axes.transData.transform(lines)
        ends = np.stack([corners[:-1], corners[1:]])
        taken = np.concatenate([taken, np.hstack([ends.min(axis=0) - 1, ends.max(axis=0) + 1])])
    room = Bbox.from_extents(axes.bbox.x0 + 2, axes.bbox.y0, figure.bbox.x1 - 3, figure.bbox.y1)
    kept, labelled = {id(group) for group in best}, 0
    for point in sorted(points, key=lambda point: (id(point.group) not in kept, -point.quality))[:MOST_LABELS]:
        for dx, dy, ha, va in LABEL_PLACES:
            text = axes.annotate(
                numbers.middle(point.name, 30), (point.x, point.quality), (dx, dy),
                textcoords="offset points", ha=ha, va=va, fontsize=SMALL, in_layout=False,
            )  # fmt: skip
            box = text.get_window_extent()
            x0, y0, x1, y1 = box.extents
            overlaps = (taken[:, 0] < x1) & (taken[:, 2] > x0) & (taken[:, 1] < y1) & (taken[:, 3] > y0)
            if room.contains(x0, y0) and room.contains(x1, y1) and not overlaps.any():
                taken = np.vstack([taken, box.extents])
                labelled += 1
                break
            text.remove()
    return [f"Labelled: {labelled} of {len(points)} marks."] if labelled < len(points) else []
