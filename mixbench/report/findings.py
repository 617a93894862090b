"""Findings of a report, computed from its rows: the best model and differences in sentences, the best by budget."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mixbench.report import numbers
from mixbench.report.budgets import budgets
from mixbench.report.row_names import by_images, seeds
from mixbench.results.agreement import TOP1_TOLERANCE, Agreement
from mixbench.results.comparisons import Comparison, Comparisons
from mixbench.results.metrics import QUALITY
from mixbench.results.simultaneous import Verdict
from mixbench.results.statistics import supported
from mixbench.results.summary import Group
from mixbench.results.tables import Tables
from mixbench.system.words import plural

MOST_COMPARED = 10  # rows: a table of their 45 pairs is readable
MOST_NAMED = 8  # rows in one sentence


RIVALS = {
    "not distinguishable": "Not distinguishable from",
    "undecided": "Undecided, five seeds would tell, against",
    "not testable": "Not testable, for want of predictions or seeds, against",
}
"""Beginnings of sentences on the rows that the best one is not significantly better than, by the verdict's outcome."""
BASES = {
    "images and seeds": "by images and seeds",
    "images": "by images: these networks, not the models, differ or not",
    "seeds": "by seeds",
}
"""The basis of verdicts in words."""


@dataclass(frozen=True)
class Ref:
    """A link to a row of the leaderboard: its name, and its key."""

    name: str
    key: str


Sentence = list[str | Ref]


@dataclass(frozen=True)
class Pair:
    """A row of the table of compared pairs."""

    first: Ref
    second: Ref
    verdict: Verdict


@dataclass(frozen=True)
class Choice:
    """A row of the table of budgets.  `next`: the second most accurate inside, with the verdict on the two."""

    budget: str
    pick: Ref
    quality: str
    paid: str
    next: Ref | None
    verdict: Verdict | None


@dataclass(frozen=True)
class Findings:
    """Findings about the rows tested on the same images: the best by budget, titles with sentences, tested pairs."""

    images: str
    choices: list[Choice]
    points: list[tuple[str, Sentence]]
    pairs: list[Pair]


def findings(tables: Tables) -> list[Findings]:
    """Findings for each dataset that has an accuracy, in the suite's order."""
    found = []
    for images, groups in by_images(tables.groups).items():
        refs = {group.key: Ref(numbers.middle(group.name, 60), group.key) for group in groups}
        ranked = sorted((group for group in groups if group.row.quality is not None), key=_best_first)
        if ranked:
            found.append(_of_images(images, groups, ranked, refs, tables.comparisons))
    return found


def _of_images(
    images: str, groups: list[Group], ranked: list[Group], refs: dict[str, Ref], compared: Comparisons
) -> Findings:
    tested = compared.pairs(ranked[:MOST_COMPARED])
    of_best = [compared.of(ranked[0], other) for other in ranked[1:]]
    points = [("Best accuracy", _best(ranked, of_best, refs))]
    if len(ranked) > 1:
        points.append(("Real differences", _differences(ranked, tested, refs)))
    if papers := _against_papers(groups, refs):
        points.append(("Against the papers", papers))
    pairs = [Pair(refs[each.first.key], refs[each.second.key], each.verdict) for each in tested]
    choices = [
        Choice(
            budget=each.words,
            pick=refs[each.pick.key],
            quality=numbers.quality(each.pick.row) + (" (one seed)" if each.pick.row.n_seeds == 1 else ""),
            paid=each.paid,
            next=refs[each.to_next.second.key] if each.to_next else None,
            verdict=each.to_next.verdict if each.to_next else None,
        )
        for each in budgets(ranked, compared)
    ]
    return Findings(images, choices, points, pairs)


def _best_first(group: Group) -> float:
    return QUALITY.cost(group.row.quality)


def _best(ranked: list[Group], tested: list[Comparison], refs: dict[str, Ref]) -> Sentence:
    best = [group for group in ranked if group.row.quality == ranked[0].row.quality]
    row = best[0].row
    verb = " reaches " if len(best) == 1 else " reach "
    extreme = "highest" if QUALITY.more_is_better else "lowest"
    curve = next((record.details.curve for record in best[0].records if record.details.curve), None)
    of = f"{seeds(row)}, {numbers.exact(curve.test_images)} images" if curve else seeds(row)
    reached = f"{verb}{numbers.quality(row)} {QUALITY.unit}, the {extreme} mean {QUALITY.name} ({of})."
    sentence = [*_listed(best, refs), reached]
    rivals: dict[str, list[Group]] = {}
    for each in tested:
        if (other := _other(each, best[0])) and other not in best:
            rivals.setdefault(each.verdict.outcome, []).append(other)
    for outcome, words in RIVALS.items():
        if outcome in rivals:
            sentence += [f" {words} ", *_listed(rivals[outcome], refs), "."]
    return sentence


