"""For the page's copy buttons: the caption of a copied table, and the references of its rows as BibTeX."""

from typing import Any

from mixbench.report.caption import caption
from mixbench.report.references import references, software
from mixbench.results.tables import Tables


def copies(tables: Tables) -> dict[str, Any]:
    """Return `caption`; `references`, entries by their key; `cited`, their keys by a row's; `software`, an entry."""
    by_row = {group.key: references(group) for group in tables.groups}
    return {
        "caption": f"Measured {', '.join(caption(tables, tables.groups))}.",
        "references": {number: entry for found in by_row.values() for number, entry in found.items()},
        "cited": {key: list(found) for key, found in by_row.items()},
        "software": software(tables),
    }
