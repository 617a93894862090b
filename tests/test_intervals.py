"""A row's own intervals: of its accuracy, over seeds and test images; of its speeds, over trials and timed rounds."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, t
from statsmodels.stats.proportion import proportion_confint

from mixbench.report import numbers
from mixbench.report.leaderboard import board
from mixbench.results.accuracy_interval import accuracy_half_width
from mixbench.results.metrics import INFERENCE, TRAINING
from mixbench.results.simultaneous import verdicts
from mixbench.results.speed_interval import LEAST_ROUNDS, ratio_errors, simultaneous_widths, speed_interval
from mixbench.results.tables import tables
from mixbench.run.record import Record
from tests.benchmarks.simulate_verdicts import Predictions
from tests.fake_runs import done, trial, with_predictions, write_run


def alike(seeds: int, images: int, right: int) -> NDArray[np.bool_]:
    return np.tile(np.arange(images) < right, (seeds, 1))


# -- accuracy


@pytest.mark.parametrize(("images", "right"), [(360, 355), (360, 180), (10_000, 9_000), (10_000, 9_990)])
def test_a_single_seed_has_the_binomial_interval_of_its_images(images: int, right: int) -> None:
    """Agresti and Coull's, which adds z² = 3.84 images; ours adds 4.  Equal seeds do not make it narrower."""
    low, high = proportion_confint(right, images, method="agresti_coull")
    assert accuracy_half_width(alike(1, images, right)) == pytest.approx(50 * (high - low), rel=0.02)
    assert accuracy_half_width(alike(3, images, right)) == accuracy_half_width(alike(1, images, right))


def test_the_binomial_interval_covers_at_any_accuracy_that_a_test_set_of_360_images_can_tell() -> None:
    right = np.arange(361)
    widths = np.array([accuracy_half_width(alike(1, 360, int(k))) for k in right])
    for accuracy in np.linspace(0.5, 0.995, 100):
        covered = abs(right / 3.6 - 100 * accuracy) <= widths
        assert binom.pmf(right, 360, accuracy)[covered].sum() >= 0.935, accuracy


def test_where_seeds_differ_by_far_more_than_their_images_it_is_students_interval() -> None:
    rng, n, images = np.random.default_rng(0), 30, 50_000
    accuracies = rng.normal(0.5, 0.05, n)
    right = np.stack([rng.permutation(images) < images * each for each in accuracies])
    student = 100 * t.ppf(0.975, n - 1) * accuracies.std(ddof=1) / n**0.5
    assert accuracy_half_width(right) == pytest.approx(student, rel=0.05)


@pytest.mark.parametrize("common", [0.0, 1.0])
@pytest.mark.parametrize("unequal", [False, True], ids=["equal", "ninefold"])
def test_three_seeds_intervals_cover_what_the_model_reaches_over_images_and_seeds(common: float, unequal: bool) -> None:
    """In 60 draws of 12 rows that share their images."""
    cell = Predictions(12, 3, 360, unequal, np.full(12, common))
    rng, covered, student = np.random.default_rng(0), 0, 0
    for _ in range(60):
        for right, accuracy in zip(cell.draw(rng).values(), cell.accuracy, strict=True):
            error = 100 * abs(right.mean() - accuracy)
            covered += error <= accuracy_half_width(right)
            student += error <= 100 * t.ppf(0.975, 2) * right.mean(axis=1).std(ddof=1) / 3**0.5
    assert covered / 720 >= 0.935
    assert student < covered


def test_a_rows_interval_does_not_depend_on_the_rows_beside_it_and_a_pairs_is_narrower() -> None:
    """Two models fail on the same hard images: how hard those are counts for each model, and not for the difference."""
    found = {f"m{i}": right for i, right in enumerate(Predictions(2, 3, 2_000, False, np.zeros(2)).draw(
        np.random.default_rng(0)).values())}  # fmt: skip
    widths = [accuracy_half_width(right) for right in found.values()]
    assert found and (verdicts(found).of("m0", "m1").half_width or 99) < min(widths)


def test_the_board_shows_the_interval_by_images_and_says_what_it_counts(tmp_path: Path) -> None:
    trials = [trial("convmixer_256_8", seed) for seed in range(2)] + [trial("mixer_s_4"), trial("resmlp_s12_4")]
    run = write_run(tmp_path / "run", trials, [])
    for each in trials[:3]:
        run.write_record(with_predictions(run, done(each, 90.0)))
    run.write_record(done(trials[3], 90.0))
    found = tables(run)
    several, single, without = (group.row for group in found.groups)
    assert several.top1_ci95 == 0 and 0.4 < (several.top1_ci95_images or 0) < 1
    assert 0.55 < (single.top1_ci95_images or 0) < 0.62 and single.top1_ci95 is None
    assert (without.top1_ci95_images, without.quality_ci95) == (None, None)
    assert [numbers.quality(row).partition(" ± ")[1] for row in (several, single, without)] == [" ± ", " ± ", ""]
    [quality] = [column for column in board(found).columns if column.name == "top1"]
    cells = {line.row.model: quality.cell(line) for line in board(found).lines}
    assert "± counts the seeds and the test images" in cells["convmixer_256_8"].hover
    assert cells["mixer_s_4"].spread.endswith(", one seed") and "this one network" in cells["mixer_s_4"].hover
    assert (cells["resmlp_s12_4"].spread, cells["resmlp_s12_4"].hover) == (
        "one seed",
        "a single seed: no interval can be given",
    )


