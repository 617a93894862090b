"""Tables as one HTML page: no network access, one script of our own, all text from users escaped."""

import base64
import hashlib
import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from mixbench.report import numbers, overview
from mixbench.report.collectives import communication
from mixbench.report.compare_data import compare_data
from mixbench.report.copies import copies
from mixbench.report.evidence import evidence
from mixbench.report.failures import failures
from mixbench.report.figures.all import figures
from mixbench.report.figures.drawing import Drawing
from mixbench.report.findings import findings
from mixbench.report.leaderboard import board
from mixbench.report.models import anchors, models
from mixbench.report.page_data import page_data
from mixbench.report.plot_data import plot_data
from mixbench.report.row_names import looks
from mixbench.results.metrics import INFERENCE, MACS, MEMORY, OF_TRIALS, PARAMS, QUALITY
from mixbench.results.tables import Tables
from mixbench.system.content import content
from mixbench.system.words import plural

LONG_NAME = 12  # only longer names may be broken: <wbr> slows a browser down in a table of a thousand rows
TEMPLATE = "report.html.j2"
BUDGET = [QUALITY, PARAMS, MACS, INFERENCE, MEMORY]
"""Metrics that a reader can limit."""


def html(tables: Tables, drawings: Sequence[Drawing] | None = None, beside: Sequence[str] = ()) -> str:
    """The whole page, with the given drawings, or with all figures drawn here.

    `beside`: names of files in the page's folder that it links to; with them, the drawings' own files.
    """
    drawings = figures(tables) if drawings is None else drawings
    failed = failures(tables.records)
    numbered = enumerate((record for failure in failed for record in failure.records), start=1)
    found, look, places, by_row = board(tables), looks(tables.records), anchors(tables), evidence(tables)
    told = compare_data(found, tables.comparisons, by_row) | plot_data(found, by_row) | copies(tables)
    return _environment().get_template(TEMPLATE).render(
        tables=tables,
        head=overview.head(tables),
        beside=beside,
        failures=failed,
        failed_at={(each.run, each.trial_id): f"failure-{number}" for number, each in numbered},
        findings=findings(tables),
        board=found,
        data=page_data(found, tables.comparisons, places, look, told),
        drawings=drawings,
        is_plotted=any(record.status == "done" for record in tables.records),
        communication=communication(tables),
        models=models(tables, by_row),
        quality=QUALITY,
        budget_metrics=[each for each in BUDGET if any(line.group.value(each) is not None for line in found.lines)],
        trial_metrics=OF_TRIALS,
        anchors=places,
        places=overview.environments(tables.records),
        origins=overview.origins(tables),
        looks=look,
    )  # fmt: skip


def _environment() -> Environment:
    """Jinja environment with autoescape for all values but our own style, script and drawings (Markup)."""
    folder = content("reports")
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        numbers.text, numbers.short, numbers.ends, numbers.exact, numbers.fixed, numbers.signed, numbers.count,
        numbers.rate,
        numbers.size, numbers.duration, numbers.moment, numbers.signs,
    ):  # fmt: skip
        environment.filters[function.__name__] = function
    sheets = [folder / "style.css", *sorted((folder / "style").glob("*.css"))]
    style = "\n".join(sheet.read_text(encoding="utf-8") for sheet in sheets)
    script = _script(folder / "script")
    environment.globals.update(
        style=Markup(style),
        script=Markup(script),
        # the only script that the page's content security policy runs, in case one slips in through a name
        script_hash="sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        span=numbers.span,
        plural=plural,
        svg=lambda drawing: Markup(drawing.svg),
        dash=numbers.DASH,
        nbsp="\N{NO-BREAK SPACE}",
    )
    environment.filters["name"] = _name
    environment.filters["arxiv"] = _arxiv
    # Values printed without a filter may come from users too: remove control characters.
    environment.finalize = lambda value: value if isinstance(value, Markup) else numbers.text(value)
    return environment


def _arxiv(source: str) -> Markup:
    """A source as HTML, an arXiv number in it as a link."""
    text = str(escape(numbers.text(source)))
    return Markup(re.sub(r"arXiv:(\d{4}\.\d{4,5})", r'<a href="https://arxiv.org/abs/\1">arXiv:\1</a>', text))


def _script(folder: Path) -> str:
    """Return the page's script, from the files of the folder: libraries first, start.js last."""
    files = sorted(
        folder.glob("*.js"), key=lambda file: (file.stem == "start", not file.stem.endswith(".min"), file.name)
    )
    return '"use strict";\n' + "\n".join(file.read_text(encoding="utf-8") for file in files)


def _name(value: str) -> Markup:
    """A model's name as HTML; a long one may be wrapped between its parts."""
    if len(value) <= LONG_NAME:
        return escape(numbers.text(value))
    return Markup(re.sub(r"([_\[,])", r"\1<wbr>", str(escape(numbers.text(value)))))
