"""Learning curves: a panel for each model."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from matplotlib.ticker import MaxNLocator

from mixbench.report import numbers
from mixbench.report.figures.drawing import Drawing, Scene, blank, drawing, left_out
from mixbench.report.figures.scatter import accuracy
from mixbench.report.figures.svg import INK, PAGE_INCHES, SMALL, Mark
from mixbench.results.metrics import QUALITY
from mixbench.results.summary import Group
from mixbench.run.parts import Epoch

MOST_CURVES = 24
MOST_EPOCHS = 120  # points drawn of one curve


@dataclass(frozen=True)
class Curve:
    """Quality by epoch: mean, lowest and highest over the seeds."""

    epochs: list[int]
    mean: list[float]
    low: list[float]
    high: list[float]

    def thinned(self) -> "Curve":
        """Keep at most MOST_EPOCHS epochs, always including the last."""
        step = math.ceil(len(self.epochs) / MOST_EPOCHS)
        keep = slice((len(self.epochs) - 1) % step, None, step)
        return Curve(self.epochs[keep], self.mean[keep], self.low[keep], self.high[keep])


def curves(scene: Scene) -> Drawing | None:
    """A panel for each model, the most accurate first: its mean over seeds, and behind it the range of all models."""
    drawn = [(name, key, group.row, _curve(_epochs(group))) for group, name, key in scene.rows()]
    found = [(name, key, row, curve) for name, key, row, curve in drawn if curve is not None]
    if not found:
        return None
    found.sort(key=lambda item: QUALITY.cost(item[2].quality))
    far = _range([epochs for group in scene.groups for epochs in _epochs(group)]).thinned()
    shown = found[:MOST_CURVES]
    columns = min(4, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure = blank((PAGE_INCHES - 0.4) / 4 * columns + 0.4, 1.55 * lines + 0.4)
    panels = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
    panels[0].set_xlim(0, max(1, far.epochs[-1]) * 1.03)
    panels[0].set_ylim(*_curve_limits([curve for *_, curve in found]))
    for panel in panels:
        panel.set_autoscale_on(False)  # shared axes: autoscaling one panel would go through all of them each time
    for index, (panel, (name, _, row, curve)) in enumerate(zip(panels, shown, strict=False)):
        colour = scene.look[row.family].colour
        panel.set_gid(f"panel-{index}")
        near = curve.thinned()
        panel.fill_between(far.epochs, far.low, far.high, color=INK, alpha=0.07, linewidth=0)
        panel.fill_between(near.epochs, near.low, near.high, color=colour, alpha=0.35, linewidth=0)
        dot = "o" if len(near.epochs) == 1 else None  # a line needs two epochs
        panel.plot(near.epochs, near.mean, color=colour, linewidth=1.4, marker=dot, gid=f"curve-{index}")
        panel.set_title(numbers.middle(name, 30), fontsize=SMALL)
        panel.text(0.98, 0.06, numbers.quality(row), transform=panel.transAxes, ha="right", fontsize=SMALL)
        panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        panel.tick_params(labelbottom=index >= len(shown) - columns, labelsize=SMALL)
    for panel in panels[len(shown) :]:
        panel.set_visible(False)
    figure.supxlabel("epoch", fontsize=9)
    figure.supylabel(f"test {QUALITY.axis_label}", fontsize=9)
    notes = [
        "Test accuracy by epoch. Line: mean over seeds. Coloured band: lowest to highest seed. "
        "Grey: the range of all models. The number is the last epoch's mean "
        "with its 95 % interval. Early epochs may lie below the axis."
    ]
    if len(found) > len(shown):
        notes.append(f"Most accurate {len(shown)} of {len(found)} rows shown.")
    notes += left_out(len(found), scene, "without a curve")
    marks = {
        f"panel-{index}": [Mark(f"{name}: {accuracy(row)}", key)] for index, (name, key, row, _) in enumerate(shown)
    }
    return drawing(figure, scene, "curves", "learning curves", notes, marks, wide=True)


def _curve(tops: Iterable[Sequence[Epoch]]) -> Curve | None:
    """Mean, lowest and highest of all curves, by epoch; None without any."""
    by_epoch: dict[int, list[float]] = {}
    for epochs in tops:
        for epoch in epochs:
            by_epoch.setdefault(epoch.epoch, []).append(QUALITY.of(epoch))
    if not by_epoch:
        return None
    values = [by_epoch[epoch] for epoch in sorted(by_epoch)]
    return Curve(sorted(by_epoch), [fmean(each) for each in values], list(map(min, values)), list(map(max, values)))


def _range(tops: Sequence[Sequence[Epoch]]) -> Curve:
    """Mean and range of all curves, interpolated linearly, since they may be evaluated after different epochs."""
    at = sorted({epoch.epoch for epochs in tops for epoch in epochs})
    points = [([epoch.epoch for epoch in epochs], [QUALITY.of(epoch) for epoch in epochs]) for epochs in tops if epochs]
    lines = [np.interp(at, xs, ys, left=np.nan, right=np.nan) for xs, ys in points]
    return Curve(at, *(of(lines, axis=0).tolist() for of in (np.nanmean, np.nanmin, np.nanmax)))


def _epochs(group: Group) -> list[Sequence[Epoch]]:
    """Learning curves of the trials that are done."""
    return [r.details.curve.epochs for r in group.records if r.status == "done" and r.details.curve]


def _curve_limits(curves: list[Curve]) -> tuple[float, float]:
    """Limits of the y axis that show the last three quarters of every curve."""
    low = min(min(curve.low[len(curve.low) // 4 :]) for curve in curves)
    high = max(max(curve.high) for curve in curves)
    room = max(high - low, 1.0) * 0.08
    return max(low - room, 0.0 - room), high + room
