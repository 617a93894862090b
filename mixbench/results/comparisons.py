"""Rows of a summary against each other, over their seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixbench.results.summary import Group
from mixbench.results.metrics import QUALITY
from mixbench.results.statistics import ALPHA, Difference, difference, holm


@dataclass(frozen=True)
class Comparison:
    """Two rows of a summary.  `p_holm` is corrected for all the pairs that were compared with this one."""

    first: "Group"
    second: "Group"
    difference: Difference
    p_holm: float | None

    @property
    def significant(self) -> bool | None:
        """At 5 % over all pairs together; None where the two are not comparable."""
        return None if self.p_holm is None else self.p_holm < ALPHA


def comparisons(groups: Sequence["Group"]) -> list[Comparison]:
    """The quality of every pair of rows that were tested on the same images."""
    return compared(combinations(groups, 2))


def compared(pairs: Iterable[tuple["Group", "Group"]]) -> list[Comparison]:
    """The quality of these pairs, as far as both were tested on the same images.

    Holm's correction is over the pairs returned: ask for those that are shown together.
    """
    alike = [(one, other) for one, other in pairs if one.row.images == other.row.images]
    samples = {group.key: _quality(group) for pair in alike for group in pair}
    found = [difference(samples[one.key], samples[other.key]) for one, other in alike]
    tested = holm([each.p for each in found])
    return [Comparison(*pair, each, p) for pair, each, p in zip(alike, found, tested, strict=True)]


def _quality(group: "Group") -> list[tuple[int, float]]:
    found = ((record.seed, QUALITY.of(record)) for record in group.records if record.status == "done")
    return [(seed, value) for seed, value in found if value is not None]
