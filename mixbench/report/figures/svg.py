"""Convert a matplotlib figure to SVG text for the page: text in the page's colour, marks that link to their rows."""

import io
import math
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from mixbench.report import numbers

INK = "#010203"  # replaced by the colour of the page's text (currentColor)
SMALL = 8
"""Points of the smallest text in a figure."""
COLUMN_INCHES, PAGE_INCHES = 4.4, 9.4
"""Width of a figure in a column of the page, and of one across it: so narrow that SMALL is legible there."""
_LEGIBLE = 9  # pixels of the smallest text on the page
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_FONTS = "'Helvetica Neue', Helvetica, Arial, 'DejaVu Sans', sans-serif"

STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "mixbench",
    "text.parse_math": False,  # a label may hold a dollar sign
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.7,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": INK,
    "grid.alpha": 0.12,
    "grid.linewidth": 0.6,
}


@dataclass(frozen=True)
class Mark:
    """Text shown when a mark is pointed at, and key of the leaderboard's row that it links to."""

    title: str
    key: str


def svg(figure: Figure, name: str, title: str, marks: Mapping[str, list[Mark]]) -> str:
    """Render a figure as an svg element.

    `name` makes its ids unique in a page.  `marks`: by gid of a group of the figure, a mark for the whole group, or one
    for each shape in it.
    """
    buffer = io.BytesIO()
    with warnings.catch_warnings(), matplotlib.rc_context(STYLE):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser has the font
        figure.savefig(buffer, format="svg")
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    root = ET.fromstring(buffer.getvalue())
    for unwanted in (
        "metadata",
        "defs",
    ):  # the date, different every time, and a style that would apply to all the page
        for child in root.findall(f"{{{_SVG}}}{unwanted}"):
            if unwanted == "metadata" or child.find(f"{{{_SVG}}}style") is not None:
                root.remove(child)
    _name_marks(root, marks)
    for element in root.iter():
        _adapt(element, name)
    _describe(root, name, title, "group" if marks else "img")
    return ET.tostring(root, encoding="unicode") + "\n"


def _name_marks(root: ET.Element, marks: Mapping[str, list[Mark]]) -> None:
    """Wrap each mark in a link to its row, which also makes it reachable by keyboard; a single mark wraps its group."""
    kinds = (f"{{{_SVG}}}use", f"{{{_SVG}}}path")
    for group in list(root.iter(f"{{{_SVG}}}g")):
        of_group = marks.get(group.get("id", ""))
        if of_group is None:
            continue
        if len(of_group) == 1:
            link = _link(of_group[0])
            link.extend(list(group))
            group[:] = [link]
            continue
        defined = {id(shape) for defs in group.iter(f"{{{_SVG}}}defs") for shape in defs.iter()}
        places = [
            (parent, index)
            for parent in group.iter()
            for index, shape in enumerate(parent)
            if shape.tag in kinds and id(shape) not in defined
        ]
        for mark, (parent, index) in zip(of_group, places, strict=True):
            link = _link(mark)
            link.append(parent[index])
            parent[index] = link


def _link(mark: Mark) -> ET.Element:
    link = ET.Element(f"{{{_SVG}}}a", {"href": f"#row-{mark.key}", "data-row": mark.key})
    ET.SubElement(link, f"{{{_SVG}}}title").text = numbers.text(mark.title)
    return link


def _adapt(element: ET.Element, name: str) -> None:
    """Prefix an element's id and references to ids with the figure's name; use the page's colour and fonts."""
    href = f"{{{_XLINK}}}href"
    if "id" in element.attrib:
        element.set("id", f"{name}-{element.get('id')}")
    if element.get(href, "").startswith("#"):
        element.set(href, f"#{name}-{element.get(href, '')[1:]}")
    if "clip-path" in element.attrib:
        element.set("clip-path", element.get("clip-path", "").replace("url(#", f"url(#{name}-"))
    if "style" in element.attrib:
        style = element.get("style", "").replace(INK, "currentColor")
        element.set("style", re.sub(r"'DejaVu Sans'[^;]*", _FONTS, style))


def _describe(root: ET.Element, name: str, title: str, role: str) -> None:
    """Add a title for screen readers, the role, the largest width on the page and the least at which it is legible."""
    title_element = ET.Element(f"{{{_SVG}}}title", {"id": f"{name}-title"})
    title_element.text = numbers.text(title)
    root.insert(0, title_element)
    width = float(root.get("width", "0pt").removesuffix("pt"))
    least = math.ceil(width * _LEGIBLE / SMALL)
    root.set("style", f"--width: {1.45 * width:.0f}px; --least: {least}px")  # one scale for all figures
    root.set("role", role)
    root.set("aria-labelledby", f"{name}-title")
    root.set("stroke-linejoin", "round")
    root.set("stroke-linecap", "butt")
