"""A matplotlib figure as SVG text that fits any page: its text takes the page's colour, its points have names."""

import io
import re
import warnings
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from mixbench.report import numbers

INK = "#010203"  # drawn in this colour, shown in the colour of the text around
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
    """What a mark says when it is pointed at, and the row of the leaderboard that it links to."""

    title: str
    key: str


def svg(figure: Figure, name: str, title: str, marks: Mapping[str, list[Mark]]) -> str:
    """`name` makes the ids unique in a page; `marks` names a group (by its gid), or each mark in it, to hover for."""
    buffer = io.BytesIO()
    with warnings.catch_warnings(), matplotlib.rc_context(STYLE):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the browser has the font
        figure.savefig(buffer, format="svg")
    ET.register_namespace("", _SVG)
    ET.register_namespace("xlink", _XLINK)
    root = ET.fromstring(buffer.getvalue())
    for unwanted in ("metadata", "defs"):  # the date, which differs every time, and a style for all of the page
        for child in root.findall(f"{{{_SVG}}}{unwanted}"):
            if unwanted == "metadata" or child.find(f"{{{_SVG}}}style") is not None:
                root.remove(child)
    _name_marks(root, marks)
    for element in root.iter():
        _adapt(element, name)
    _describe(root, name, title, "group" if marks else "img")
    return ET.tostring(root, encoding="unicode") + "\n"


def _name_marks(root: ET.Element, marks: Mapping[str, list[Mark]]) -> None:
    """Each mark becomes a link to its row, so that a keyboard reaches it; one mark for a group is all of it."""
    kinds = (f"{{{_SVG}}}use", f"{{{_SVG}}}path")
    for group in list(root.iter(f"{{{_SVG}}}g")):
        said = marks.get(group.get("id", ""))
        if said is None:
            continue
        if len(said) == 1:
            link = _link(said[0])
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
        for mark, (parent, index) in zip(said, places, strict=True):
            link = _link(mark)
            link.append(parent[index])
            parent[index] = link


def _link(mark: Mark) -> ET.Element:
    link = ET.Element(f"{{{_SVG}}}a", {"href": f"#row-{mark.key}", "data-row": mark.key})
    ET.SubElement(link, f"{{{_SVG}}}title").text = numbers.text(mark.title)
    return link


def _adapt(element: ET.Element, name: str) -> None:
    """Ids of this figure's own, references to them, and the page's colour and fonts."""
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
    described = ET.Element(f"{{{_SVG}}}title", {"id": f"{name}-title"})
    described.text = numbers.text(title)
    root.insert(0, described)
    width = float(root.get("width", "0pt").removesuffix("pt"))
    root.set("style", f"--width: {1.45 * width:.0f}px")  # the page's largest: text is as large in every figure
    root.set("role", role)
    root.set("aria-labelledby", f"{name}-title")
    root.set("stroke-linejoin", "round")
    root.set("stroke-linecap", "butt")
