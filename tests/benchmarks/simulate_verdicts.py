"""How often verdicts on models err, and how often they see a real lead: simulated, beside the rates aimed at.

Run with: nice -n 19 python -m tests.benchmarks.simulate_verdicts > tests/benchmarks/simulate_verdicts.md
1,000 repetitions a cell, 400 at 10,000 images, take half an hour on one core; the tables there are of this command.

What is estimated: the difference of two models' expected accuracies over the population of images and of seeds.  All
models of a cell have the same one but the first, which leads by 3.3 spreads (a spread: the standard deviation of
accuracy over seeds on given images; of unequal ones the geometric mean, which the leader has too).  False: a run in
which any pair of equals is said to differ, or the leader to be worse.  Coverage: runs in which all pairs' intervals
hold the true difference.  Power: the share of the leader's pairs in which it is said to be better.  Ceiling: the power
if all variances were known, errors being normal; a rate exceeds it at 360 images, where a larger lead has by chance the
smaller variance.

With predictions (`Predictions`): an image is right if a threshold exceeds its difficulty for the model plus noise of
the seed, all normal.  The seed also shifts its threshold: a common effect, its standard deviation given in units of the
flips'.  Without (`Accuracies`): normal accuracies of each seed, and the population is that of seeds alone.

Aimed at, and met in every cell but those of effects "by turns": with predictions false ≤ 6.5 % (8 % at two seeds),
coverage ≥ 93.5 %; without them false ≤ 7.5 % from five seeds on, and nowhere less power than paired t-tests with
Holm's correction.  A power of .6 at 9 × 3 and of .9 at 9 × 5, spreads equal, is met where a common effect is as large
as the flips, and missed at smaller ones: at 9 × 5 the images' own sampling leaves a ceiling below it, at 9 × 3 one just
above it, and a common effect that is not there has to be ruled out.  By turns, models' effects differ as no two or
three seeds can tell: false up to 11 % at two, 9.5 % at three, 7.5 % at five.
"""

import sys
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtr, ndtri, stdtr
from scipy.stats import multivariate_normal, norm

from mixbench.results.simultaneous import Verdict, verdicts

Floats = NDArray[np.floating[Any]]
ACCURACY, LEAD = 0.9, 3.3
FLIPS, NINEFOLD = 0.3, (0.0105, 0.85)  # an image's variance over seeds, as a share of accuracy (1 - accuracy)
LIKENESS = 0.98  # correlation of two models' difficulties
# With these, two seeds of a model disagree on 5.4 % of the images, and two models on .6 % more.  Small mixers of 85 to
# 86 % on Fashion-MNIST: two seeds of ConvMixer or SplitMixer on 6.8 %, these two models on .4 % more, and MLP-Mixer and
# either on 1.7 % more.  How alike models are decides how well their differences can be seen, not how often they err.


@lru_cache
def seed_correlation(accuracy: float, flips: float) -> float:
    """The correlation of the latent values of two seeds of a model whose images flip so much."""
    both = accuracy - flips * accuracy * (1 - accuracy)
    at = [ndtri(accuracy)] * 2
    return float(brentq(lambda r: multivariate_normal.cdf(at, cov=[[1, r], [r, 1]]) - both, 0, 1 - 1e-9))


