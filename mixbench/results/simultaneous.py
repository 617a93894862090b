"""Verdicts on every pair of a data set's models: simultaneous 95 % intervals, by each image's predictions or by seeds.

With predictions the difference is that of expected accuracies over the population of images and of seeds.  For models a
and b with n seeds each, and the mean correctness x of an image over the seeds, the variance of its estimate is

    Var_i(x_a - x_b) / N  +  t_a² / n_a  +  t_b² / n_b

The first term, over the N images, holds the sampling of the images (both models see the same ones, so it is paired:
Bouthillier 2021, arXiv:2103.03098) and the flips of single images between seeds.  t² is what seeds have in common over
images, such as an unlucky initialization: a seed's variance less that of independent flips, f² = Σ p (1 - p) / N²
(Jordan 2023, arXiv:2304.01910).  A few seeds' own variance is moderated towards c f²: f² times a factor that all
models share (Smyth 2004, doi:10.2202/1544-6115.1027).  c and the weight of it are not fixed, but averaged over how well
they predict all models' spreads.  Never below f²: a model of equal seeds is not without variance.  Effects of a seed on
all models alike, which would narrow the intervals, are not looked for.

Without predictions: Tukey–Kramer, one variance for all models, or Games–Howell, a variance each (`seed_intervals.py`).
They leave out the sampling of images, so they speak of these test images.

Pure, and deterministic: drawn from a seeded generator.
"""

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mixbench.results.seed_intervals import by_seeds
from mixbench.results.statistics import ALPHA, plus_minus

Floats = NDArray[np.floating[Any]]
Scores = NDArray[np.bool_] | Sequence[float]
"""A model's results: whether each image is predicted correctly, seeds × images, or else its accuracies in percent."""
Outcome = Literal["better", "worse", "not distinguishable", "undecided", "not testable"]

DRAWS = 4_000  # of all differences' errors at once: the error rate of 5 % is then met within .35 %
# Few images on which two models differ say little of their variance, so images are added on which they do.  Bonett and
# Price (2012, doi:10.3102/1076998611411915) add two; half of one costs less power at 360 images, and suffices.
PSEUDO_IMAGES = 0.5
LEAST_IMAGES = 2  # the standard error of a difference is at least that of this many images
# Prior of √(c - 1), the common effects' standard deviation in units of the flips': half-Cauchy (Gelman 2006,
# doi:10.1214/06-BA117A); of the weight of c, in degrees of freedom: to one half it is the same for all models.
_COMMON = np.concatenate([[0.0], np.geomspace(0.1, 30, 40)])
_COMMON_SCALE = 0.5
_WEIGHTS = {1: 1 / 8, 4: 1 / 8, 16: 1 / 8, 64: 1 / 8, 1e6: 1 / 2}


@dataclass(frozen=True)
class Verdict:
    """Two models of a data set compared: `value` is the difference of their mean accuracies, first - second, in points.

    `half_width`: that of its 95 % interval, simultaneous over all pairs of the data set; None if it can't be tested.
    `outcome`: better or worse if the interval excludes 0; undecided if that depends on how variances are pooled.
    `basis`: what the interval counts.  `note`: of what it speaks, or why there is none; "" if of the models.
    """

    first: str
    second: str
    value: float | None
    half_width: float | None
    outcome: Outcome
    basis: Literal["images and seeds", "images", "seeds", "none"]
    note: str = ""

    @property
    def significant(self) -> bool | None:
        """True if the two differ; None if that is undecided or not testable."""
        return {"better": True, "worse": True, "not distinguishable": False}.get(self.outcome)

    @property
    def text(self) -> str:
        """ "+0.31 ± 0.12" """
        return "" if self.value is None else plus_minus(self.value, self.half_width, sign="+")

    @property
    def words(self) -> str:
        """The outcome with its note: "better", "undecided: run five seeds", "not testable: …"."""
        return f"{self.outcome}: {self.note}" if self.note else self.outcome

    @property
    def turned(self) -> "Verdict":
        """The same verdict as of second - first."""
        turned: dict[Outcome, Outcome] = {"better": "worse", "worse": "better"}
        value = None if self.value is None else 0.0 - self.value
        outcome = turned.get(self.outcome, self.outcome)
        return replace(self, first=self.second, second=self.first, value=value, outcome=outcome)


@dataclass(frozen=True)
class Verdicts:
    """The verdicts on all pairs of a data set's models, each computed once."""

    pairs: dict[tuple[str, str], Verdict]

    def of(self, first: str, second: str) -> Verdict:
        """The verdict on first - second, in either order."""
        found = self.pairs.get((first, second))
        return found if found is not None else self.pairs[second, first].turned


