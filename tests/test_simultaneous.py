"""Verdicts on pairs of models: rates on simulated models, intervals equal to statsmodels' and scipy's, edge cases."""

import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import studentized_range, tukey_hsd
from statsmodels.stats.multicomp import pairwise_tukeyhsd

from mixbench.results import seed_intervals, simultaneous
from mixbench.results.seed_intervals import games_howell, range_quantile, tukey_kramer
from mixbench.results.simultaneous import LEAST_IMAGES, Outcome, Verdict, by_images, verdicts
from tests.benchmarks.simulate_verdicts import Accuracies, Predictions, rates

Bools = NDArray[np.bool_]
SAMPLES = {
    "balanced": [[90.1, 90.5, 90.2, 90.9], [91.0, 91.3, 90.7, 91.1], [89.0, 89.9, 89.5, 89.1]],
    "seeds differ": [[90.1, 90.5], [91.0, 91.3, 90.7, 91.9, 91.2], [89.0, 89.9, 89.5], [93.0, 90.0]],
    "two models": [[90.1, 90.5, 90.6], [91.0, 91.3, 90.7]],
    "twelve models": [[90 + 7 * i % 11 / 3 + (i * s**2) % 5 / 4 for s in range(3)] for i in range(12)],
}


def predictions(*accuracies: float, seeds: int = 3, images: int = 2_000) -> dict[str, Bools]:
    """Models a, b, … of these accuracies: the hardest images are wrong, and some near the threshold flip by seed."""
    rng = np.random.default_rng(3)
    difficulty = rng.random(images)
    right = [difficulty + 0.03 * rng.standard_normal((seeds, images)) < each for each in accuracies]
    return {chr(97 + i): each for i, each in enumerate(right)}


# -- rates


def cell(**changed: Any) -> tuple[float, float, float]:
    """False, coverage and power of nine models of three seeds, whose common seed effects are as large as the flips."""
    facts: dict[str, Any] = {"models": 9, "seeds": 3, "images": 1_000, "unequal": False, "common": np.ones(9)}
    facts |= changed
    found, _ = rates(Predictions(**facts), 200)
    return found.false / 200, found.covered / 200, found.power / 200


def test_rarely_is_any_pair_of_equals_told_apart_and_a_real_lead_is_seen() -> None:
    false, covered, power = cell()
    assert false <= 0.08 and covered >= 0.92 and power >= 0.6


def test_the_bounds_fail_where_flips_are_trusted_blindly(monkeypatch: pytest.MonkeyPatch) -> None:
    def flips_alone(ratios: Any, degrees: Any, rng: Any) -> Any:
        return np.ones((len(ratios), simultaneous.DRAWS)), degrees + 1e6

    monkeypatch.setattr(simultaneous, "moderated", flips_alone)
    false, covered, _ = cell(common=np.full(9, 2.0))
    assert false > 0.2 and covered < 0.8
    monkeypatch.undo()
    false, covered, _ = cell(common=np.full(9, 2.0))
    assert false <= 0.08 and covered >= 0.92


def test_the_bounds_fail_where_a_models_few_seeds_stand_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simultaneous, "_WEIGHTS", {1e-3: 1.0})
    assert cell()[2] < 0.4


def test_the_bounds_fail_where_models_are_not_paired_on_their_images(monkeypatch: pytest.MonkeyPatch) -> None:
    cov = np.cov
    monkeypatch.setattr(np, "cov", lambda x: np.diag(np.diag(cov(x))))
    assert cell()[2] < 0.4


def test_the_intervals_hold_the_images_own_sampling() -> None:
    """Two models that never flip differ on the population of images as far as their images leave open (McNemar)."""
    rng = np.random.default_rng(0)
    one, other = rng.random(4_000) < 0.9, rng.random(4_000) < 0.9
    width = by_images([np.stack([one] * 3), np.stack([other] * 3)])[0, 1]
    error = 100 * (one.astype(float) - other).std(ddof=1) / np.sqrt(4_000)
    assert width == pytest.approx(1.96 * error, rel=0.05)


# -- without predictions


@pytest.mark.parametrize("unequal", [False, True])
def test_from_five_seeds_errors_are_rare_and_no_lead_is_missed_that_paired_tests_see(unequal: bool) -> None:
    ours, paired = rates(Accuracies(9, 5, unequal), 200)
    assert ours.false <= 0.075 * 200 and ours.undecided == 0 and ours.power > paired.power


@pytest.mark.parametrize("samples", SAMPLES.values(), ids=list(SAMPLES))
def test_pooled_intervals_are_statsmodels(samples: list[list[float]]) -> None:
    values = np.concatenate([np.array(each) for each in samples])
    theirs = pairwise_tukeyhsd(values, np.repeat(np.arange(len(samples)), [len(each) for each in samples]))
    half = (theirs.confint[:, 1] - theirs.confint[:, 0]) / 2
    ours = tukey_kramer([np.array(each) for each in samples], 0.05)
    assert ours[np.triu_indices(len(samples), 1)] == pytest.approx(half, rel=1e-9)


