"""The name of a row among its neighbours, and the colour and marker of its family, the same in every figure."""

from collections.abc import Sequence
from dataclasses import dataclass

from mixbench.results import rows
from mixbench.results.summary import Group, SummaryRow
from mixbench.run.record import Record

# seaborn's colour-blind safe palette, what is faint on paper or in the dark replaced; markers tell them apart too.
_COLOURS = [
    "#0173b2",
    "#de8f05",
    "#029e73",
    "#d55e00",
    "#cc78bc",
    "#56b4e9",
    "#ca9161",
    "#949494",
    "#b3446c",
    "#8f8f2f",
]
_MARKERS = [
    "o",
    "s",
    "D",
    "^",
    "v",
    "P",
    "X",
    "p",
    "h",
    "<",
    ">",
]  # 11 of them: colour and marker together repeat after 110 families


@dataclass(frozen=True)
class Look:
    colour: str
    marker: str


def looks(records: list[Record]) -> dict[str, Look]:
    """A look for every family of a run, by the family's name."""
    families = sorted({record.family for record in records}, key=lambda family: (family.casefold(), family))
    return {family: Look(_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)]) for i, family in enumerate(families)}


def by_images(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """The rows that can be set against each other, by what they were tested on, in the suite's order of datasets."""
    found: dict[str, list[Group]] = {}
    for dataset in dict.fromkeys(group.row.dataset for group in groups):
        for group in groups:
            if group.row.dataset == dataset:
                found.setdefault(group.row.images, []).append(group)
    return found


def settings(groups: Sequence[Group]) -> list[list[str]]:
    """For each row what sets it apart from its neighbours but its label: the settings that vary among them."""
    return rows.settings([group.records for group in groups])


def names(groups: Sequence[Group]) -> list[str]:
    """A name for each row, on one line: its label, then what sets it apart."""
    return [" · ".join([group.row.label, *apart]) for group, apart in zip(groups, settings(groups), strict=True)]


def seeds(row: SummaryRow) -> str:
    return "single seed" if row.n_seeds == 1 else f"{row.n_seeds} seeds"
