"""References of a report as BibTeX entries: the papers of its models, and mixbench itself.

An entry has what models/published.csv knows: the system's name, its paper's number on arXiv and year; no authors.
"""

import re

from mixbench.report import overview
from mixbench.results.published import load
from mixbench.results.summary import Group
from mixbench.results.tables import Tables

_ARXIV = re.compile(r"^(.+?), arXiv:((\d\d)\d\d\.\d{4,5})")


def references(group: Group) -> dict[str, str]:
    """Return the entries, by arXiv number, of a family's own paper and of those with figures of the model, in any
    setting.
    """
    model, family = group.records[0].details.trial.model, group.row.family.replace("²", "2")
    entries: dict[str, str] = {}
    for figure in load():
        found = _ARXIV.match(figure.source)
        if found and (figure.model == model or found[1] == family):
            name, number, year = found.groups()
            fields = {
                "title": f"{{{name}}}",
                "eprint": number,
                "archiveprefix": "arXiv",
                "url": f"https://arxiv.org/abs/{number}",
                "year": f"20{year}",
            }
            entries.setdefault(number, _entry("misc", f"arXiv:{number}", fields))
    return entries


def software(tables: Tables) -> str:
    """The entry of the mixbench that measured."""
    head = overview.head(tables)
    versions = dict.fromkeys(text.partition(",")[0].removeprefix("mixbench ") for text in head.versions)
    fields = {
        "title": "mixbench: benchmarks of {Mixer}-family vision models",
        "version": ", ".join(versions),
        "note": f"commit {', '.join(head.commits)}" if head.commits else "",
        "year": head.ended[:4],
    }
    return _entry("software", "mixbench", fields)


def _entry(kind: str, key: str, fields: dict[str, str]) -> str:
    lines = [f"  {name} = {{{value}}}," for name, value in fields.items() if value]
    return "\n".join([f"@{kind}{{{key},", *lines, "}", ""])
