"""Learning curves: a panel for each model."""

import math

import pandas as pd
from matplotlib.ticker import MaxNLocator

from mixbench.report import numbers
from mixbench.report.drawing import Drawing, Scene, blank, drawing
from mixbench.report.scatter import accuracy
from mixbench.report.svg import INK, Mark
from mixbench.summary import Group

MOST_CURVES = 48
MOST_EPOCHS = 120  # points drawn of one curve


def curves(scene: Scene) -> Drawing | None:
    """A panel for each model, the best first: its mean over seeds, and the range of all models behind it."""
    drawn = [(name, key, group.row, _curve(group)) for group, name, key in scene.rows()]
    found = [(name, key, row, curve) for name, key, row, curve in drawn if curve is not None]
    if not found:
        return None
    found.sort(key=lambda item: -(item[2].top1_mean or 0))
    everyone = pd.concat([curve for *_, curve in found]).groupby(level=0).agg({"low": "min", "high": "max"})
    shown = found[:MOST_CURVES]
    columns = min(4, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = blank(2.25 * columns + 0.4, 1.55 * lines + 0.4)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    for index, (panel, (name, _, row, curve)) in enumerate(zip(panels, shown, strict=False)):
        colour = scene.look[row.family].colour
        panel.set_gid(f"panel-{index}")
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
    panels[0].set_ylim(*_curve_limits([curve for *_, curve in found]))
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel("test top-1 (%)", fontsize=9)
    notes = [
        "Test accuracy after each epoch. Line: mean over seeds. Coloured band: lowest to highest seed. "
        "Grey: the range of all models. The number is the last epoch's. Early epochs may lie below the axis."
    ]
    if len(found) > len(shown):
        notes.append(f"The best {len(shown)} of {len(found)} are shown.")
    marks = {
        f"panel-{index}": [Mark(f"{name}: {accuracy(row)}", key)] for index, (name, key, row, _) in enumerate(shown)
    }
    return drawing(figure, scene, "curves", "curves", "learning curves", notes, marks, wide=True)


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
