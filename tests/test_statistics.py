"""Intervals, tests and corrections equal statsmodels' on generated data; what cannot be tested is said, not guessed."""

import math
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import CompareMeans, DescrStatsW

from mixbench.results import statistics
from mixbench.results.statistics import Interval, decimals, difference, holm, interval, plus_minus, supported

ACCURACY = st.integers(0, 10_000).map(lambda hundredths: hundredths / 100)  # as 10,000 test images give it
ANY = st.floats(-1e12, 1e12) | st.floats(-1e-3, 1e-3) | ACCURACY
SAMPLES = st.lists(ACCURACY, min_size=2, max_size=12) | st.lists(ANY, min_size=2, max_size=12)


def varies(*samples: list[float]) -> bool:
    """Enough for statsmodels, whose own arithmetic loses the spread of values that hardly differ."""
    largest = max(abs(value) for sample in samples for value in sample)
    return all(max(sample) - min(sample) > 1e-6 * largest and largest > 1e-100 for sample in samples)


def close(value: float | None, expected: float) -> bool:
    assert value is not None
    return math.isclose(value, float(expected), rel_tol=1e-6, abs_tol=1e-12)


# -- against statsmodels


@settings(deadline=None)
@given(SAMPLES)
def test_an_interval_is_statsmodels(values: list[float]) -> None:
    assume(varies(values))
    found, theirs = interval(values), DescrStatsW(values, ddof=0)
    low, high = theirs.tconfint_mean(alpha=0.05)
    assert found.mean is not None and found.half_width is not None
    size = max(map(abs, values))
    assert found.n == len(values)
    assert math.isclose(found.mean - found.half_width, low, rel_tol=1e-6, abs_tol=1e-9 * size)
    assert math.isclose(found.mean + found.half_width, high, rel_tol=1e-6, abs_tol=1e-9 * size)
    assert close(found.std, theirs.std * math.sqrt(len(values) / (len(values) - 1)))


@settings(deadline=None)
@given(SAMPLES, SAMPLES)
def test_welchs_test_is_statsmodels(ones: list[float], others: list[float]) -> None:
    assume(varies(ones, others))
    found = difference(list(enumerate(ones)), [(-1 - seed, value) for seed, value in enumerate(others)])
    theirs = CompareMeans(DescrStatsW(ones), DescrStatsW(others))
    _, p, _ = theirs.ttest_ind(usevar="unequal")
    low, high = theirs.tconfint_diff(usevar="unequal")
    assert found.kind == "welch" and found.n == len(ones) + len(others)
    assert close(found.half_width, (high - low) / 2) and close(found.p, p)
    assert found.value is not None and low - 1e-9 * abs(low) <= found.value <= high + 1e-9 * abs(high)
    pooled = math.sqrt(theirs.d1.sumsquares + theirs.d2.sumsquares) / math.sqrt(found.n - 2)
    assert close(found.effect, (theirs.d1.mean - theirs.d2.mean) / pooled)


@settings(deadline=None)
@given(st.lists(st.tuples(ACCURACY, ACCURACY), min_size=2, max_size=12))
def test_a_paired_test_is_statsmodels_on_the_differences(pairs: list[tuple[float, float]]) -> None:
    apart = [one - other for one, other in pairs]
    assume(max(apart) - min(apart) > 1e-3)
    only_one = [(99, 12.0)]  # a seed that the other lacks takes no part
    found = difference([*enumerate(one for one, _ in pairs), *only_one], list(enumerate(other for _, other in pairs)))
    theirs = DescrStatsW(apart)
    _, p, _ = theirs.ttest_mean(0)
    low, high = theirs.tconfint_mean()
    assert (found.kind, found.effect_name, found.n) == ("paired", "d_z", len(pairs))
    assert close(found.half_width, (high - low) / 2) and close(found.p, p)
    assert found.value is not None and math.isclose(found.value, theirs.mean, abs_tol=1e-9)
    assert found.effect is not None
    std = theirs.std_mean * math.sqrt(theirs.nobs)
    assert math.isclose(found.effect * std, theirs.mean, rel_tol=1e-6, abs_tol=1e-9)


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holms_correction_is_statsmodels(values: list[float]) -> None:
    with mock.patch("gc.collect"):  # which takes half a second of each of theirs
        expected = multipletests(values, method="holm")[1]
    assert all(close(found, theirs) for found, theirs in zip(holm(values), expected, strict=True))


def test_holm_leaves_out_what_was_not_tested() -> None:
    assert holm([0.01, None, 0.04, 0.03]) == [0.03, None, 0.06, 0.06]
    assert holm([None]) == [None] and holm([]) == []


# -- what cannot be computed, or must not


def test_a_single_value_has_a_mean_says_so_and_has_no_interval() -> None:
    assert interval([93.5]) == Interval(1, 93.5, None, None)
    assert interval([93.5]).text == "93.50 (n = 1)"
    assert interval([]) == interval([None]) == Interval(0, None, None, None)
    assert interval([]).text == ""


def test_what_is_not_finite_is_left_out_and_counted() -> None:
    nan, inf = float("nan"), float("inf")
    found = interval([90.0, nan, 92.0, inf, None, -inf])
    assert (found.n, found.mean, found.not_finite) == (2, 91.0, 3)
    assert interval([nan]) == Interval(0, None, None, None, 1)
    tested = difference([(0, 90.0), (1, nan), (2, 91.5)], [(0, 89.0), (1, 90.0), (2, 90.0)])
    assert (tested.kind, tested.n, tested.note) == ("paired", 2, "not finite, and left out: 1")


