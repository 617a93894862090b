"""95 % intervals of a row's images/s, and of the ratio of two runs' speeds, by bootstrap of their timed steps.

Blocks are resampled with replacement in two stages (Davison & Hinkley 1997, section 3.8): trials, in each of them its
rounds.  A round's steps follow one another and share what the machine did meanwhile, so they stay together, as their
median.  Records keep the steps in their order and the number of rounds, not their bounds: each round is taken to have
as many steps, which on a CPU, where it has one, is exact.

What all rounds share, such as what a machine does in one run and not in the next, no resampling of them can show.
Simulated at 20 rounds: the intervals hold in 95 to 97 % of cases at a single trial; at two, three or five in 97 % or
more if they differ by no more than each one's error, in 91 to 98 % if by twice, in 80 to 95 % if by four times as much.

Percentiles of a seeded generator's draws, by numpy: scipy.stats.bootstrap resamples one stage, and its BCa intervals
need a jackknife, which for a median is inconsistent.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbench.results.metrics import INFERENCE, Metric
from mixbench.results.simultaneous import Floats
from mixbench.results.statistics import ALPHA
from mixbench.run.record import Record

RESAMPLES = 2_000
LEAST_ROUNDS = 6
"""Rounds of a trial that an interval needs: all values of five span their median in less than 95 % of cases."""


def speed_interval(records: Sequence[Record], speed: Metric) -> tuple[float, float] | None:
    """The interval of the median speed over the trials, in images per second; None without enough timed rounds."""
    timed = [rounds for record in records if (rounds := _rounds(record, speed)) is not None]
    if not timed or min(map(len, timed)) < LEAST_ROUNDS:
        return None
    rng = np.random.default_rng(0)
    drawn = np.median(_resampled(timed, _trials(len(timed), rng), rng), axis=1)
    middle = 1 / float(np.median([np.median(each) for each in timed]))
    low, high = (np.quantile(drawn, [ALPHA / 2, 1 - ALPHA / 2]) / middle) ** _widened(len(timed)) * middle
    return float(low), float(high)


def ratio_errors(pairs: Sequence[tuple[Record, Record]], speed: Metric) -> Floats | None:
    """Draw the errors of log(B / A), of the mean speeds of the same trials in two runs; None without enough rounds."""
    sides = [[_rounds(record, speed) for record in side] for side in zip(*pairs, strict=True)]
    a, b = ([each for each in side if each is not None and len(each) >= LEAST_ROUNDS] for side in sides)
    if not pairs or len(a) < len(pairs) or len(b) < len(pairs):
        return None
    rng = np.random.default_rng(0)
    trials = _trials(len(pairs), rng)
    drawn = np.log(_resampled(b, trials, rng).mean(axis=1) / _resampled(a, trials, rng).mean(axis=1))
    means = (math.fsum(1 / float(np.median(each)) for each in side) for side in (a, b))
    before, after = means
    errors: Floats = _widened(len(pairs)) * (drawn - math.log(after / before))
    return errors


def simultaneous_widths(errors: Sequence[Floats]) -> list[float]:
    """Half-widths of intervals that hold in 95 % of the draws for all of these at once: each its standard error times
    one critical value (max-t).
    """
    deviations = [float(np.sqrt((each**2).mean())) for each in errors]
    scaled = [abs(each) / deviation for each, deviation in zip(errors, deviations, strict=True) if deviation]
    critical = float(np.quantile(np.max(scaled, axis=0), 1 - ALPHA)) if scaled else 0.0
    return [critical * deviation for deviation in deviations]


def _rounds(record: Record, speed: Metric) -> Floats | None:
    """Seconds per image in each round; None if the trial has no speed."""
    part, median = record.details.throughput, speed.of(record)
    steps = (part.infer_step_ms if speed is INFERENCE else part.train_step_ms) if part else []
    if not steps or not median or not math.isfinite(median):
        return None
    blocks = np.array_split(np.array(steps), min(record.details.trial.throughput.repeats, len(steps)))
    whole = len(blocks) == len(steps)
    found: Floats = np.array(steps if whole else [np.median(block) for block in blocks])
    return found / float(np.median(steps)) / median


def _widened(trials: int) -> float:
    """The factor of the errors for few trials: resampled, the variance over n of them is 1 / n too small."""
    return math.sqrt(trials / max(trials - 1, 1))


def _trials(count: int, rng: np.random.Generator) -> NDArray[np.integer[Any]]:
    """Draws × trials: which trial is taken in each place."""
    return rng.integers(count, size=(RESAMPLES, count))


def _resampled(timed: Sequence[Floats], trials: NDArray[np.integer[Any]], rng: np.random.Generator) -> Floats:
    """Images per second, draws × trials: of the trials that were taken, each by as many rounds as the shortest has."""
    lengths = np.array([len(each) for each in timed])
    table = np.full((len(timed), lengths.max()), np.nan)
    for row, each in zip(table, timed, strict=True):
        row[: len(each)] = each
    chosen = (rng.random((*trials.shape, lengths.min())) * lengths[trials][..., None]).astype(int)
    speeds: Floats = 1 / np.median(table[trials[..., None], chosen], axis=2)
    return speeds
