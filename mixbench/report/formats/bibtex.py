"""The references of a report as a .bib file."""

from mixbench.report.references import references, software
from mixbench.results.tables import Tables


def bibtex(tables: Tables) -> str:
    """An entry for each paper, once, and mixbench last."""
    entries: dict[str, str] = {}
    for group in tables.groups:
        entries = references(group) | entries
    return "\n".join([*entries.values(), software(tables)])
