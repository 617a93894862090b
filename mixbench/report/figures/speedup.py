"""Speed-up and efficiency of training by several processes, strong and weak scaling, with predictions for more."""

from collections.abc import Callable, Collection, Mapping, Sequence
from statistics import quantiles
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullLocator

from mixbench.report import numbers
from mixbench.report.figures.drawing import Drawing, Scene, blank, drawing, families_of, legend
from mixbench.report.figures.scaling import Line, Quantity, axis, draw, fastest, lines
from mixbench.report.figures.svg import INK, PAGE_INCHES, SMALL, Mark
from mixbench.report.scaling_model import Ring, fit, predict
from mixbench.report.step_times import samples
from mixbench.results.summary import Group
from mixbench.system.words import plural

Predicted = list[list[tuple[int, float]]]
DASHED = (0, (4, 3))
_PERFECT: dict[str, Any] = dict(alpha=0.5, linewidth=0.8, linestyle=":")
_DIFFERING = ("the number of processes alone", "the number of processes, and in the batch with it")  # strong, weak


def strong(scene: Scene) -> Drawing | None:
    """Strong scaling: one batch shared by more processes; None if no model has two world sizes."""
    found = _lines(scene, lambda group: f"batch {group.row.train_batch_size}")
    caption = "The batch stays the same, each process has a smaller share of it (strong scaling)."
    return _drawing(scene, found, False, "speed-up", "speed-up and efficiency against world size", caption)


def weak(scene: Scene) -> Drawing | None:
    """Weak scaling: a batch that grows with the processes; None if no model has two world sizes."""

    def share(group: Group) -> str:
        each = (group.row.train_batch_size or 0) // group.row.world_size
        return f"{plural(each, 'image')} each"

    found = _lines(scene, share, free=["train_batch_size"])
    caption = "Each process has as many images, the batch grows with them (weak scaling); no learning rate is scaled."
    title = "speed-up and efficiency against world size, the batch growing with it"
    return _drawing(scene, found, True, "weak-scaling", title, caption)


def _lines(scene: Scene, fixed: Callable[[Group], str], free: Collection[str] = ()) -> list[Line]:
    return lines(
        scene,
        lambda group: group.row.world_size,
        lambda group: group.row.train_samples_per_sec,
        lambda group: f"{group.row.infer_batch_size} {fixed(group)}",
        free,
    )


def _drawing(scene: Scene, found: list[Line], growing: bool, name: str, title: str, caption: str) -> Drawing | None:
    if not found:
        return None
    found, omitted = fastest(found, scene, _DIFFERING[growing])
    groups = [group for line in found for group in line.groups]
    rings = {
        device: fit([group for group in groups if group.row.device == device])
        for device in dict.fromkeys(group.row.device for group in groups)
    }
    more = [predict(line.groups, rings[line.groups[0].row.device], growing) for line in found]
    xs = {x for line in found for x in line.xs} | {x for points in more for x, _ in points}
    figure = blank(PAGE_INCHES, 3.2)
    left, right = figure.subplots(1, 2)
    left.plot([min(xs), max(xs)], [1, max(xs) / min(xs)], color=INK, **_PERFECT)
    right.axhline(100, color=INK, **_PERFECT)
    faster = Quantity(name, _speed_up, lambda value: f"{value:.2f} times as fast", _spread)
    efficient = Quantity("efficiency", _efficiency, lambda value: f"{value:.0f} % efficient", _spread)
    marks: dict[str, list[Mark]] = {}
    for axes, quantity, label in ((left, faster, "speed-up of training"), (right, efficient, "efficiency (%)")):
        marks |= draw(axes, found, scene, quantity) | _draw_predictions(axes, found, more, scene, quantity)
        axis(axes, xs, "processes")
        axes.set_ylabel(label)
    left.set_yscale("log", base=2)  # as the processes are: a perfect speed-up is a straight line
    left.yaxis.set_minor_locator(NullLocator())
    left.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    right.set_ylim(bottom=0)
    _legend_of_lines(left, predicted=any(more))
    legend(figure, families_of([line.groups[0] for line in found], scene.look), scene.look)
    notes = [caption, *_notes(found), *omitted] + ([_about_predictions(rings, growing)] if any(more) else [])
    return drawing(figure, scene, name, title, notes, marks, wide=True)


def _speed_up(line: Line) -> list[float]:
    return [speed / line.speeds[0] for speed in line.speeds]


def _efficiency(line: Line) -> list[float]:
    """Images per second and process, in percent of that with the fewest processes."""
    return [100 * value * line.xs[0] / x for value, x in zip(_speed_up(line), line.xs, strict=True)]