@pytest.mark.parametrize("name", ["balanced", "seeds differ", "two models"])
def test_unpooled_intervals_are_scipys(name: str) -> None:
    samples = [np.array(each) for each in SAMPLES[name]]
    theirs = tukey_hsd(*samples, equal_var=False).confidence_interval(0.95)
    first, second = np.triu_indices(len(samples), 1)
    half = ((theirs.high - theirs.low) / 2)[first, second]
    assert games_howell(samples, 0.05)[first, second] == pytest.approx(half, rel=1e-9)


@pytest.mark.parametrize(("groups", "level"), [(2, 0.95), (9, 0.95), (30, 0.975)])
def test_quantiles_of_the_studentized_range_are_scipys(groups: int, level: float) -> None:
    degrees = np.array([1.0, 2.0, 3.7, 18.0, 400.0])
    assert range_quantile(groups, degrees, level) == pytest.approx(
        [studentized_range.ppf(level, groups, each) for each in degrees], rel=1e-9
    )


def test_a_verdict_that_hinges_on_pooling_is_undecided_at_three_seeds_and_not_at_five() -> None:
    calm = {name: [90 + lead + 0.1 * s for s in (-1, 0, 1)] for name, lead in zip("bcdef", range(5), strict=True)}
    found = verdicts({"a": [89.0, 89.1, 90.5]} | calm)
    outcomes = {verdict.outcome for verdict in found.pairs.values()}
    assert outcomes == {"worse", "undecided", "not distinguishable"}
    hinges = next(verdict for verdict in found.pairs.values() if verdict.outcome == "undecided")
    assert hinges.words == "undecided: run five seeds" and hinges.significant is None
    assert hinges.half_width is not None and hinges.value is not None and abs(hinges.value) <= hinges.half_width
    more = {name: [*scores, scores[0], scores[2]] for name, scores in calm.items()}
    assert not {v.outcome for v in verdicts(more | {"a": [89.0, 89.1, 90.5, 89.2, 90.4]}).pairs.values()} & {
        "undecided"
    }


@pytest.mark.parametrize("spread", [1.0, 9.0])
def test_the_pre_test_pools_variances_that_are_alike(spread: float) -> None:
    shape = np.array([-1, -0.5, 0, 0.5, 1, 1.1])
    samples = [90 + shape, 91 + 1.1 * shape, 92 + spread * shape]
    narrow, wide = seed_intervals.by_seeds(samples, 0.05)
    kramer, howell = tukey_kramer(samples, 0.05), games_howell(samples, 0.05)
    assert seed_intervals.are_equal(samples) is (spread == 1.0)
    assert (narrow == wide).all() and (wide == (kramer if spread == 1.0 else np.maximum(kramer, howell))).all()


def test_seeds_alone_say_that_they_speak_of_these_images() -> None:
    found = verdicts({"a": [92.0, 92.1, 92.2, 92.1], "b": [90.0, 90.1, 90.2, 90.3]}).of("b", "a")
    assert (found.outcome, found.basis, found.words) == ("worse", "seeds", "worse: on these test images")


# -- what cannot be tested, and what is of another kind


def test_a_single_seed_without_predictions_is_not_testable_and_says_why() -> None:
    found = verdicts({"a": [91.0], "b": [90.0, 90.2, 90.1], "c": [], "d": [89.0, float("nan")]})
    tested = found.of("b", "a")
    assert (tested.outcome, tested.half_width, tested.significant) == ("not testable", None, None)
    assert tested.value == pytest.approx(-0.9) and tested.text == "-0.90"
    assert tested.words == "not testable: a single seed of a, and no predictions to compare by images"
    assert "a single seed of a and d" in found.of("a", "d").words
    assert found.of("c", "a").words == "not testable: c without accuracy"
    assert found.of("c", "a").text == ""


def test_a_single_seed_with_predictions_is_compared_over_images_and_speaks_of_the_network() -> None:
    models = predictions(0.95, 0.7, 0.8)
    models["a"], models["b"] = models["a"][:1], models["b"][:1]
    found = verdicts(models)
    assert found.of("a", "b").words == "better: of these two networks, not of the models"
    assert found.of("c", "a").words == "worse: of this one network of a, a single seed, not of the model"
    assert {verdict.basis for verdict in found.pairs.values()} == {"images"}
    widths = by_images([models["a"], models["b"]])
    apart = models["a"][0].astype(float) - models["b"][0]
    assert widths[0, 1] == pytest.approx(196 * apart.std(ddof=1) / np.sqrt(2_000), rel=0.05)