def verdicts(models: Mapping[str, Scores], only: Collection[tuple[str, str]] | None = None) -> Verdicts:
    """Compare every pair of the models, in their order, all of which were tested on the same images.

    `only`: these pairs, in any order, if no other is ever shown: fewer have narrower intervals, but for those by seeds,
    which always hold over all pairs.

    Models that all have predictions, or none, are one family of tests.  If only some have them, the pairs of these are
    tested by images, the others by seeds, each family at half the error rate (Bonferroni).  Raises ValueError if
    predictions are not of the same number of images.
    """
    predicted = {name: each for name, each in models.items() if isinstance(each, np.ndarray) and each.dtype == np.bool_}
    values = {name: _accuracies(scores, name in predicted) for name, scores in models.items()}
    if len({scores.shape[1] for scores in predicted.values()}) > 1:
        raise ValueError("the models' predictions are not of the same images")
    means = {name: float(some.mean()) for name, some in values.items() if len(some)}
    wanted = None if only is None else {frozenset(pair) for pair in only}
    pairs = [pair for pair in combinations(models, 2) if wanted is None or frozenset(pair) in wanted]
    by_image = set(combinations(predicted, 2)).intersection(pairs)
    several = [name for name, some in values.items() if len(some) > 1]
    by_seed = set(combinations(several, 2)).intersection(pairs) - by_image
    alpha = ALPHA / 2 if by_image and by_seed else ALPHA
    found = {}
    if by_image:
        tested = np.array([[pair in by_image for pair in product([one], predicted)] for one in predicted])
        widths = by_images(list(predicted.values()), alpha, tested)
        for (i, one), (j, other) in combinations(enumerate(predicted), 2):
            if (one, other) in by_image:
                singles = [name for name in (one, other) if len(values[name]) == 1]
                found[one, other] = _by_images(one, other, means[one] - means[other], float(widths[i, j]), singles)
    if by_seed:
        narrow, wide = by_seeds([values[name] for name in several], alpha)
        for (i, one), (j, other) in combinations(enumerate(several), 2):
            if (one, other) in by_seed:
                value = means[one] - means[other]
                found[one, other] = _by_seeds(one, other, value, float(narrow[i, j]), float(wide[i, j]))
    return Verdicts({pair: found[pair] if pair in found else _untested(*pair, values) for pair in pairs})


def by_images(
    models: Sequence[NDArray[np.bool_]], alpha: float = ALPHA, tested: NDArray[np.bool_] | None = None
) -> Floats:
    """Return the half-width, in points, of each pair's simultaneous interval, models × models.

    `models`: correctness, seeds × images, each of as many images.  `tested`: the pairs [i, j], i < j, over which the
    intervals are simultaneous, by default all.  The critical value is the quantile of the largest of
    all pairs' errors, drawn with their correlations and with the uncertainty of the variances; errors are compared by
    Wallace's (1959) normal score of a t, so that a model of few seeds does not widen the others' intervals.
    """
    images, rng = models[0].shape[1], np.random.default_rng(0)
    seeds = np.array([len(each) for each in models])
    x = np.stack([each.mean(axis=0, dtype=np.float64) for each in models])
    covariance = np.atleast_2d(np.cov(x)) / images
    covariance += np.eye(len(models)) * (PSEUDO_IMAGES / 2 / images**2)
    flips = (x * (1 - x)).sum(axis=1) / images**2 * seeds / np.maximum(seeds - 1, 1)
    spread = np.array([each.mean(axis=1).var(ddof=1) if len(each) > 1 else 0.0 for each in models])
    ratios = np.divide(spread, flips, out=np.ones(len(models)), where=flips > 0)
    factors, degrees = moderated(ratios, np.where(flips > 0, seeds - 1, 0), rng)
    common = np.where(seeds > 1, flips / seeds, 0)[:, None] * (factors - 1)
    errors = np.linalg.cholesky(covariance) @ rng.standard_normal(common.shape)
    errors += np.sqrt(common) * rng.standard_normal(common.shape)
    between = np.where(seeds > 1, flips / seeds, 0) * (1 / (1 / factors).mean(axis=1) - 1)
    own = np.diag(covariance) + between
    variance = own[:, None] + own - 2 * covariance
    np.fill_diagonal(variance, 1)
    known = (between**2 / degrees)[:, None] + between**2 / degrees
    pair_degrees = np.divide(variance**2, known, out=np.full_like(known, 1e6), where=known > 1e-6 * variance**2)
    tested = np.ones_like(variance, dtype=bool) if tested is None else tested
    critical = _critical(errors, variance, pair_degrees, tested, 1 - alpha)
    return 100 * critical * np.maximum(np.sqrt(variance), LEAST_IMAGES / images)