def _other(comparison: Comparison, group: Group) -> Group | None:
    return {comparison.first.key: comparison.second, comparison.second.key: comparison.first}.get(group.key)


def _differences(ranked: list[Group], tested: list[Comparison], refs: dict[str, Ref]) -> Sentence:
    """The number of significantly different pairs and their names; how many are not, undecided or not testable."""
    real = [each for each in tested if each.significant]
    unsure = [each for each in tested if each.significant is False]
    undecided = sum(each.verdict.outcome == "undecided" for each in tested)
    untested = len(tested) - len(real) - len(unsure) - undecided
    whom = f"the {MOST_COMPARED} most accurate" if len(ranked) > MOST_COMPARED else f"these {len(ranked)}"
    sentence: Sentence = []
    if real or unsure:
        bases = Counter(BASES[each.verdict.basis] for each in [*real, *unsure])
        by = next(iter(bases)) if len(bases) == 1 else ", ".join(f"{n} {words}" for words, n in bases.items())
        sentence.append(
            f"Of {plural(len(real) + len(unsure), 'pair')} among {whom}, {len(real) or 'none'} "
            f"{'differ' if len(real) > 1 else 'differs'} significantly (95 % intervals, simultaneous over all pairs of "
            f"rows, {by})"
        )
        for index, each in enumerate(real[:MOST_NAMED]):
            sentence += ["; " if index else ": ", refs[each.first.key], " over ", refs[each.second.key]]
        sentence.append(" …." if len(real) > MOST_NAMED else ".")
        if unsure:
            sentence.append(
                f" The difference of the other {len(unsure)} is not significant."
                if real
                else " More seeds may tell them apart; these do not."
            )
    if undecided:
        sentence.append(f"{' ' if sentence else ''}{plural(undecided, 'pair')} undecided: run five seeds.")
    if untested:
        why = "single seeds, or seeds without any spread, and no predictions of each image"
        sentence.append(f"{' ' if sentence else ''}{plural(untested, 'pair')} cannot be tested: {why}.")
    return sentence


def _against_papers(groups: list[Group], refs: dict[str, Ref]) -> Sentence:
    """Count the published figures that ours agree with, and name those that differ without a known reason."""
    found = [(group, each) for group in groups for each in group.agreements if each.agrees is not None]
    sentence: Sentence = []
    for kind, noun, within in (
        ("top1", "accuracy", f"within {TOP1_TOLERANCE} points or our interval"),
        ("params", "parameter count", "to the printed digit"),
        ("macs", "MAC count", "to the printed digit, counted as the source counts"),
    ):
        of_kind = [(group, each) for group, each in found if each.figure.figure == kind]
        far = [(group, each) for group, each in of_kind if not each.agrees]
        if not of_kind:
            continue
        met = f"{len(of_kind) - len(far)} of {plural(len(of_kind), f'published {noun}')}"
        agree = "agrees" if len(of_kind) == 1 else "agree"
        sentence.append(f"{' ' if sentence else ''}{met} {agree} {within}")
        if explained := [each for _, each in far if each.why]:
            sentence.append(f"; {len(explained)} not, for reasons given with the published figures")
        unexplained = [(group, each) for group, each in far if not each.why]
        for index, (group, each) in enumerate(unexplained[:MOST_NAMED]):
            by = f"{_difference(each)} points" if kind == "top1" else each.ours_as_printed
            against = "" if kind == "top1" else f" for {each.figure.printed}"
            sentence += [", " if index else "; not ", refs[group.key], f" ({by}{against})"]
        sentence.append(f" and {len(unexplained) - MOST_NAMED} more." if len(unexplained) > MOST_NAMED else ".")
    return sentence


def _difference(each: Agreement) -> str:
    return numbers.signs(supported(each.difference or 0.0, each.half_width, sign="+"))


def _listed(groups: Sequence[Group], refs: dict[str, Ref]) -> Sentence:
    """ "A, B and C", or "A, B, C and 4 more" for many."""
    shown = list(groups[:MOST_NAMED])
    more = len(groups) - len(shown)
    sentence: Sentence = []
    for index, group in enumerate(shown):
        last = index == len(shown) - 1 and not more
        sentence += [("" if not index else " and " if last else ", "), refs[group.key]]
    return [*sentence, f" and {more} more"] if more else sentence
