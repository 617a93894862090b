"""The report of a run: results.csv, summary.csv, report.html and figures/, made from whatever records there are."""

from pathlib import Path

from mixbench.disk import write_atomically
from mixbench.report.csv import csv
from mixbench.report.figures import figures
from mixbench.report.html import html
from mixbench.results import tables
from mixbench.run import Run


def write(*runs: Run, out: Path | None = None) -> list[Path]:
    """Write a report and say what was written: of one run into its folder, or of all given into another, `out`.

    Raises RequestError where one is no run folder, OSError where something cannot be written to.
    """
    content = tables(*runs)
    folder = out or runs[0].folder
    drawings = figures(content)
    files = {
        folder / "results.csv": csv(content.results),
        folder / "summary.csv": csv(content.summary),
        folder / "report.html": html(content, drawings),
    } | {folder / "figures" / f"{drawing.name}.svg": drawing.svg for drawing in drawings}
    for path, text in files.items():
        write_atomically(path, text)
    return list(files)
