"""Plot speed against the batch size or the number of processes: lines through rows that differ only in that axis."""

from collections.abc import Callable, Collection
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from mixbench.report import numbers
from mixbench.report.figures.drawing import Drawing, Scene, blank, drawing, families_of, left_out, legend
from mixbench.report.figures.svg import COLUMN_INCHES, INK, Mark
from mixbench.results.metrics import INFERENCE
from mixbench.results.summary import Group
from mixbench.suite.axes import point

MOST_LINES = 24
# Axes in which the rows of a line may differ; `fixed` in `lines` keeps the ones equal that are not plotted.
_ALONG_A_LINE = {"seed", "infer_batch_size", "nodes", "world_size"}


@dataclass(frozen=True)
class Line:
    """One model's speed along the x axis: its rows, in the order of x."""

    name: str
    family: str
    xs: list[int]
    speeds: list[float]
    keys: list[str]
    groups: list[Group]


@dataclass(frozen=True)
class Quantity:
    """A quantity drawn as a line, and the text of its marks.  `spread`: a low and a high share of each value."""

    name: str
    values: Callable[[Line], list[float]]
    text: Callable[[float], str]
    spread: Callable[[Line], list[tuple[float, float]]] | None = None


def batches(scene: Scene) -> Drawing | None:
    """Plot inference throughput against the batch size; None if no model has two batch sizes."""
    found = lines(
        scene,
        lambda group: group.row.infer_batch_size,
        lambda group: group.row.infer_samples_per_sec,
        lambda group: f"{group.row.nodes} {group.row.world_size}",
    )
    if not found:
        return None
    found, omitted = fastest(found, scene, "the batch size alone")
    figure = blank(COLUMN_INCHES, 3.2)
    axes = figure.subplots()
    marks = draw(axes, found, scene, Quantity("batch", lambda line: line.speeds, _images))
    axis(axes, {x for line in found for x in line.xs}, "batch size")
    axes.set_ylabel(INFERENCE.axis_label)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.rate_tick(value)))
    legend(figure, families_of([line.groups[0] for line in found], scene.look), scene.look)
    notes = [
        "Median over the trials of a row. Colour and shape: the family. Point at a mark to read its name.",
        *omitted,
    ]
    return drawing(figure, scene, "batches", "throughput against batch size", notes, marks)


def _images(value: float) -> str:
    return f"{numbers.rate(value)} {INFERENCE.unit}"


def lines(
    scene: Scene,
    axis: Callable[[Group], int | None],
    speed: Callable[[Group], float | None],
    fixed: Callable[[Group], str],
    free: Collection[str] = (),
) -> list[Line]:
    """Return a line for each set of rows that differ only in `axis`, the fastest first.

    `fixed`: returns a text that must be equal too; `free`: further axes in which the rows may differ.
    """
    found: dict[str, dict[int, tuple[float, str, Group]]] = {}
    for group, _, key in scene.rows():
        x, value = axis(group), speed(group)
        if x and value:
            shared = point(group.records[0].details.trial, but={*_ALONG_A_LINE, *free})
            shared += f" {group.row.label} {group.row.device} {fixed(group)}"
            found.setdefault(shared, {})[x] = (value, key, group)
    made = []
    for points in found.values():
        xs = sorted(points)
        row = points[xs[0]][2].row
        if len(xs) > 1:
            speeds, keys, groups = zip(*(points[x] for x in xs), strict=True)
            made.append(Line(row.label, row.family, xs, list(speeds), list(keys), list(groups)))
    return sorted(made, key=lambda line: -max(line.speeds))


def fastest(found: list[Line], scene: Scene, what: str) -> tuple[list[Line], list[str]]:
    """Return the lines that are drawn, and sentences on what is not.  `what`: in what the rows of a line differ."""
    notes = [f"Fastest {MOST_LINES} of {len(found)} models shown."] if len(found) > MOST_LINES else []
    joined = sum(len(line.keys) for line in found)
    return found[:MOST_LINES], notes + left_out(joined, scene, f"on no line: it joins rows that differ in {what}")


def draw(axes: Axes, found: list[Line], scene: Scene, quantity: Quantity) -> dict[str, list[Mark]]:
    """Draw the lines with a mark at each row.  Returns each mark's text and row key, by the mark's id."""
    marks = {}
    for index, line in enumerate(found):
        look, ys, gid = scene.look[line.family], quantity.values(line), f"{quantity.name}-{index}"
        axes.plot(line.xs, ys, color=look.colour, linewidth=1.2)
        spread = quantity.spread(line) if quantity.spread else [(1.0, 1.0)] * len(ys)
        for at, (x, y, (low, high)) in enumerate(zip(line.xs, ys, spread, strict=True)):
            text = f"{line.name}, {x}: {quantity.text(y)}"
            if low < high:
                axes.errorbar([x], [y], [[y - y * low], [y * high - y]], color=look.colour, linewidth=1, capsize=3)
                text += f"; quartiles {quantity.text(y * low)}, {quantity.text(y * high)}"
            axes.scatter(
                [x], [y], s=34, color=look.colour, marker=look.marker, linewidth=0.4, edgecolor=INK, zorder=3,
                gid=f"{gid}-{at}",
            )  # fmt: skip
            marks[f"{gid}-{at}"] = [Mark(text, line.keys[at])]
    return marks


def axis(axes: Axes, ticks: set[int], label: str) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel(label)
