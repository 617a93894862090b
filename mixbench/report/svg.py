"""A matplotlib figure as SVG text that fits any page: its text takes the page's colour, its points have names."""

import io
import re
import warnings
import xml.etree.ElementTree as ET
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


def svg(figure: Figure, name: str, title: str, points: dict[str, list[str]] | None = None) -> str:
    """`name` makes the ids unique in a page; `points` names a group (by its gid), or each mark in it, to hover for."""
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
    _name_points(root, points or {})
    for element in root.iter():
        _adapt(element, name)
    _describe(root, name, title)
    return ET.tostring(root, encoding="unicode") + "\n"


def _name_points(root: ET.Element, points: dict[str, list[str]]) -> None:
    for group in root.iter(f"{{{_SVG}}}g"):
        names = points.get(group.get("id", ""))
        if names is None:
            continue
        defined = {id(shape) for defs in group.iter(f"{{{_SVG}}}defs") for shape in defs.iter()}
        kinds = (f"{{{_SVG}}}use", f"{{{_SVG}}}path")
        marks = [shape for shape in group.iter() if shape.tag in kinds and id(shape) not in defined]
        marks = [group] if len(names) == 1 else marks
        for mark, title in zip(marks, names, strict=True):
            ET.SubElement(mark, f"{{{_SVG}}}title").text = numbers.text(title)


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


def _describe(root: ET.Element, name: str, title: str) -> None:
    described = ET.Element(f"{{{_SVG}}}title", {"id": f"{name}-title"})
    described.text = numbers.text(title)
    root.insert(0, described)
    width = float(root.get("width", "0pt").removesuffix("pt"))
    root.set("style", f"--width: {1.8 * width:.0f}px")  # the page's largest: text is as large in every figure
    root.set("role", "img")
    root.set("aria-labelledby", f"{name}-title")
    root.set("stroke-linejoin", "round")
    root.set("stroke-linecap", "butt")
