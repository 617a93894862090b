"""Strip plot of the top-1 of every seed, a line for each model: shows differences beside the spread over seeds."""

from matplotlib.ticker import MaxNLocator

from mixbench.report import numbers
from mixbench.report.figures.drawing import Drawing, Scene, blank, drawing, left_out
from mixbench.report.figures.scatter import accuracy
from mixbench.report.figures.svg import COLUMN_INCHES, INK, SMALL, Mark
from mixbench.results.metrics import QUALITY

MOST_STRIPS = 40


def strips(scene: Scene) -> Drawing | None:
    """A line for each model, the most accurate on top; None if no row has two seeds."""
    found = [
        (group, name, key, numbers.finite([QUALITY.of(r) for r in group.records if r.status == "done"]))
        for group, name, key in scene.rows()
        if group.row.quality is not None
    ]
    if not any(len(values) > 1 for *_, values in found):
        return None
    found.sort(key=lambda item: QUALITY.cost(item[0].row.quality))
    shown = found[:MOST_STRIPS]
    figure = blank(COLUMN_INCHES, 0.9 + 0.24 * len(shown))
    axes = figure.subplots()
    for index, (group, _, _, values) in enumerate(shown):
        look = scene.look[group.row.family]
        axes.scatter(
            values, [index] * len(values), s=30, color=look.colour, marker=look.marker, linewidth=0.4,
            edgecolor=INK, gid=f"strip-{index}", zorder=3,
        )  # fmt: skip
        axes.plot([group.row.quality or 0.0] * 2, [index - 0.36, index + 0.36], color=INK, linewidth=1.2, zorder=2)
    axes.set_yticks(range(len(shown)), [numbers.middle(name, 26) for _, name, _, _ in shown], fontsize=SMALL)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.margins(x=0.06)
    axes.set_xlabel(f"test {QUALITY.axis_label}")
    notes = ["A mark for each seed, a bar at their mean; the most accurate model on top."]
    if len(found) > len(shown):
        notes.append(f"Most accurate {len(shown)} of {len(found)} rows shown.")
    notes += left_out(len(found), scene, "without accuracy")
    marks = {
        f"strip-{index}": [Mark(f"{name}: {accuracy(group.row)}; seeds {', '.join(map(numbers.fixed, values))}", key)]
        for index, (group, name, key, values) in enumerate(shown)
    }
    return drawing(figure, scene, "seeds", "every seed", notes, marks)