def test_models_without_predictions_are_tested_by_seeds_beside_the_others_each_at_half_the_error_rate() -> None:
    models = predictions(0.95, 0.7)
    others: dict[str, Any] = {"old": [80.0, 80.1, 80.3], "single": [80.0]}
    found = verdicts(models | others)
    bases = {pair: verdict.basis for pair, verdict in found.pairs.items()}
    assert bases["a", "b"] == "images and seeds" and bases["a", "old"] == bases["b", "old"] == "seeds"
    assert {bases[pair] for pair in bases if "single" in pair} == {"none"}
    alone, together = verdicts(models).of("a", "b").half_width, found.of("a", "b").half_width
    assert together == pytest.approx(by_images(list(models.values()), 0.025)[0, 1])
    assert alone is not None and together is not None and together > alone
    with_nothing_to_share = verdicts(models | {"single": [80.0]})
    assert with_nothing_to_share.of("a", "b").half_width == alone


def test_equal_seeds_have_an_interval() -> None:
    same = predictions(0.9, seeds=1)["a"]
    width = by_images([np.repeat(same, 2, axis=0), np.repeat(~same, 2, axis=0)])[0, 1]
    assert width > 1
    scores = verdicts({"a": [91.0, 91.0], "b": [90.0, 90.4], "c": [90.0, 90.5]}).of("a", "b").half_width
    assert scores is not None and scores > 0.1
    untested = verdicts({"a": [91.0, 91.0], "b": [90.0, 90.0]}).of("a", "b")
    assert untested.words == "not testable: no spread over seeds, and no predictions" and untested.value == 1.0


@pytest.mark.parametrize("images", [360, 50_000])
def test_perfect_models_have_the_interval_of_two_images(images: int) -> None:
    perfect = np.ones((3, images), dtype=bool)
    one = predictions(0.9, images=images)["a"]
    found = verdicts({"a": perfect, "b": perfect, "c": one, "d": one})
    assert found.of("a", "c").outcome == "better"
    both, same = found.of("a", "b"), found.of("c", "d")
    assert both.outcome == same.outcome == "not distinguishable" and both.value == same.value == 0
    assert both.half_width is not None and same.half_width is not None
    assert 196 * LEAST_IMAGES / images < both.half_width < 400 * LEAST_IMAGES / images
    assert same.half_width >= both.half_width


def test_fewer_pairs_have_narrower_intervals() -> None:
    models = predictions(0.95, 0.9, 0.91, 0.93)
    some = verdicts(models, [("b", "a"), ("c", "d")])
    assert list(some.pairs) == [("a", "b"), ("c", "d")]
    one, every = some.of("a", "b").half_width, verdicts(models).of("a", "b").half_width
    assert one is not None and every is not None and 0.7 * every < one < every
    scores: dict[str, Any] = {"old": [80.0, 80.1, 80.3], "older": [79.0, 79.4, 79.1]}
    assert verdicts(scores, [("old", "older")]) == verdicts(scores)
    assert list(verdicts(models | scores, [("a", "old")]).pairs) == [("a", "old")]


def test_predictions_of_other_images_are_refused() -> None:
    with pytest.raises(ValueError, match="not of the same images"):
        verdicts(predictions(0.9) | {"z": predictions(0.9, images=100)["a"]})


def test_one_model_or_none_has_no_pair() -> None:
    assert verdicts({}).pairs == verdicts({"a": [90.0, 91.0]}).pairs == verdicts(predictions(0.9)).pairs == {}


@pytest.mark.parametrize(("outcome", "turned"), [("better", "worse"), ("undecided", "undecided")])
def test_a_pair_is_one_verdict_in_both_orders(outcome: Outcome, turned: Outcome) -> None:
    verdict = Verdict("a", "b", 0.5, 0.2, outcome, "seeds", "why")
    assert verdict.turned == Verdict("b", "a", -0.5, 0.2, turned, "seeds", "why")
    assert verdict.turned.turned == verdict
    found = verdicts(predictions(0.95, 0.9))
    assert found.of("b", "a") == found.of("a", "b").turned


def test_the_same_scores_give_the_same_verdicts() -> None:
    models = predictions(0.95, 0.9, 0.91)
    assert verdicts(models) == verdicts(models)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([0.0, 0.01, 0.5, 0.99, 1.0])), min_size=2, max_size=7),
    st.integers(2, 60),
    st.integers(0, 9),
)
def test_any_predictions_have_finite_intervals_and_outcomes_by_them(
    models: list[tuple[int, float]], images: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    found = verdicts({str(i): rng.random((n, images)) < p for i, (n, p) in enumerate(models)})
    for verdict in found.pairs.values():
        assert verdict.value is not None and verdict.half_width is not None
        assert np.isfinite(verdict.half_width) and verdict.half_width > 0
        assert verdict.significant is (abs(verdict.value) > verdict.half_width)


@pytest.mark.slow
def test_thirty_models_take_less_than_a_second() -> None:
    rng = np.random.default_rng(0)
    models = {str(i): rng.random((5, 10_000)) < 0.9 for i in range(30)}
    verdicts(models)
    began = time.process_time()
    verdicts(models)
    assert time.process_time() - began < 1