# -- speed


def timed(milliseconds: Any, seed: int = 0, **changes: Any) -> Record:
    """A trial of 1,000 images a second by its median, with these steps of inference."""
    record = done(trial(seed=seed), 90.0, infer_samples_per_sec=1000.0)
    part = record.details.throughput
    assert part is not None
    steps = part.model_copy(update={"infer_step_ms": [float(each) for each in milliseconds]} | changes)
    return record.model_copy(update={"details": record.details.model_copy(update={"throughput": steps})})


def noisy(rng: np.random.Generator, spread: float = 0.05) -> Any:
    return 10 * np.exp(spread * rng.standard_normal(20))


def test_a_speeds_interval_is_that_of_its_median_step() -> None:
    """By order statistics: of 20 steps, the 6th to the 15th span the median in 95.9 % of cases."""
    steps = np.sort(noisy(np.random.default_rng(0)))
    low, high = speed_interval([timed(steps)], INFERENCE) or (0, 0)
    middle = float(np.median(steps))
    assert low < 1000 < high
    assert 1000 * middle / steps[15] <= low <= 1000 * middle / steps[12]
    assert 1000 * middle / steps[7] <= high <= 1000 * middle / steps[4]
    assert speed_interval([timed([10.0] * 20)], INFERENCE) == pytest.approx((1000, 1000))


def test_a_speeds_interval_covers_the_speed() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        steps = noisy(rng)
        record = timed(steps).model_copy(update={"infer_samples_per_sec": 10_000 / float(np.median(steps))})
        low, high = speed_interval([record], INFERENCE) or (0, 0)
        covered += low <= 1000 <= high
    assert 0.92 <= covered / 200 <= 0.99


def test_steps_of_one_round_are_one_observation() -> None:
    """On a GPU a round has many steps, which share its state: 400 steps of 20 rounds say no more than 20 rounds."""
    rounds = noisy(np.random.default_rng(0))
    one, many = (speed_interval([timed(steps)], INFERENCE) for steps in (rounds, np.repeat(rounds, 20)))
    assert one == pytest.approx(many) and one is not None and one[1] - one[0] > 10


def test_trials_that_differ_widen_the_interval_and_few_rounds_have_none() -> None:
    rng = np.random.default_rng(0)
    same = [timed(noisy(rng, 0.01), seed) for seed in range(3)]
    apart = [each.model_copy(update={"infer_samples_per_sec": 800 + 200.0 * each.seed}) for each in same]
    close, wide = (speed_interval(records, INFERENCE) or (0, 0) for records in (same, apart))
    ends = (1000 * 0.8**1.5**0.5, 1000 * 1.2**1.5**0.5)  # the three span 800 to 1,200; √(3 / 2) for their small number
    assert close[1] - close[0] < 20 and wide == pytest.approx(ends, rel=0.01)
    assert speed_interval([*same, timed([10.0] * (LEAST_ROUNDS - 1))], INFERENCE) is None
    assert speed_interval([timed([])], INFERENCE) is None
    assert speed_interval([done(trial(), 90.0, train_samples_per_sec=None)], TRAINING) is None


def test_the_ends_are_in_the_summary_and_at_the_boards_speed(tmp_path: Path) -> None:
    run = write_run(tmp_path, [trial()], [timed(noisy(np.random.default_rng(0)))])
    found = tables(run)
    low, high = speed_interval(found.groups[0].records, INFERENCE) or (0, 0)
    assert (found.summary.infer_samples_per_sec_low[0], found.summary.infer_samples_per_sec_high[0]) == (low, high)
    [speed] = [column for column in board(found).columns if column.name == "throughput"]
    said = f"95 % interval of the median {low:,.0f} to {high:,.0f} images/s"
    assert speed.cell(board(found).lines[0]).hover.endswith(said)


def test_the_ratio_of_two_runs_has_both_runs_errors_and_many_ratios_wider_intervals() -> None:
    rng = np.random.default_rng(0)
    errors = [ratio_errors([(timed(noisy(rng)), timed(noisy(rng)))], INFERENCE) for _ in range(10)]
    found = [each for each in errors if each is not None]
    alone = simultaneous_widths(found[:1])[0]
    # the median's standard error of 20 steps is .0125 to .014; of the ratio √2 of it
    assert 1.96 * 0.011 * 2**0.5 < np.mean([simultaneous_widths([each])[0] for each in found]) < 1.96 * 0.018 * 2**0.5
    assert 1.2 < simultaneous_widths(found)[0] / alone < 1.7
    assert ratio_errors([(timed(noisy(rng)), timed([10.0] * 3))], INFERENCE) is None
