"""Pairwise tests of the rows of a summary, over their seeds."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mixbench.results.summary import Group
from mixbench.results.metrics import QUALITY
from mixbench.results.statistics import Difference, difference, holm, is_significant


@dataclass(frozen=True)
class Comparison:
    """The difference of two rows of a summary.  `p_holm` is corrected for all pairs compared together with this one."""

    first: "Group"
    second: "Group"
    difference: Difference
    p_holm: float | None

    @property
    def significant(self) -> bool | None:
        """True if significant at 5 % over all pairs together; None if the two are not comparable."""
        return is_significant(self.p_holm)


def comparisons(groups: Sequence["Group"]) -> list[Comparison]:
    """Compare the quality of every pair of rows that were tested on the same images."""
    return compared(combinations(groups, 2))


def compared(pairs: Iterable[tuple["Group", "Group"]]) -> list[Comparison]:
    """Compare the quality of these pairs, leaving out those that were not tested on the same images.

    Holm's correction is over all the pairs returned: pass only those that are shown together.
    """
    comparable = [(one, other) for one, other in pairs if one.row.images == other.row.images]
    samples = {group.key: _quality(group) for pair in comparable for group in pair}
    found = [difference(samples[one.key], samples[other.key]) for one, other in comparable]
    corrected = holm([each.p for each in found])
    return [Comparison(*pair, each, p) for pair, each, p in zip(comparable, found, corrected, strict=True)]


def _quality(group: "Group") -> list[tuple[int, float]]:
    """(seed, quality) of each trial that is done."""
    found = ((record.seed, QUALITY.of(record)) for record in group.records if record.status == "done")
    return [(seed, value) for seed, value in found if value is not None]
