"""Write a report in any of its formats, from the records that exist so far."""

import gc
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from mixbench.report.formats.csv import csv
from mixbench.results.tables import Tables, tables
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.system.files import write_atomically

_FIGURE = re.compile(r"[0-9]+-.+-[a-z-]+\.(?:svg|png)")
PAGE = "html"
DEFAULT = ("csv", PAGE, "markdown")
Files = dict[str, str | bytes]
"""Contents of a format's files, by their name in the report's folder."""


def write(*runs: Run | Inventory, out: Path | None = None, formats: Iterable[str] = DEFAULT) -> list[Path]:
    """Write a report, of one run into its folder or of several into the folder `out`, and return the files' paths.

    `formats` are keys of FORMATS.  Raises RequestError if a folder is not a run's or a format's library is missing,
    OSError if a file cannot be written.
    """
    content, formats = tables(*runs), list(dict.fromkeys(formats))
    folder = out or Inventory.of(runs[0]).run.folder
    with _gc_frozen():
        found: dict[str, Files] = {}
        beside = ["suite.yaml"] if out is None else []
        for each in sorted(formats, key=PAGE.__eq__):  # the page links to the others
            found[each] = FORMATS[each](content, beside)
            beside += found[each]
        files = {folder / name: text for each in formats for name, text in found[each].items()}
    for path, text in files.items():
        write_atomically(path, text)
    if PAGE in formats:
        _remove_old_figures(folder / "figures", files)
    return list(files)


def _remove_old_figures(folder: Path, written: Mapping[Path, object]) -> None:
    """Remove figures of an earlier report that this one does not have, but no other files."""
    for path in folder.glob("[0-9]*-*"):
        if path not in written and _FIGURE.fullmatch(path.name):
            with suppress(OSError):
                path.unlink()


@contextmanager
def _gc_frozen() -> Iterator[None]:
    """Exclude existing objects from garbage collection: with many records it would walk over millions of them."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _csv(content: Tables, _: list[str]) -> Files:
    return {"results.csv": csv(content.results), "summary.csv": csv(content.summary)}


def _html(content: Tables, beside: list[str]) -> Files:
    from mixbench.report.figures.all import figures
    from mixbench.report.formats.html import html

    drawings = figures(content)
    files: Files = {"report.html": html(content, drawings, beside)}
    for drawing in drawings:
        files[f"figures/{drawing.name}.svg"] = drawing.svg
        files[f"figures/{drawing.name}.png"] = drawing.png()
    return files


def _markdown(content: Tables, _: list[str]) -> Files:
    from mixbench.report.formats.markdown import markdown

    return {"report.md": markdown(content)}


def _latex(content: Tables, _: list[str]) -> Files:
    from mixbench.report.formats.latex import latex

    return {"summary.tex": latex(content)}


def _bibtex(content: Tables, _: list[str]) -> Files:
    from mixbench.report.formats.bibtex import bibtex

    return {"references.bib": bibtex(content)}


def _tensorboard(content: Tables, _: list[str]) -> Files:
    from mixbench.report.formats.tensorboard import tensorboard

    return {**tensorboard(content)}


def _timm(content: Tables, _: list[str]) -> Files:
    from mixbench.report.formats.timm import timm

    return {**timm(content)}


FORMATS: dict[str, Callable[[Tables, list[str]], Files]] = {
    "csv": _csv,
    PAGE: _html,
    "markdown": _markdown,
    "latex": _latex,
    "bibtex": _bibtex,
    "tensorboard": _tensorboard,
    "timm": _timm,
}
