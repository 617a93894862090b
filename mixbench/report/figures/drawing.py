"""Shared by all figures: a finished figure with its texts, as SVG and PNG; the rows to draw; the legend."""

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from mixbench.report import numbers
from mixbench.report.figures.svg import INK, SMALL, Mark, svg
from mixbench.report.row_names import Look
from mixbench.results.summary import Group
from mixbench.system.words import plural

PNG_DOTS = 160  # an inch


@dataclass(frozen=True)
class Drawing:
    """A finished figure.  `name`: of its files, without suffix; `wide`: goes across the page."""

    name: str
    dataset: str
    title: str
    caption: str
    svg: str
    figure: Figure
    wide: bool = False

    def png(self) -> bytes:
        """The figure as PNG on white, for programs that cannot show SVG."""
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # drawn as a box
            self.figure.savefig(buffer, format="png", dpi=PNG_DOTS, facecolor="white", metadata={"Software": None})
        return buffer.getvalue()


@dataclass(frozen=True)
class Scene:
    """The rows tested on the same images, for all their figures: `names` and `keys` are in the order of `groups`."""

    prefix: str
    groups: list[Group]
    names: list[str]
    keys: list[str]
    look: Mapping[str, Look]

    @property
    def dataset(self) -> str:
        return self.groups[0].row.images

    def rows(self) -> list[tuple[Group, str, str]]:
        return list(zip(self.groups, self.names, self.keys, strict=True))


def blank(width: float, height: float) -> Figure:
    """Create an empty figure, sizes in inches, without pyplot and its global state."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def drawing(
    figure: Figure,
    scene: Scene,
    name: str,
    title: str,
    notes: Sequence[str],
    marks: Mapping[str, list[Mark]],
    wide: bool = False,
) -> Drawing:
    """Finish a figure: fix its layout and render it as SVG, in which `marks` can be pointed at."""
    name, title = f"{scene.prefix}-{name}", f"{scene.dataset}: {title}"
    fix_layout(figure)
    return Drawing(name, scene.dataset, title, " ".join(notes), svg(figure, name, title, marks), figure, wide)


def fix_layout(figure: Figure) -> None:
    """Compute the layout once and keep it: otherwise every rendering computes it twice."""
    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def legend(figure: Figure, families: Sequence[str], look: Mapping[str, Look]) -> None:
    """Add a legend of the families below the figure, which grows by its height, if there are several."""
    if len(families) < 2:
        return
    handles = [
        Line2D(
            [], [], linestyle="none", marker=look[family].marker, markersize=6, color=look[family].colour,
            markeredgecolor=INK, markeredgewidth=0.5, label=numbers.short(family, 24),
        )
        for family in families
    ]  # fmt: skip
    for columns in range(min(4, len(families)), 0, -1):
        added = figure.legend(
            handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=SMALL
        )  # fmt: skip
        box = added.get_window_extent()
        if box.width <= figure.bbox.width or columns == 1:
            break
        added.remove()
    figure.set_figheight(figure.get_figheight() + box.height / figure.dpi)


def left_out(shown: int, scene: Scene, why: str) -> list[str]:
    """Return a sentence on the rows of the scene that a figure does not show, if there are any."""
    rows = len(scene.groups)
    return [f"Left out: {rows - shown} of {plural(rows, 'row')}, {why}."] if shown < rows else []


def families_of(groups: Sequence[Group], look: Mapping[str, Look]) -> list[str]:
    """Families of these rows, in the order of `look`."""
    present = {group.row.family for group in groups}
    return [family for family in look if family in present]
