"""Looks of the families and of all that figures draw: seen on either theme, and by the colour-blind."""

import re
from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb, to_rgba_array
from matplotlib.figure import Figure
from numpy.typing import NDArray

from mixbench.report.figures.all import figures
from mixbench.report.figures.drawing import Drawing
from mixbench.report.figures.svg import INK
from mixbench.report.row_names import LOOKS
from mixbench.results.tables import tables
from mixbench.system.content import content
from tests.fake_runs import RECIPE, done, full_run, trial
from tests.test_scaling import measured, of, sized

FAMILIES = 33  # of a run of the whole zoo
ALIKE = 20.0  # distance in CIELAB (CIE 1976) below which the colours of two small marks may be taken for the same
# Deuteranopia, on linear RGB: Machado, Oliveira and Fernandes 2009, doi:10.1109/TVCG.2009.113, severity 1.0
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.119192, 0.9503041]]
)
SEEN = 3.0  # WCAG 2.1, success criterion 1.4.11
STYLE = (content("reports") / "style.css").read_text(encoding="utf-8")
PAPERS, INKS = (re.search(rf"--{name}: light-dark\((#\w+), (#\w+)\)", STYLE) for name in ("paper", "ink"))
assert PAPERS and INKS
THEMES = dict(zip(("light", "dark"), zip(PAPERS.groups(), INKS.groups(), strict=True), strict=True))

Colour = str | NDArray[np.float64]


def linear(colour: Colour) -> NDArray[np.float64]:
    coded: NDArray[np.float64] = np.asarray(to_rgb(colour))  # type: ignore[arg-type]
    return np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)


def contrast(colour: Colour, ground: Colour) -> float:
    """Ratio of WCAG 2.1, with the weights of the luminance that it gives."""
    dark, light = sorted(float(linear(each) @ [0.2126, 0.7152, 0.0722]) for each in (colour, ground))
    return (light + 0.05) / (dark + 0.05)


def lab(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """CIELAB of linear RGB, white D65."""
    share = TO_XYZ @ light.clip(0, 1) / TO_XYZ.sum(axis=1)
    x, y, z = np.where(share > 216 / 24389, np.cbrt(share), (24389 / 27 * share + 16) / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def apart(one: str, other: str) -> float:
    """Distance of two colours to a person with deuteranopia."""
    return float(np.linalg.norm(lab(DEUTERANOPIA @ linear(one)) - lab(DEUTERANOPIA @ linear(other))))


def test_families_are_told_apart_by_shape_where_a_colour_blind_eye_takes_two_colours_for_the_same() -> None:
    red = (DEUTERANOPIA @ linear("#ff0000")).clip(0)
    assert np.allclose(red, linear("#a39000"), atol=0.005), "as published simulations show it"
    alike = [
        (one, other) for one, other in combinations(LOOKS[:FAMILIES], 2) if apart(one.colour, other.colour) < ALIKE
    ]
    assert alike, "of ten colours some are alike to such an eye"
    assert [(one, other) for one, other in alike if one.marker == other.marker] == []


def test_no_two_families_look_the_same_and_neighbours_differ_in_both() -> None:
    assert len(set(LOOKS)) == len(LOOKS) >= 2 * FAMILIES
    assert all(one.colour != other.colour and one.marker != other.marker for one, other in pairwise(LOOKS))


@pytest.fixture(scope="module")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> list[Drawing]:
    """Every kind of figure."""
    folder = tmp_path_factory.mktemp("runs")
    recipes = [RECIPE.model_copy(update={"epochs": epochs}) for epochs in (1, 25)]
    trials = [trial(infer_batch_size=batch, recipe=each) for batch in (64, 256) for each in recipes]
    found = [
        tables(full_run(folder / "full")),
        of(folder / "batches", [done(each, 90.0) for each in trials]),
        of(folder / "scaling", [measured(sized(processes, 64), spread=0.05) for processes in (1, 2, 4)]),
    ]
    drawn = [drawing for each in found for drawing in figures(each)]
    assert {drawing.name.split("-", 2)[2] for drawing in drawn} >= {
        "params",
        "curves",
        "seeds",
        "batches",
        "speed-up",
    }
    return drawn


@pytest.mark.parametrize("theme", THEMES)
def test_all_that_is_drawn_stands_out_from_the_page(drawings: list[Drawing], theme: str) -> None:
    assert min(contrast(look.colour, THEMES[theme][0]) for look in LOOKS) >= SEEN
    paper, ink = (np.asarray(to_rgb(each)) for each in THEMES[theme])
    for drawing in drawings:
        for colour in strokes(drawing.figure):
            shown = ink if np.allclose(colour[:3], to_rgb(INK)) else colour[:3]
            assert contrast(shown * colour[3] + paper * (1 - colour[3]), paper) >= SEEN, (drawing.name, colour)


def strokes(figure: Figure) -> Iterator[NDArray[np.float64]]:
    """Colours (RGBA) of lines, error bars and marks; not of grids and bands, which are grounds."""
    for axes in figure.axes:
        for line in axes.lines:
            yield from to_rgba_array(line.get_color(), line.get_alpha())
        for drawn in axes.collections:
            if type(drawn).__name__ == "LineCollection":
                yield from drawn.get_edgecolor()  # type: ignore[misc]
            elif type(drawn).__name__ == "PathCollection":
                filled = drawn.get_facecolor()
                yield from filled if len(filled) else drawn.get_edgecolor()  # type: ignore[misc]
