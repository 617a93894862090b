"""The 95 % interval of one row's accuracy, by each image's predictions: it counts the seeds and the finite test set.

The variance of the mean accuracy x of n seeds on N images, as an estimate of what the model reaches over all images and
all seeds, is that of `simultaneous.py` for a single model: Var_i(x) / N + t² / n.  The first term gets two images right
and two wrong (Agresti & Coull 1998, doi:10.1080/00031305.1998.10480550), as the binomial error of a few wrong images is
underestimated else: at 98.6 % of 360 images ± 1.96 standard errors cover 91 %, with these four 96 %.  t², what seeds
have in common over images, is moderated by this row's flips alone, so that the interval does not depend on which other
rows a report has.  A single seed has the first term alone: its interval is of this one network.  Simulated on 360
images, 1 to 10 seeds, equal and ninefold spreads, common effects of 0 to 2 times the flips', it holds in 93 to 97 % of
cases.

Pure, deterministic, and without scipy, which `status` has no time for.
"""

import math
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from mixbench.results.simultaneous import Floats, moderated
from mixbench.results.statistics import ALPHA

_ADDED = (1.0, 1.0, 0.0, 0.0)
_LEVELS = (np.arange(200) + 0.5) / 200  # quantiles that stand for all drawn variances: the half-width moves by < .5 %


def accuracy_half_width(right: NDArray[np.bool_]) -> float:
    """Return half the interval's width, in points.  `right`: which images are predicted correctly, seeds × images."""
    seeds, images = right.shape
    x = right.mean(axis=0, dtype=np.float64)
    own = np.append(x, _ADDED).var() / (images + len(_ADDED))
    flips = float((x * (1 - x)).sum()) / images**2 * seeds / max(seeds - 1, 1)
    if not flips:
        return 100 * _half_width(np.array([own]))
    ratio = np.array([right.mean(axis=1).var(ddof=1) / flips])
    factors, _ = moderated(ratio, np.array([seeds - 1]), np.random.default_rng(0))
    return 100 * _half_width(np.quantile(own + flips / seeds * (factors[0] - 1), _LEVELS))


def _half_width(variances: Floats) -> float:
    """Solve P(|error| > h) = ALPHA, the error being normal with any of these variances: by Newton's method, from below.

    The probability is convex in h, so no step goes too far.
    """
    deviations = np.sqrt(2 * variances).tolist()
    h = -NormalDist().inv_cdf(ALPHA / 2) * deviations[0] / math.sqrt(2)
    for _ in range(50):
        above = math.fsum(math.erfc(h / each) for each in deviations) / len(deviations) - ALPHA
        density = math.fsum(math.exp(-((h / each) ** 2)) / each for each in deviations) / len(deviations)
        h += (step := above * math.sqrt(math.pi) / 2 / density)
        if step < 1e-12 * h:
            break
    return h
