"""Speed where a suite varies the batch or the number of processes: a line for each model."""

from collections.abc import Callable
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from mixbench.report import numbers
from mixbench.report.drawing import Drawing, Scene, blank, drawing, families_of, legend
from mixbench.report.svg import INK, Mark
from mixbench.summary import Group

MOST_LINES = 24
# What tells trials apart but the two axes, their ids, and what changes with the world size.
_NOT_IN_A_LINE = {"id", "suite", "seed", "measure", "plugins", "infer_batch_size", "nodes", "processes_per_node"}


@dataclass(frozen=True)
class Line:
    """One model's speed over the axis: the rows in the axis's order."""

    name: str
    family: str
    xs: list[int]
    speeds: list[float]
    keys: list[str]


def batches(scene: Scene) -> Drawing | None:
    """Inference throughput against the batch size; None where no model has two."""
    lines = _lines(
        scene,
        lambda group: group.row.infer_batch_size,
        lambda group: group.row.infer_samples_per_sec,
        lambda group: f"{group.row.nodes} {group.row.world_size}",
    )
    if not lines:
        return None
    figure = blank(4.5, 3.7)
    axes = figure.subplots()
    marks = _draw(axes, lines, scene, lambda line: line.speeds, "batch", _images)
    _axis(axes, lines, "batch size")
    axes.set_ylabel("inference throughput (images/s)")
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: numbers.rate_tick(value)))
    legend(figure, families_of(scene.groups, scene.look), scene.look)
    notes = ["Median over the trials of a row. Point at a mark to read its name."]
    return drawing(figure, scene, "batches", "figures", "throughput against batch size", notes, marks)


def speed_up(scene: Scene) -> Drawing | None:
    """Training throughput over that of the fewest processes, and that over their number; None where it is one."""
    lines = _lines(
        scene,
        lambda group: group.row.world_size,
        lambda group: group.row.train_samples_per_sec,
        lambda group: str(group.row.infer_batch_size),
    )
    if not lines:
        return None
    figure = blank(9.4, 3.7)
    left, right = figure.subplots(1, 2)
    ends = [min(x for line in lines for x in line.xs), max(x for line in lines for x in line.xs)]
    left.plot(ends, [1, ends[1] / ends[0]], color=INK, alpha=0.5, linewidth=0.8, linestyle=(0, (4, 3)))
    right.axhline(100, color=INK, alpha=0.5, linewidth=0.8, linestyle=(0, (4, 3)))
    marks = _draw(left, lines, scene, _speed_up, "speed-up", lambda value: f"{value:.2f} times as fast")
    marks |= _draw(right, lines, scene, _efficiency, "efficiency", lambda value: f"{value:.0f} % efficient")
    for axes, label in ((left, "speed-up of training"), (right, "efficiency (%)")):
        _axis(axes, lines, "processes")
        axes.set_ylabel(label)
        axes.set_ylim(bottom=0)
    legend(figure, families_of(scene.groups, scene.look), scene.look)
    notes = ["Against the fewest processes of the same model, by training throughput. Dashed: a perfect speed-up."]
    return drawing(
        figure, scene, "speed-up", "figures", "speed-up and efficiency against world size", notes, marks, wide=True
    )  # fmt: skip


def _speed_up(line: Line) -> list[float]:
    return [speed / line.speeds[0] for speed in line.speeds]


def _efficiency(line: Line) -> list[float]:
    return [100 * value * line.xs[0] / x for value, x in zip(_speed_up(line), line.xs, strict=True)]


def _images(value: float) -> str:
    return f"{numbers.rate(value)} images/s"


def _lines(
    scene: Scene,
    axis: Callable[[Group], int | None],
    speed: Callable[[Group], float | None],
    fixed: Callable[[Group], str],
) -> list[Line]:
    """A line for each set of rows that differ in the axis alone; `fixed` is what else must be the same."""
    found: dict[str, dict[int, tuple[float, str, Group]]] = {}
    for group, _, key in scene.rows():
        x, value = axis(group), speed(group)
        if x and value:
            trial = group.records[0].details.trial
            alike = f"{trial.model_dump_json(exclude=_NOT_IN_A_LINE)} {group.row.device} {fixed(group)}"
            found.setdefault(alike, {})[x] = (value, key, group)
    lines = []
    for points in found.values():
        xs = sorted(points)
        row = points[xs[0]][2].row
        if len(xs) > 1:
            lines.append(Line(row.label, row.family, xs, [points[x][0] for x in xs], [points[x][1] for x in xs]))
    return sorted(lines, key=lambda line: -max(line.speeds))[:MOST_LINES]


def _draw(
    axes: Axes,
    lines: list[Line],
    scene: Scene,
    values: Callable[[Line], list[float]],
    name: str,
    shown: Callable[[float], str],
) -> dict[str, list[Mark]]:
    """The lines with a mark at each row.  Returns what each mark says, by the id of its line's marks."""
    marks = {}
    for index, line in enumerate(lines):
        look, ys, gid = scene.look[line.family], values(line), f"{name}-{index}"
        axes.plot(line.xs, ys, color=look.colour, linewidth=1.2, alpha=0.7)
        for at, (x, y) in enumerate(zip(line.xs, ys, strict=True)):
            axes.scatter(
                [x], [y], s=34, color=look.colour, marker=look.marker, linewidth=0.4, edgecolor=INK, zorder=3,
                gid=f"{gid}-{at}",
            )  # fmt: skip
            marks[f"{gid}-{at}"] = [Mark(f"{line.name}, {x}: {shown(y)}", line.keys[at])]
    return marks


def _axis(axes: Axes, lines: list[Line], label: str) -> None:
    ticks = sorted({x for line in lines for x in line.xs})
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set_xlabel(label)
