"""What the papers say of the models of a report, each source numbered once."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mixbench.summary import Group

if TYPE_CHECKING:
    from mixbench.published import PublishedFigure


@dataclass(frozen=True)
class Citation:
    """What one source says of one model on one dataset: figures by kind, as printed."""

    model: str
    dataset: str
    variant: str
    number: int
    figures: dict[str, "PublishedFigure"]

    @property
    def notes(self) -> list[str]:
        return list(dict.fromkeys(figure.note for figure in self.figures.values() if figure.note))

    @property
    def convention(self) -> str:
        return self.figures["macs"].convention if "macs" in self.figures else ""


@dataclass(frozen=True)
class Papers:
    citations: list[Citation]
    sources: list[str]

    def of_top1(self, group: Group) -> int | None:
        """The number of the source that top1_published is taken from."""
        for figure in group.published:
            if figure.figure == "top1" and figure.value == group.row.top1_published and not figure.qualifier:
                return self.sources.index(figure.source) + 1
        return None


def papers(groups: Sequence[Group]) -> Papers:
    sources = list(dict.fromkeys(figure.source for group in groups for figure in group.published))
    citations: dict[tuple[str, str, str, int], Citation] = {}
    for group in groups:
        for figure in group.published:
            key = (group.row.model, group.row.dataset, figure.variant, sources.index(figure.source) + 1)
            citations.setdefault(key, Citation(*key, {})).figures.setdefault(figure.figure, figure)
    return Papers(list(citations.values()), sources)
