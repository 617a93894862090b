"""Statistics over seeds: t-intervals, paired and Welch's t-tests, Holm's correction, and the digits they support.

Pure.  scipy is imported in the functions that use it: counting trials does not need it.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Literal

ALPHA = 0.05
"""Significance level: intervals cover 1 - ALPHA, and a p below it is significant."""
DECIMALS = 2
"""Decimals shown of an accuracy in percent, at most: a wide interval supports fewer."""
_T = (
    12.706204736174694, 4.302652729749462, 3.1824463052837078, 2.7764451051977934, 2.5705818356363146,
    2.4469118511449786, 2.364624251592784, 2.306004135204166, 2.262157162798205, 2.228138851986274,
    2.200985160091639, 2.1788128296672284, 2.1603686564627913, 2.144786687917804, 2.131449545559776,
    2.1199052992212546, 2.1098155778333156, 2.1009220402410382, 2.0930240544083087, 2.085963447265864,
    2.0796138447276795, 2.0738730679040254, 2.0686576104190486, 2.0638985616280245, 2.0595385527532972,
    2.0555294386428735, 2.0518305164802846, 2.0484071417952454, 2.045229642132703, 2.0422724563012378,
)  # fmt: skip
"""Student's t that 95 % of the distribution lie within, at 1 to 30 degrees of freedom: status has no time for scipy."""
_ROUNDING = 1e-9  # a spread below this share of the values comes from rounding errors, not from the seeds


@dataclass(frozen=True)
class Interval:
    """The mean of `n` values with half the width of its 95 % t-interval; None if n is too small for it.

    `std` is the sample standard deviation (n - 1).  `not_finite`: how many other values are left out, for being NaN or
    infinite.
    """

    n: int
    mean: float | None
    std: float | None
    half_width: float | None
    not_finite: int = 0

    @property
    def text(self) -> str:
        """ "94.12 ± 0.13", or "94.12 (n = 1)"; "" without values."""
        if self.mean is None:
            return ""
        return plus_minus(self.mean, self.half_width) + ("" if self.half_width is not None else f" (n = {self.n})")


@dataclass(frozen=True)
class Difference:
    """Difference of the means of two samples, first - second, with a t-test of it.

    `kind`: paired, over the `n` common seeds; welch, over all `n` values of both; none: not comparable, and `note` says
    why.  `half_width` is that of the difference's 95 % interval; `p` is two-sided and uncorrected.
    `effect`: paired d_z = mean / standard deviation of the differences per seed; welch Cohen's d, by the pooled
    standard deviation.  With a single seed there is a `value`, and the rest is None.
    """

    kind: Literal["paired", "welch", "none"]
    n: int
    value: float | None = None
    half_width: float | None = None
    p: float | None = None
    effect: float | None = None
    note: str = ""

    @property
    def effect_name(self) -> str:
        return {"paired": "d_z", "welch": "d", "none": ""}[self.kind]

    @property
    def text(self) -> str:
        """ "+0.31 ± 0.12" """
        return "" if self.value is None else plus_minus(self.value, self.half_width, sign="+")


def interval(values: Iterable[float | None]) -> Interval:
    """Mean and t-interval of the values; None stands for a missing value."""
    known = [value for value in values if value is not None]
    finite = [value for value in known if math.isfinite(value)]
    n, left_out = len(finite), len(known) - len(finite)
    if n < 2:
        return Interval(n, finite[0] if finite else None, None, None, left_out)
    std = _spread(finite)
    return Interval(n, fmean(finite), std, _quantile(n - 1) * std / math.sqrt(n), left_out)


def difference(first: Sequence[tuple[int, float]], second: Sequence[tuple[int, float]]) -> Difference:
    """Test two samples of (seed, value): paired if they have at least two common seeds, by Welch's test otherwise.

    A sample that has a seed twice cannot be paired.
    """
    ones = [(seed, value) for seed, value in first if math.isfinite(value)]
    others = [(seed, value) for seed, value in second if math.isfinite(value)]
    by_seed, by_other = dict(ones), dict(others)
    common = [seed for seed in by_seed if seed in by_other]
    each_once = len(by_seed) == len(ones) and len(by_other) == len(others)
    if each_once and len(common) >= 2:
        found = _paired([by_seed[seed] for seed in common], [by_other[seed] for seed in common])
    else:
        found = _welch([value for _, value in ones], [value for _, value in others])
    left_out = len(first) + len(second) - len(ones) - len(others)
    notes = [found.note, f"not finite, and left out: {left_out}" if left_out else ""]
    return replace(found, note="; ".join(filter(None, notes)))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for multiple testing by Holm's step-down method; None, for no test, stays None."""
    tests = sorted((p, index) for index, p in enumerate(values) if p is not None)
    corrected: list[float | None] = [None] * len(values)
    largest = 0.0
    for rank, (p, index) in enumerate(tests):
        largest = max(largest, min(1.0, p * (len(tests) - rank)))
        corrected[index] = largest
    return corrected


