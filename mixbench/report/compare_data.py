"""Data for the page's script on two rows on the same images, to set them side by side when both are selected."""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from mixbench.report import numbers
from mixbench.report.evidence import MOST_PAIRED, Evidence, OfImages
from mixbench.report.leaderboard import Board
from mixbench.report.leaderboard_columns import Line
from mixbench.report.step_times import Kind, samples
from mixbench.results.comparisons import Comparisons
from mixbench.results.mistakes import mean_overlap
from mixbench.suite.axes import AXES

MOST_STEPS = 60  # of a row's step times; of more, as many quantiles
MOST_IMAGES = 10  # test images named for a pair
STEPS: dict[str, Kind] = {"inference step": "infer", "training step": "train"}
[RECIPE] = [axis for axis in AXES if axis.name == "recipe"]


def compare_data(board: Board, compared: Comparisons, found: Mapping[str, Evidence]) -> dict[str, Any]:
    """Return `sides`, facts of each of the board's rows, and `pairs`, of every two on the same images: "0 3" in order.

    `classes`: names of the classes, where they are not numbers, by images.  Above MOST_PAIRED rows on the same
    images pairs grow quadratically: these have none, and their rows no steps and no accuracy by class.
    """
    rows = Counter(line.row.images for line in board.lines)
    few = [line.row.images for line in board.lines if rows[line.row.images] <= MOST_PAIRED]
    recipes = [RECIPE.parts(line.group.records[0].details.trial) for line in board.lines]
    differing = [key for key in dict.fromkeys(key for each in recipes for key in each) if _differ(recipes, key)]
    sides = []
    for line, recipe in zip(board.lines, recipes, strict=True):
        side: dict[str, Any] = {
            "recipe": {key: numbers.short(recipe[key], 80) for key in differing if key in recipe},
        }
        sides.append(side | (_side(line, found.get(line.key)) if line.row.images in few else {}))
    return {
        "classes": {
            line.row.images: found[line.key].classes
            for line in board.lines
            if line.key in found and line.row.images in few and line.group.records[0].details.trial.data.class_images
        },
        "sides": sides,
        "pairs": {
            f"{i} {j}": _pair(a, b, compared, found)
            for (i, a), (j, b) in combinations(enumerate(board.lines), 2)
            if a.row.images == b.row.images and a.row.images in few
        },
    }


def _differ(recipes: Sequence[Mapping[str, str]], key: str) -> bool:
    return len({each.get(key) for each in recipes}) > 1


def _side(line: Line, evidence: Evidence | None) -> dict[str, Any]:
    steps = {name: _thinned(samples(kind, line.group.records)) for name, kind in STEPS.items()}
    facts: dict[str, Any] = {"steps": {name: values for name, values in steps.items() if values}}
    if evidence is not None:
        facts["byClass"] = [None if np.isnan(each) else round(float(each), 2) for each in evidence.top1_by_class]
        facts["ece"] = round(100 * evidence.calibration_error, 4)
        facts["nll"] = round(evidence.likelihood, 4)
        facts["predicted"] = evidence.seeds
    return facts


def _thinned(steps: Sequence[float]) -> list[float]:
    if len(steps) > MOST_STEPS:
        steps = np.quantile(steps, (np.arange(MOST_STEPS) + 0.5) / MOST_STEPS).tolist()
    return [float(f"{each:.4g}") for each in sorted(steps)]


def _pair(a: Line, b: Line, compared: Comparisons, found: Mapping[str, Evidence]) -> dict[str, Any]:
    """Return what their verdict counts, and how their predictions overlap, as far as there are any."""
    facts: dict[str, Any] = {}
    if a.row.quality is not None and b.row.quality is not None:
        verdict = compared.of(a.group, b.group).verdict
        facts |= {"basis": verdict.basis, "note": numbers.short(verdict.note, 200)}
    one, other = (found[line.key].of_images if line.key in found else None for line in (a, b))
    if one is not None and other is not None and np.array_equal(one.labels, other.labels):
        overlap = mean_overlap(one.labels, one.predicted, other.predicted)
        facts["overlap"] = {name: round(count, 1) for name, count in vars(overlap).items()}
        facts["images"] = _furthest_apart(one, other)
    return facts


def _furthest_apart(a: OfImages, b: OfImages) -> list[list[float]]:
    """Return [place in the test set, true class, its probability by a, by b] where these differ most."""
    apart = np.abs(a.label_probability - b.label_probability)
    some = np.argpartition(-apart, min(MOST_IMAGES, len(apart)) - 1)[:MOST_IMAGES]
    return [
        [int(at), int(a.labels[at]), round(float(a.label_probability[at]), 3), round(float(b.label_probability[at]), 3)]
        for at in some[np.argsort(-apart[some], kind="stable")]
    ]
