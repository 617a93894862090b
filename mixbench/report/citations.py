"""Published figures of a report's models beside ours, with numbered sources."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mixbench.results.summary import Group

if TYPE_CHECKING:
    from mixbench.results.agreement import Agreement


@dataclass(frozen=True)
class Citation:
    """The figures that one source gives for one row, by kind (top1, params, macs); `number` is the source's."""

    group: Group
    variant: str
    number: int
    figures: dict[str, "Agreement"]

    @property
    def notes(self) -> list[str]:
        """The source's notes, and why a figure differs or is not compared."""
        texts = [text for each in self.figures.values() for text in (each.figure.note, each.why) if text]
        return list(dict.fromkeys(texts))

    @property
    def convention(self) -> str:
        return self.figures["macs"].figure.convention if "macs" in self.figures else ""


@dataclass(frozen=True)
class Papers:
    """All citations of a report, and their sources in the order of their numbers."""

    citations: list[Citation]
    sources: list[str]

    def number(self, source: str) -> int | None:
        return self.sources.index(source) + 1 if source else None


def papers(groups: Sequence[Group]) -> Papers:
    sources = list(dict.fromkeys(figure.source for group in groups for figure in group.published))
    citations: list[Citation] = []
    for group in groups:
        found: dict[tuple[str, int], Citation] = {}
        for each in group.agreements:
            key = (each.figure.variant, sources.index(each.figure.source) + 1)
            found.setdefault(key, Citation(group, *key, {})).figures.setdefault(each.figure.figure, each)
        citations += found.values()
    return Papers(citations, sources)
