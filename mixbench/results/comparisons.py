"""The verdict on each pair of a summary's rows that were tested on the same images, computed once for all views."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from mixbench.results.accuracy_interval import accuracy_half_width
from mixbench.results.metrics import QUALITY
from mixbench.results.simultaneous import Scores, Verdict, Verdicts, verdicts
from mixbench.run.folder import Run
from mixbench.run.predictions import Predictions, predictions_if_kept
from mixbench.run.record import Record

if TYPE_CHECKING:
    from mixbench.results.summary import Group


@dataclass(frozen=True)
class Comparison:
    """Two rows of a summary, and the verdict on first - second."""

    first: "Group"
    second: "Group"
    verdict: Verdict

    @property
    def significant(self) -> bool | None:
        """True if the two differ, at 5 % over all pairs of rows on these images; None if undecided or not testable."""
        return self.verdict.significant


class Comparisons:
    """All rows of a summary compared, each pair on the same images.

    `predictions` returns a trial's, or None.  A row is compared by them if all of its trials have them, and of the same
    images in the same order as the other rows'; else by its seeds.
    """

    def __init__(self, groups: Sequence["Group"], predictions: Callable[[Record], "Predictions | None"]) -> None:
        self._names = {group.key: group.name for group in groups}
        if len(set(self._names.values())) < len(groups):
            self._names = {group.key: f"{group.name} ({group.key})" for group in groups}
        together: dict[str, list[Group]] = {}
        for group in groups:
            if group.row.quality is not None:
                together.setdefault(group.row.images, []).append(group)
        self._found: dict[str, Verdicts] = {}
        self.half_widths: dict[str, float] = {}
        """Of the 95 % interval of a row's own accuracy, by its key, if it is compared by predictions."""
        for images, some in together.items():
            found = scores(_trials(group, predictions) for group in some)
            self._found[images] = verdicts(dict(zip(self._listed(some), found, strict=True)))
            self.half_widths |= {
                group.key: accuracy_half_width(each)
                for group, each in zip(some, found, strict=True)
                if isinstance(each, np.ndarray)
            }

    def of(self, one: "Group", other: "Group") -> Comparison:
        """Compare two rows that have an accuracy on the same images."""
        return Comparison(one, other, self._found[one.row.images].of(*self._listed([one, other])))

    def pairs(self, groups: Iterable["Group"]) -> list[Comparison]:
        """Compare every pair of some rows that have an accuracy on the same images."""
        return [self.of(*pair) for pair in combinations(groups, 2)]

    def _listed(self, groups: Iterable["Group"]) -> list[str]:
        return [self._names[group.key] for group in groups]


def mark_best(groups: Sequence["Group"], compared: Comparisons) -> None:
    """Write into each row its interval by images, how far it is from the most accurate one on its images, the verdict.

    The intervals are of each row by itself, not simultaneous.
    """
    best: dict[str, Group] = {}
    for group in sorted(groups, key=lambda group: QUALITY.cost(group.row.quality)):
        if group.row.quality is None:
            continue
        group.row.top1_ci95_images = compared.half_widths.get(group.key)
        first = best.setdefault(group.row.images, group)
        if first is group:
            group.row.top1_verdict = "best"
        else:
            verdict = compared.of(group, first).verdict
            group.row.top1_to_best, group.row.top1_to_best_ci95 = verdict.value, verdict.half_width
            group.row.top1_verdict = verdict.words


def scores(models: Iterable[Sequence[tuple[float, "Predictions | None"]]]) -> list[Scores]:
    """Return by what each model is compared, from its trials' quality and predictions.

    Those of which images are right, if all of its trials have them, of the same images as the models before; else the
    qualities.
    """
    labels, found = None, list[Scores]()
    for trials in models:
        right = []
        for _, each in trials:
            if each is not None:
                labels = each.labels if labels is None else labels
                if np.array_equal(labels, each.labels):
                    right.append(each.right)
        whole = len(right) == len(trials) > 0
        found.append(np.stack(right) if whole else [quality for quality, _ in trials])
    return found


def own_half_width(run: Run, records: Iterable[Record]) -> float | None:
    """Half the 95 % interval of some seeds' accuracy, as in a summary row; None if not all have predictions."""
    trials = [
        (quality, predictions_if_kept(run, each)) for each in records if (quality := QUALITY.of(each)) is not None
    ]
    [found] = scores([trials])
    return accuracy_half_width(found) if isinstance(found, np.ndarray) else None


def _trials(
    group: "Group", predictions: Callable[[Record], "Predictions | None"]
) -> list[tuple[float, "Predictions | None"]]:
    return [
        (quality, predictions(record))
        for record in group.records
        if record.status == "done" and (quality := QUALITY.of(record)) is not None
    ]
