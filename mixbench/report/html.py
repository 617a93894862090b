"""The tables as one page: no network, no script, every text from a user escaped."""

import re
from collections.abc import Sequence

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from mixbench.content import content
from mixbench.report import numbers, page
from mixbench.report.figures import Drawing, figures
from mixbench.report.names import looks, seeds
from mixbench.results import Tables

TEMPLATE = "report.html.j2"


def html(tables: Tables, drawings: Sequence[Drawing] | None = None) -> str:
    """The whole page.  `drawings` spares drawing the figures again where they are at hand."""
    drawings = figures(tables) if drawings is None else drawings
    return _environment().get_template(TEMPLATE).render(
        tables=tables,
        head=page.head(tables),
        boards=page.boards(tables),
        failures=[record for record in tables.records if record.status == "failed"],
        scatters=[drawing for drawing in drawings if not drawing.name.endswith("-curves")],
        curves=[drawing for drawing in drawings if drawing.name.endswith("-curves")],
        complexity=page.complexity(tables.records),
        places=page.environments(tables.records),
        looks=looks(tables.records),
    )  # fmt: skip


def _environment() -> Environment:
    """Autoescape is on for every name; only our own style and figures are inserted as they are."""
    folder = content("reports")
    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for function in (
        numbers.text, numbers.short, numbers.exact, numbers.fixed, numbers.signed, numbers.count, numbers.rate,
        numbers.size, numbers.duration, numbers.moment,
    ):  # fmt: skip
        environment.filters[function.__name__] = function
    environment.globals.update(
        style=Markup((folder / "style.css").read_text(encoding="utf-8")),
        span=numbers.span,
        svg=lambda drawing: Markup(drawing.svg),
        seeds=seeds,
        dash=numbers.DASH,
    )
    environment.filters["name"] = _name
    # What is printed without a filter is a user's too: control characters have no place in a page.
    environment.finalize = lambda value: value if isinstance(value, Markup) else numbers.text(value)
    return environment


def _name(value: str) -> Markup:
    """A model's name, which may be broken where its parts meet."""
    return Markup(re.sub(r"([_\[,])", r"\1<wbr>", str(escape(numbers.text(value)))))