@dataclass
class Predictions:
    """A cell: models whose images flip by seed, with a common seed effect of `common` times the flips' size."""

    models: int
    seeds: int
    images: int
    unequal: bool
    common: Floats
    accuracy: Floats = field(init=False)
    squares: Floats = field(init=False)  # mean over repetitions of the squared standard errors, all variances known

    def __post_init__(self) -> None:
        shares = np.full(self.models, FLIPS)
        if self.unequal:
            shares = np.geomspace(*NINEFOLD, self.models)
            shares[[0, self.models // 2]] = shares[[self.models // 2, 0]]
        spread = np.sqrt(shares * ACCURACY * (1 - ACCURACY) / self.images * (1 + self.common**2))
        self.accuracy = np.full(self.models, ACCURACY)
        self.accuracy[0] += LEAD * np.exp(np.log(spread).mean())
        flips = np.sqrt(shares * self.accuracy * (1 - self.accuracy) / self.images)
        pairs = zip(self.accuracy, shares, strict=True)
        self.of_image = np.array([seed_correlation(*map(float, pair)) for pair in pairs])
        self.of_seed = self.common * flips / norm.pdf(ndtri(self.accuracy))
        self.threshold = ndtri(self.accuracy) * np.sqrt(1 + self.of_seed**2)
        self.own = np.diag((self.common * flips) ** 2 / self.seeds)
        self.squares = np.zeros((self.models, self.models))

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        """Whether each image is predicted correctly, for each model seeds × images."""

        def normal(*shape: int) -> Floats:
            return rng.standard_normal(shape, dtype=np.float32)

        share = self.of_image[:, None, None].astype(np.float32)
        alike, own = np.sqrt(np.float32(LIKENESS)), np.sqrt(np.float32(1 - LIKENESS))
        difficulty = alike * normal(self.images) + own * normal(self.models, 1, self.images)
        latent = normal(self.models, self.seeds, self.images) * np.sqrt(1 - share) + np.sqrt(share) * difficulty
        shift = self.of_seed[:, None] * rng.standard_normal((self.models, self.seeds))
        right = latent < (self.threshold[:, None] + shift)[:, :, None].astype(np.float32)
        covariance = np.cov(right.mean(axis=1, dtype=np.float64)) / self.images + self.own
        self.squares += covariance
        return {str(i): right[i] for i in range(self.models)}

    def ceiling(self, repetitions: int) -> float:
        covariance = self.squares / repetitions
        errors = np.linalg.cholesky(covariance) @ np.random.default_rng(0).standard_normal((self.models, 20_000))
        own = np.diag(covariance)
        error = np.sqrt(own[:, None] + own - 2 * covariance) + np.eye(self.models)
        largest = np.zeros(errors.shape[1])
        for i in range(self.models - 1):
            np.maximum(largest, (abs(errors[i + 1 :] - errors[i]) / error[i + 1 :, i, None]).max(axis=0), out=largest)
        lead = (self.accuracy[0] - self.accuracy[1:]) / error[0, 1:]
        return float(ndtr(lead - np.quantile(largest, 0.95)).mean())


@dataclass
class Accuracies:
    """A cell: models with normal accuracies, of a spread of .3 points or from .1 to .9."""

    models: int
    seeds: int
    unequal: bool

    def __post_init__(self) -> None:
        self.spread = np.geomspace(0.1, 0.9, self.models) if self.unequal else np.full(self.models, 0.3)
        self.spread[[0, self.models // 2]] = self.spread[[self.models // 2, 0]]
        self.accuracy = np.full(self.models, ACCURACY)
        self.accuracy[0] += LEAD * 0.003

    def draw(self, rng: np.random.Generator) -> dict[str, Any]:
        noise = rng.standard_normal((self.models, self.seeds)) * self.spread[:, None]
        return {str(i): 100 * self.accuracy[i] + noise[i] for i in range(self.models)}


@dataclass
class Rates:
    """Sums over repetitions; `undecided`: of the leader's pairs."""

    false: float = 0
    covered: float = 0
    power: float = 0
    undecided: float = 0

    def add(self, found: list[tuple[Verdict, float]]) -> None:
        """`found`: the verdicts with the true differences in points, which are 0 or positive."""
        leads = [verdict for verdict, true in found if true > 0]
        self.false += any(v.outcome == "worse" or (v.outcome == "better" and true == 0) for v, true in found)
        self.covered += all(abs((v.value or 0) - true) <= (v.half_width or 0) for v, true in found)
        self.power += sum(v.outcome == "better" for v in leads) / len(leads)
        self.undecided += sum(v.outcome == "undecided" for v in leads) / len(leads)


def rates(cell: Predictions | Accuracies, repetitions: int) -> tuple[Rates, Rates]:
    """The rates of the verdicts, and without predictions of paired t-tests with Holm's correction on the same draws."""
    rng, ours, paired = np.random.default_rng(1), Rates(), Rates()
    true = 100 * (cell.accuracy[:, None] - cell.accuracy)
    for _ in range(repetitions):
        drawn = cell.draw(rng)
        found = [(v, float(true[int(a), int(b)])) for (a, b), v in verdicts(drawn).pairs.items()]
        ours.add(found)
        if isinstance(cell, Accuracies):
            first, second = np.triu_indices(cell.models, 1)
            apart = np.stack(list(drawn.values()))
            better, worse = paired_holm(apart[first] - apart[second])
            paired.false += bool(worse.any() or better[first > 0].any())
            paired.power += float(better[first == 0].mean())
    return ours, paired


def paired_holm(apart: Floats) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Whether each pair's differences, a row, are significantly above and below 0."""
    n = apart.shape[1]
    mean = apart.mean(axis=1)
    p = 2 * stdtr(n - 1, -abs(mean) / apart.std(axis=1, ddof=1) * np.sqrt(n))
    order = np.argsort(p)
    passed = np.minimum.accumulate(p[order] * np.arange(len(p), 0, -1) < 0.05)
    significant = np.zeros(len(p), dtype=bool)
    significant[order] = passed
    return significant & (mean > 0), significant & (mean < 0)


def with_predictions(repetitions: int) -> None:
    print("| models | images | seeds | spreads | common effect | false | coverage | power | ceiling |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    commons: list[tuple[str, list[float]]] = [("0", [0]), ("1/2", [0.5]), ("1", [1]), ("0 and 2 by turns", [0, 2])]
    for images, models, seeds in product((360, 10_000), (9, 30), (2, 3, 5, 10)):
        for (name, common), unequal in product(commons, (False, True)):
            if len(common) > 1 and (unequal or models > 9):
                continue
            cell = Predictions(models, seeds, images, unequal, np.resize(common, models).astype(float))
            times = repetitions if images == 360 else repetitions * 2 // 5
            found, _ = rates(cell, times)
            shares = [found.false, found.covered, found.power]
            facts = [models, images, seeds, "ninefold" if unequal else "equal", name]
            facts += [f"{value / times:.3f}" for value in shares] + [f"{cell.ceiling(times):.3f}"]
            print(f"| {' | '.join(map(str, facts))} |", flush=True)


def without_predictions(repetitions: int) -> None:
    print("| models | seeds | spreads | false | coverage | power | undecided | paired t + Holm: false | power |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for models, seeds, unequal in product((9, 30), (2, 3, 5, 10), (False, True)):
        ours, paired = rates(Accuracies(models, seeds, unequal), repetitions)
        shares = [ours.false, ours.covered, ours.power, ours.undecided, paired.false, paired.power]
        facts = [models, seeds, "ninefold" if unequal else "equal", *(f"{v / repetitions:.3f}" for v in shares)]
        print(f"| {' | '.join(map(str, facts))} |", flush=True)


def main(repetitions: int = 1_000) -> None:
    print("`python -m tests.benchmarks.simulate_verdicts`; what the columns mean stands in its docstring.")
    some = repetitions * 2 // 5
    errors = [100 * (0.05 * 0.95 / times) ** 0.5 for times in (repetitions, some)]
    print(f"{repetitions} repetitions a cell, {some} at 10,000 images: the standard error of a rate of 5 % is")
    print(f"{errors[0]:.1f} and {errors[1]:.1f} points.")
    print("\nWithout predictions:\n")
    without_predictions(repetitions)
    print("\nWith predictions:\n")
    with_predictions(repetitions)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