def _spread(line: Line) -> list[tuple[float, float]]:
    """Low and high end of each speed-up, as a share of that of the medians.

    Low: a slow step against a fast one of the fewest processes; high: a fast one against their slow one.  Slow and fast
    are quartiles of all timed steps.  The speed-up of the fewest processes is 1 by definition, without spread.
    """
    (fast, slow), *others = [_quartiles(group) for group in line.groups]
    return [(1.0, 1.0), *((fast / its_slow, slow / its_fast) for its_fast, its_slow in others)]


def _quartiles(group: Group) -> tuple[float, float]:
    """First and third quartile of all timed training steps, over the median."""
    steps = samples("train", group.records)
    fast, middle, slow = quantiles(steps, n=4, method="inclusive") if len(steps) > 1 else (1.0, 1.0, 1.0)
    return fast / middle, slow / middle


def _draw_predictions(
    axes: Axes, found: Sequence[Line], more: Predicted, scene: Scene, quantity: Quantity
) -> dict[str, list[Mark]]:
    """Draw predictions dashed and hollow, continuing each line from its last row; return their marks by gid."""
    marks = {}
    for index, (line, points) in enumerate(zip(found, more, strict=True)):
        if not points:
            continue
        xs, speeds = [line.xs[0], line.xs[-1]], [line.speeds[0], line.speeds[-1]]
        xs, speeds = xs + [x for x, _ in points], speeds + [speed for _, speed in points]
        ys = quantity.values(Line(line.name, line.family, xs, speeds, line.keys, line.groups))
        look = scene.look[line.family]
        axes.plot(xs[1:], ys[1:], color=look.colour, linewidth=1, linestyle=DASHED)
        for x, y in zip(xs[2:], ys[2:], strict=True):
            gid = f"{quantity.name}-prediction-{index}-{x}"
            axes.scatter([x], [y], s=34, facecolor="none", marker=look.marker, edgecolor=look.colour, zorder=3, gid=gid)
            marks[gid] = [Mark(f"{line.name}, {x}: {quantity.text(y)}, a prediction", line.keys[-1])]
    return marks


def _notes(found: Sequence[Line]) -> list[str]:
    """Sentences that explain the figure, and warn if the number of threads differs between world sizes."""
    notes = [
        "Against the fewest processes of the same model, by training throughput. Dotted: a perfect speed-up. "
        "Colour and shape: the family."
    ]
    if any(low < high for line in found for low, high in _spread(line)):
        notes.append(
            "Bars: from the slow quartile of the timed steps over the fast one of the fewest processes, to the fast "
            "over their slow: the spread of both. The fewest processes are 1 by definition, without a bar."
        )
    for line in found:
        places = [group.records[0].details.environment.get("throughput") for group in line.groups]
        threads = [place.threads for place in places if place and not place.cuda_version]
        if len(set(threads)) > 1:
            each = ", ".join(f"{count} at {x}" for count, x in zip(threads, line.xs, strict=False))
            notes.append(f"Threads of a process differ ({each}): the processes share the cores that one had.")
            break
    return notes


def _about_predictions(rings: Mapping[str, Ring | None], growing: bool) -> str:
    compute = "the same for every process" if growing else "shared among the processes"
    links = []
    for device, ring in rings.items():
        if ring:
            rate = f"{numbers.scaled(1000 / ring.ms_per_byte)}B/s" if ring.ms_per_byte else "too large to measure"
            where = f" on {device}" if len(rings) > 1 else ""
            links.append(f"a = {numbers.step(ring.latency_ms)}, B = {rate}{where}")
    return (
        "Dashed and hollow: a prediction, not a measurement. It takes a step for compute and then an all-reduce. "
        f"Compute is the step of the largest size measured less its all-reduce, {compute}. An all-reduce of g bytes "
        "among P processes is a ring's, 2 (P − 1) (a + g / (P B)), over equal links; a and B are fitted to the "
        f"all-reduces that were timed alone ({'; '.join(links)}). Every process has a GPU or a core of its own; "
        "slower links between nodes, waiting for the slowest process and overlap with compute are not in it."
    )


def _legend_of_lines(axes: Axes, predicted: bool) -> None:
    looks: dict[str, dict[str, Any]] = {
        "measured": dict(marker="o"),
        "prediction": dict(marker="o", markerfacecolor="none", linestyle=DASHED),
    }
    if not predicted:
        del looks["prediction"]
    handles = [Line2D([], [], color=INK, linewidth=1, markersize=5, label=name, **look) for name, look in looks.items()]
    handles.append(Line2D([], [], color=INK, label="perfect", **_PERFECT))
    axes.legend(handles=handles, loc="upper left", frameon=False, fontsize=SMALL)
