"""All figures of a report: for each dataset, those that have data."""

import warnings
from collections.abc import Callable

import matplotlib

from mixbench.report.figures.curves import curves
from mixbench.report.figures.drawing import Drawing, Scene
from mixbench.report.figures.scaling import batches
from mixbench.report.figures.scatter import published, scatter
from mixbench.report.figures.seeds import strips
from mixbench.report.figures.speedup import strong, weak
from mixbench.report.figures.svg import STYLE
from mixbench.report.row_names import by_images, looks, names
from mixbench.results.metrics import PRICES
from mixbench.results.tables import Tables
from mixbench.system.files import file_name

REST: list[Callable[[Scene], Drawing | None]] = [strips, published, batches, curves, strong, weak]
"""The narrow ones first, since a wide one takes a row of the page's grid for itself."""


def figures(tables: Tables) -> list[Drawing]:
    """Draw all figures, dataset by dataset."""
    look = looks(tables.records)
    drawings: list[Drawing | None] = []
    with matplotlib.rc_context(STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser has the font
        for index, (images, groups) in enumerate(by_images(tables.groups).items(), start=1):
            prefix = f"{index}-{file_name(images)[:60]}"
            scene = Scene(prefix, groups, names(groups), [group.key for group in groups], look)
            drawings += [scatter(scene, price) for price in PRICES if price.drawn]
            drawings += [draw(scene) for draw in REST]
    return [drawing for drawing in drawings if drawing]
