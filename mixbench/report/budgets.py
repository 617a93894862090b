"""The most accurate row within a limit of parameters, MACs or speed, and how far ahead of the next it is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mixbench.report import numbers
from mixbench.report.tradeoffs import brief, front
from mixbench.results.comparisons import Comparison, Comparisons
from mixbench.results.metrics import PRICES, QUALITY, Metric
from mixbench.results.summary import Group

MOST_LIMITS = 3  # of one price


@dataclass(frozen=True)
class Budget:
    """A limit in words, its most accurate row, and the comparison with the next one inside, if there is one.

    `paid`: the row's value of the limited metric, as text; "" without a limit.
    """

    words: str
    pick: Group
    paid: str
    to_next: Comparison | None


def budgets(groups: Sequence[Group], compared: Comparisons) -> list[Budget]:
    """Return the best row of all, then for each price the best within round limits at which the best one changes.

    `groups` are rows with an accuracy on the same images.  A limit that the best of all keeps is left out.
    """
    found = [_budget("none", groups, None, compared)]
    for price in PRICES:
        if price.where == "all":
            for where, some in by_device(groups, price):
                found += _limited(price, where, some, compared)
    return found


def by_device(groups: Sequence[Group], price: Metric) -> list[tuple[str, list[Group]]]:
    """Split rows by device if the price depends on it and there are several; with words that name the device."""
    devices = list(dict.fromkeys(group.row.device for group in groups)) if price.of_device else []
    if len(devices) < 2:
        return [("", list(groups))]
    return [(f" on {device}", [group for group in groups if group.row.device == device]) for device in devices]


def _limited(price: Metric, where: str, groups: Sequence[Group], compared: Comparisons) -> list[Budget]:
    """Return the smallest round limit that allows each row of the Pareto front but its best."""
    found: dict[str, Budget] = {}
    sign = "≥" if price.more_is_better else "≤"
    for limit in _round_limits([value for group in front(groups, price)[:-1] if (value := group.value(price))], price):
        inside = [group for group in groups if (value := group.value(price)) and price.cost(value) <= price.cost(limit)]
        if not inside:
            continue
        words = f"{price.name} {sign} {numbers.FORMATS[price.quantity].tick(limit)} {price.unit}".strip() + where
        each = _budget(words, inside, price, compared)
        found.setdefault(each.pick.key, each)
    best = min(groups, key=_best_first, default=None)
    shown = [each for key, each in found.items() if best is None or key != best.key]
    step = max(1, math.ceil(len(shown) / MOST_LIMITS))
    return shown[::-1][::step][::-1]


def _round_limits(values: Sequence[float], price: Metric) -> list[float]:
    """For each value the nearest round limit that allows it, the tightest first."""
    limits = {_rounded(value, up=not price.more_is_better) for value in values if value > 0}
    return sorted(limits, key=price.cost)


def _rounded(value: float, up: bool) -> float:
    """The nearest of 1, 2, 5, 10, 20 … that is not below the value, or not above it."""
    power = 10.0 ** math.floor(math.log10(value))
    steps = [n * power for n in (1, 2, 5, 10)]
    return min(step for step in steps if step >= value) if up else max(step for step in steps if step <= value)


def _budget(words: str, inside: Sequence[Group], price: Metric | None, compared: Comparisons) -> Budget:
    pick, *others = sorted(inside, key=_best_first)
    paid = ""
    if price and (value := pick.value(price)) is not None:
        paid = numbers.roughly(brief(price, value), price.quantity == "rate" and pick.row.speed_is_unsure)
    return Budget(words, pick, paid, compared.of(pick, others[0]) if others else None)


def _best_first(group: Group) -> float:
    return QUALITY.cost(group.row.quality)