def moderated(ratios: Floats, degrees: NDArray[np.int_], rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Draw each model's seed variance over its flips' from its distribution, models × DRAWS; its degrees of freedom.

    A ratio is c F(degrees, d), d being the weight of c (Smyth 2004, section 3); (c, d) are drawn by the likelihood of
    all ratios times their prior, then the model's factor given them: (d c + degrees ratio) / χ²(d + degrees).
    """
    scale, weight = (grid.ravel() for grid in np.meshgrid(1 + _COMMON**2, list(_WEIGHTS), indexing="ij"))
    prior = np.gradient(_COMMON) / (1 + (_COMMON / _COMMON_SCALE) ** 2)
    likely = np.log(np.outer(prior, list(_WEIGHTS.values()))).ravel()
    for ratio, n in zip(ratios, degrees, strict=True):
        gammas = {w: math.lgamma((n + w) / 2) - math.lgamma(w / 2) for w in _WEIGHTS}
        likely += np.tile(list(gammas.values()), len(_COMMON)) - n / 2 * np.log(scale * weight)
        likely -= (n + weight) / 2 * np.log1p(n * ratio / (weight * scale))
    share = np.exp(likely - likely.max())
    share /= share.sum()
    drawn = rng.choice(len(share), DRAWS, p=share)
    c, d = scale[drawn], weight[drawn]
    n = degrees[:, None]
    factors = (d * c + n * ratios[:, None]) / (2 * rng.standard_gamma((d + n) / 2))
    return np.maximum(factors, 1), degrees + 1 / (share / weight).sum()


def _critical(errors: Floats, variance: Floats, degrees: Floats, tested: NDArray[np.bool_], level: float) -> Floats:
    """Return each pair's critical value, in its standard errors, so that `level` of the draws exceed none of them."""
    wallace = ((8 * degrees + 1) / (8 * degrees + 3)) ** 2 * degrees
    largest = np.zeros(errors.shape[1], dtype=np.float32)
    errors, over, factor = (each.astype(np.float32) for each in (errors, 1 / (variance * degrees), wallace))
    for i, row in enumerate(tested):
        others = i + 1 + np.flatnonzero(row[i + 1 :])
        if len(others):
            scores = np.log1p((errors[others] - errors[i]) ** 2 * over[i, others, None]) * factor[i, others, None]
            np.maximum(largest, scores.max(axis=0), out=largest)
    return np.sqrt(degrees * np.expm1(np.quantile(largest.astype(np.float64), level) / wallace))


def _by_images(one: str, other: str, value: float, half_width: float, singles: Sequence[str]) -> Verdict:
    note = "of these two networks, not of the models" if len(singles) == 2 else ""
    if len(singles) == 1:
        note = f"of this one network of {singles[0]}, a single seed, not of the model"
    basis: Literal["images", "images and seeds"] = "images" if singles else "images and seeds"
    return Verdict(one, other, value, half_width, _outcome(value, half_width), basis, note)


def _by_seeds(one: str, other: str, value: float, narrow: float, wide: float) -> Verdict:
    if np.isnan(wide):
        return Verdict(one, other, value, None, "not testable", "none", "no spread over seeds, and no predictions")
    outcome = _outcome(value, wide)
    if outcome != _outcome(value, narrow):
        return Verdict(one, other, value, wide, "undecided", "seeds", "run five seeds")
    return Verdict(one, other, value, wide, outcome, "seeds", "on these test images")


def _untested(one: str, other: str, values: Mapping[str, Floats]) -> Verdict:
    if none := [name for name in (one, other) if not len(values[name])]:
        return Verdict(one, other, None, None, "not testable", "none", f"{' and '.join(none)} without accuracy")
    singles = " and ".join(name for name in (one, other) if len(values[name]) == 1)
    note = f"a single seed of {singles}, and no predictions to compare by images"
    value = float(values[one].mean() - values[other].mean())
    return Verdict(one, other, value, None, "not testable", "none", note)


def _outcome(value: float, half_width: float) -> Outcome:
    return "not distinguishable" if abs(value) <= half_width else "better" if value > 0 else "worse"


def _accuracies(scores: Scores, are_predictions: bool) -> Floats:
    """The accuracies that are finite, in percent, one of each seed."""
    if are_predictions:
        return 100 * np.asarray(scores).mean(axis=1)
    values = np.asarray(scores, dtype=np.float64).ravel()
    return values[np.isfinite(values)]