@given(ACCURACY, st.integers(2, 8), st.booleans())
def test_identical_values_are_no_difference_and_no_warning(value: float, n: int, common: bool) -> None:
    found = difference([(seed, value) for seed in range(n)], [(seed + 100 * (not common), value) for seed in range(n)])
    assert (found.value, found.half_width, found.p, found.effect) == (0.0, 0.0, 1.0, 0.0)
    assert (found.kind, found.note) == ("paired" if common else "welch", "identical values")
    assert interval([value] * n).half_width == 0.0


def test_a_difference_without_a_spread_is_told_but_not_tested() -> None:
    """Infinite t, p of 0: from two seeds that is no evidence; and 90.1 - 90 is not 91.1 - 91 in binary."""
    for second in ([(0, 90.0), (1, 91.0)], [(7, 90.0), (8, 90.0)]):
        first = [(seed, value + 0.1) for seed, value in second[:1]] + [(second[1][0], second[1][1] + 0.1)]
        if second[0][0] == 7:
            first = [(1, 90.1), (2, 90.1)]
        found = difference(first, second)
        assert found.kind == "none" and found.value == pytest.approx(0.1)
        assert (found.half_width, found.p, found.effect) == (None, None, None)
        assert "no spread" in found.note


@pytest.mark.parametrize(
    ("first", "second", "note"),
    [
        ([(0, 90.0)], [(0, 91.0), (1, 92.0)], "a single seed and 2 seeds"),
        ([(0, 90.0)], [(0, 91.0)], "a single seed and a single seed"),
        ([], [(0, 91.0), (1, 91.5), (2, 91.1)], "no value and 3 seeds"),
    ],
)
def test_too_few_seeds_are_not_comparable_and_say_so(first: list, second: list, note: str) -> None:
    found = difference(first, second)
    assert (found.kind, found.p, found.half_width, found.note) == ("none", None, None, f"not comparable: {note}")
    assert found.value == (first[0][1] - sum(value for _, value in second) / len(second) if first else None)


def test_one_common_seed_is_not_enough_to_pair() -> None:
    assert difference([(0, 90.0), (1, 91.0)], [(1, 90.5), (2, 92.0)]).kind == "welch"
    twice = [(0, 90.0), (0, 90.4), (1, 91.0)]
    assert difference(twice, [(0, 90.5), (1, 92.0)]).kind == "welch", "a seed that stands twice cannot be paired"


def test_the_quantiles_that_need_no_scipy_are_scipys() -> None:
    from scipy.special import stdtrit

    assert list(statistics._T) == [float(stdtrit(degrees, 1 - statistics.ALPHA / 2)) for degrees in range(1, 31)]
    assert [round(statistics._quantile(degrees), 3) for degrees in (2, 2.5, 30, 31)] == [4.303, 3.575, 2.042, 2.04]


# -- digits


@pytest.mark.parametrize(
    ("half_width", "shown"),
    [
        (0.131, "94.13 ± 0.13"),
        (0.354, "94.13 ± 0.35"),
        (0.355, "94.1 ± 0.4"),
        (0.949, "94.1 ± 0.9"),
        (0.951, "94.1 ± 1.0"),
        (0.0951, "94.13 ± 0.10"),
        (0.042, "94.13 ± 0.04"),
        (0.0004, "94.13 ± <0.01"),
        (0.0, "94.13 ± 0.00"),
        (1.27, "94.1 ± 1.3"),
        (6.35, "94 ± 6"),
        (12.7, "94 ± 13"),
        (97.0, "90 ± 100"),
        (508.0, "100 ± 500"),
        (None, "94.13"),
    ],
)
def test_no_more_digits_than_the_interval_supports(half_width: float | None, shown: str) -> None:
    assert plus_minus(94.128, half_width) == shown
    assert len(shown.split(" ")[0].partition(".")[2]) == decimals(half_width)


@given(st.floats(1e-6, 1e6), st.integers(0, 6))
def test_a_half_width_is_rounded_by_at_most_a_seventh_and_has_at_most_two_digits(half_width: float, most: int) -> None:
    width = plus_minus(0.0, half_width, most=most).partition(" ± ")[2]
    if "<" not in width and decimals(half_width, 9) <= most:
        assert abs(float(width) - half_width) <= half_width / 7
        assert len(str(int(width.replace(".", ""))).rstrip("0")) <= 2


def test_a_value_alone_has_the_digits_of_its_interval_too() -> None:
    assert [supported(-20.43, width, sign="+") for width in (8.1, 0.12, None)] == ["-20", "-20.43", "-20.43"]
    assert supported(3.59, 6.35, sign="+") == "+4" and supported(0.2, 6.35, sign="+") == "0"


def test_signs_are_shown_where_asked_and_nothing_is_minus_zero() -> None:
    assert plus_minus(0.31, 0.12, sign="+") == "+0.31 ± 0.12"
    assert plus_minus(-0.001, None) == plus_minus(-0.001, None, sign="+") == "0.00"
    assert plus_minus(1430.5, 127.0, most=1) == "1430 ± 130"


def test_importing_it_costs_nothing() -> None:
    code = "import sys, mixbench.results.statistics; print(*({'scipy', 'numpy', 'pandas', 'torch'} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert loaded.stdout.strip() == ""
