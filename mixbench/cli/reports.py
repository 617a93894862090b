"""`mixbench report`: write the reports of runs, each into its own folder, or one of all into another."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import click

from mixbench.errors import RequestError
from mixbench.run.folder import Run
from mixbench.system.files import text_of

OURS = {
    "report.html": r"mixbench report",
    "report.md": r"\d trials? done",
    "results.csv": r"\Asuite,trial_id,",
    "summary.csv": r"\Amodel,label,family,",
    "summary.tex": r"\A% made by mixbench",
}
"""What a file of a report holds that mixbench wrote, in any of its versions."""


def write_reports(runs: Sequence[Run], out: Path | None, formats: Iterable[str], as_json: bool) -> None:
    """Write the reports and print their paths.  Raises RequestError before any is written."""
    from mixbench.report.write import DEFAULT, write

    for each in runs:
        each.planned()  # raises RequestError for what is no run folder
    if out:
        _check_folder(out)
    formats = tuple(formats) or DEFAULT
    together = [(runs, out)] if out else [([run], None) for run in runs]
    written = [path for group, folder in together for path in write(*group, out=folder, formats=formats)]
    if not written:
        click.echo(f"mixbench: no trial is done yet, so {', '.join(formats)} has nothing to write", err=True)
    if written or as_json:
        click.echo(json.dumps([str(path) for path in written]) if as_json else "\n".join(map(str, written)))


def _check_folder(out: Path) -> None:
    """Raise RequestError if the folder is a run's, or holds files of a report's names that mixbench did not write."""
    if Run(out).plan_file.exists():
        raise RequestError(f"--out {out} is a run's folder, where its own report stands: another folder is wanted")
    foreign = [
        name for name, mark in OURS.items() if (out / name).exists() and not re.search(mark, text_of(out / name))
    ]
    if foreign:
        raise RequestError(f"--out {out} holds a {foreign[0]} that is not mixbench's: another folder is wanted")
