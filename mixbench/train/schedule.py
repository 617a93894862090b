"""The learning rate of each step."""

import math
from itertools import pairwise

from mixbench.suite.recipe import Recipe, Schedule


def learning_rate(recipe: Recipe, step: int, steps_per_epoch: int) -> float:
    """The learning rate of a step, counted from the run's first."""
    share = lr_share(recipe.schedule, step, recipe.epochs * steps_per_epoch, steps_per_epoch)
    return recipe.optimizer.lr * share


def lr_share(schedule: Schedule, step: int, steps: int, steps_per_epoch: int) -> float:
    """The learning rate of step 0 … steps − 1 as a share of the optimizer's.

    piecewise_linear counts finished steps, so that it ends on its last point, as SplitMixer's notebook does.
    """
    if schedule.name == "constant":
        return 1.0
    if schedule.name == "piecewise_linear":
        return _interpolate(schedule.points, (step + 1) / steps)
    if schedule.name == "one_cycle":
        return _one_cycle(schedule, step, steps)
    assert schedule.name == "cosine", f"no learning rate is computed for {schedule.name}"
    warmup = schedule.warmup_epochs * steps_per_epoch
    if step < warmup:
        return min(1.0, (step + 1) / warmup)
    return _half_cosine(1.0, schedule.final, (step - warmup) / max(1.0, steps - warmup))


def _one_cycle(schedule: Schedule, step: int, steps: int) -> float:
    """torch's OneCycleLR without its third phase; it counts the steps of its phases from 0 to `steps` - 1."""
    start = 1 / schedule.start_divisor
    top = schedule.rise * steps - 1  # before step 0 where the rise is shorter than a step
    if step < top:
        return _half_cosine(start, 1.0, step / top)
    return _half_cosine(1.0, start / schedule.end_divisor, (step - top) / (steps - 1 - top))


def _half_cosine(start: float, end: float, progress: float) -> float:
    return end + (start - end) * 0.5 * (1 + math.cos(math.pi * progress))


def _interpolate(points: tuple[tuple[float, float], ...], at: float) -> float:
    for (left, low), (right, high) in pairwise(points):
        if at <= right:
            return low + (high - low) * (at - left) / (right - left) if right > left else high
    return points[-1][1]