def is_significant(p: float | None) -> bool | None:
    """Return whether a corrected p is below ALPHA; None if there was no test."""
    return None if p is None else p < ALPHA


def decimals(half_width: float | None, most: int = DECIMALS) -> int:
    """Number of decimals (0 or more) that an interval supports: to one or two significant digits of its half-width.

    The rounding rule of the Particle Data Group (Review of Particle Physics, Introduction, 5.3): two digits if the
    first three are 100 to 354, one for 355 to 949, and 950 to 999 are rounded up to 1000, of which two are kept.
    `most` decimals if there is no interval, or one of width 0.
    """
    return max(0, _place(half_width, most))


def plus_minus(value: float, half_width: float | None, most: int = DECIMALS, sign: Literal["", "+"] = "") -> str:
    """ "94.12 ± 0.13", "1430 ± 130": no more digits than the half-width supports; the value alone if it is None.

    `sign="+"` puts a plus before a positive value.
    """
    place = _place(half_width, most)
    rounded = round(value, place) + 0.0  # no negative zero
    text = f"{rounded:{sign if rounded else ''}.{max(0, place)}f}"
    if half_width is None:
        return text
    width = f"{round(half_width, place):.{max(0, place)}f}"
    return f"{text} ± <{10.0**-place:.{place}f}" if half_width and float(width) == 0 else f"{text} ± {width}"


def supported(value: float, half_width: float | None, most: int = DECIMALS, sign: Literal["", "+"] = "") -> str:
    """The value with the digits that its half-width supports, without the half-width: "94.1", "-20"."""
    return plus_minus(value, half_width, most, sign).partition(" ± ")[0]


def _place(half_width: float | None, most: int) -> int:
    """Position of the last digit shown, as round() takes it: -1 for the tens."""
    if half_width is None or not math.isfinite(half_width) or half_width <= 0:
        return most
    digits, exponent = f"{half_width:.2e}".split("e")
    first = float(digits)
    kept = 1 if 3.55 <= first < 9.5 else 2
    return min(most, kept - 1 - int(exponent) - (first >= 9.5))


def _paired(ones: list[float], others: list[float]) -> Difference:
    differences = [one - other for one, other in zip(ones, others, strict=True)]
    n, value, largest = len(differences), fmean(differences), max(map(abs, ones + others))
    std = _spread(differences, largest)
    if std == 0:
        return _no_spread("paired", n, value, largest)
    return _tested("paired", n, value, std / math.sqrt(n), n - 1, value / std)


def _welch(ones: list[float], others: list[float]) -> Difference:
    n, m = len(ones), len(others)
    value = fmean(ones) - fmean(others) if n and m else None
    if value is None or min(n, m) < 2:
        counts = " and ".join("no value" if not k else "a single seed" if k == 1 else f"{k} seeds" for k in (n, m))
        return Difference("none", n + m, value, note=f"not comparable: {counts}")
    s, t = _spread(ones), _spread(others)
    if s == t == 0:
        return _no_spread("welch", n + m, value, max(map(abs, ones + others)))
    error = math.hypot(s / math.sqrt(n), t / math.sqrt(m))
    share = (s / error) ** 2 / n
    degrees = 1 / (share**2 / (n - 1) + (1 - share) ** 2 / (m - 1))  # Welch–Satterthwaite
    pooled = math.hypot(s * math.sqrt(n - 1), t * math.sqrt(m - 1)) / math.sqrt(n + m - 2)
    return _tested("welch", n + m, value, error, degrees, value / pooled)


def _tested(
    kind: Literal["paired", "welch"], n: int, value: float, error: float, degrees: float, effect: float
) -> Difference:
    from scipy.special import stdtr

    p = 2 * float(stdtr(degrees, -abs(value / error)))
    return Difference(kind, n, value, _quantile(degrees) * error, p, effect)


def _no_spread(kind: Literal["paired", "welch"], n: int, value: float, largest: float) -> Difference:
    """Result for samples without spread: identical ones have difference 0; if they differ, no test is possible."""
    if abs(value) <= _ROUNDING * largest:
        return Difference(kind, n, 0.0, 0.0, 1.0, 0.0, "identical values")
    return Difference("none", n, value, note="not comparable: no spread over seeds to test the difference against")


def _spread(values: list[float], largest: float | None = None) -> float:
    """The sample standard deviation; 0 if rounding errors of values up to `largest` (by default theirs) explain it."""
    std = math.dist(values, [fmean(values)] * len(values)) / math.sqrt(len(values) - 1)
    return std if std > _ROUNDING * (max(map(abs, values)) if largest is None else largest) else 0.0


def _quantile(degrees: float) -> float:
    """Student's t that 95 % of the distribution lie within, two-sided."""
    if degrees in range(1, len(_T) + 1):
        return _T[int(degrees) - 1]
    from scipy.special import stdtrit

    return float(stdtrit(degrees, 1 - ALPHA / 2))
