"""The report of a run: results.csv, summary.csv, report.html and figures/, made from whatever records there are."""

from pathlib import Path

from mixbench.disk import write_atomically
from mixbench.report.csv import csv
from mixbench.report.figures import figures
from mixbench.report.html import html
from mixbench.results import tables
from mixbench.run import Run


def write(run: Run) -> list[Path]:
    """Write the report into the run's folder and say what was written.

    Raises RequestError where this is no run folder, OSError where it cannot be written to.
    """
    content = tables(run)
    drawings = figures(content)
    files: dict[Path, str | bytes] = {
        run.folder / "results.csv": csv(content.results),
        run.folder / "summary.csv": csv(content.summary),
        run.folder / "report.html": html(content, drawings),
    }
    for drawing in drawings:
        files[run.folder / "figures" / f"{drawing.name}.svg"] = drawing.svg
        files[run.folder / "figures" / f"{drawing.name}.png"] = drawing.png()
    for path, text in files.items():
        write_atomically(path, text)
    return list(files)
