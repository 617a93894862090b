"""What all figures share: their file's name and words, their two forms, their legend."""

import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from mixbench.report import numbers
from mixbench.report.figures.svg import INK, Mark, svg
from mixbench.report.row_names import Look
from mixbench.results.summary import Group

PNG_DOTS = 160  # an inch


@dataclass(frozen=True)
class Drawing:
    """One figure: `name` is its files', without the suffix; `section` of the page; `wide` where it scrolls."""

    name: str
    section: str
    dataset: str
    title: str
    caption: str
    svg: str
    figure: Figure
    wide: bool = False

    def png(self) -> bytes:
        """On white, for where an SVG cannot be used."""
        buffer = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # a box stands for it
            self.figure.savefig(buffer, format="png", dpi=PNG_DOTS, facecolor="white", metadata={"Software": None})
        return buffer.getvalue()


@dataclass(frozen=True)
class Scene:
    """The rows tested on the same images with what every figure of them needs: names and keys are in their order."""

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
    """In inches.  A figure of its own: no pyplot, no state that outlives the call."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def drawing(
    figure: Figure,
    scene: Scene,
    name: str,
    section: str,
    title: str,
    notes: Sequence[str],
    marks: Mapping[str, list[Mark]],
    wide: bool = False,
) -> Drawing:
    name, title = f"{scene.prefix}-{name}", f"{scene.dataset}: {title}"
    settle(figure)
    return Drawing(name, section, scene.dataset, title, " ".join(notes), svg(figure, name, title, marks), figure, wide)


def settle(figure: Figure) -> None:
    """Give everything its place, once: it is looked for twice in every drawing else."""
    if isinstance(figure.get_layout_engine(), ConstrainedLayoutEngine):
        figure.draw_without_rendering()
        figure.set_layout_engine("none")


def legend(figure: Figure, families: Sequence[str], look: Mapping[str, Look]) -> None:
    """The families, where there are several."""
    if len(families) < 2:
        return
    handles = [
        Line2D(
            [], [], linestyle="none", marker=look[family].marker, markersize=6, color=look[family].colour,
            markeredgecolor=INK, markeredgewidth=0.5, label=numbers.short(family, 24),
        )
        for family in families
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(families)), frameon=False, fontsize=8)


def families_of(groups: Sequence[Group], look: Mapping[str, Look]) -> list[str]:
    present = {group.row.family for group in groups}
    return [family for family in look if family in present]
