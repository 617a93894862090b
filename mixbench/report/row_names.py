"""The name of a row among its neighbours, and the colour and marker of its family, the same in every figure."""

from collections.abc import Sequence
from dataclasses import dataclass

from mixbench.results import rows
from mixbench.results.summary import Group, SummaryRow
from mixbench.run.record import Record

# Each has 3:1 against the page, light and dark (WCAG 2.1, 1.4.11), and differs from the three before and after it under
# deuteranopia too: nine families on, the marker is the same again and the colour the one before.
_COLOURS = [
    "#0173b2", "#109850", "#a87890", "#809808", "#9848a0", "#4068d8", "#c03070", "#b05040", "#18a0b0", "#c08020",
]  # fmt: skip
_MARKERS = ["o", "s", "D", "^", "v", "P", "X", "<", ">"]  # no polygon that looks like a small circle


@dataclass(frozen=True)
class Look:
    colour: str
    marker: str


LOOKS = [Look(_COLOURS[i % len(_COLOURS)], _MARKERS[i % len(_MARKERS)]) for i in range(len(_COLOURS) * len(_MARKERS))]


def looks(records: list[Record]) -> dict[str, Look]:
    """Return a colour and marker for every family of a run, by the family's name."""
    families = sorted({record.family for record in records}, key=lambda family: (family.casefold(), family))
    return {family: LOOKS[i % len(LOOKS)] for i, family in enumerate(families)}


def by_images(groups: Sequence[Group]) -> dict[str, list[Group]]:
    """Return the comparable rows by the images they were tested on, in the suite's order of datasets."""
    found: dict[str, list[Group]] = {}
    for dataset in dict.fromkeys(group.row.dataset for group in groups):
        for group in groups:
            if group.row.dataset == dataset:
                found.setdefault(group.row.images, []).append(group)
    return found


def settings(groups: Sequence[Group]) -> list[list[str]]:
    """Return for each row the texts of the settings that vary among the rows, without its label."""
    return rows.settings([group.records for group in groups])


def names(groups: Sequence[Group]) -> list[str]:
    """Return a one-line name for each row: its label, then the settings that vary."""
    return [" · ".join([group.row.label, *apart]) for group, apart in zip(groups, settings(groups), strict=True)]


def seeds(row: SummaryRow) -> str:
    return "single seed" if row.n_seeds == 1 else f"{row.n_seeds} seeds"
