"""What quality is paid for with: size, work, speed, time, memory; and which rows are not beaten at a price."""

from collections.abc import Sequence

from mixbench.report import numbers
from mixbench.results.metrics import QUALITY, Metric
from mixbench.results.summary import Group


def at_a_price(price: Metric) -> str:
    return "at as high a speed" if price.more_is_better else "at as low a price"


def brief(price: Metric, value: float) -> str:
    """As in a table's cell, with its unit where it needs one."""
    return " ".join(filter(None, [numbers.FORMATS[price.quantity].cell(value), price.unit]))


def front(groups: Sequence[Group], price: Metric) -> list[Group]:
    """The Pareto-optimal rows of those tested on the same images, the cheapest first.

    None other is as good at that price, and better in one of the two.  Equals stay together.
    """
    priced = [
        (price.cost(value), QUALITY.cost(group.row.quality), group)
        for group in groups
        if (value := group.value(price)) and group.row.quality is not None
    ]
    priced.sort(key=lambda each: each[:2])
    found: list[tuple[float, float, Group]] = []
    for cost, quality, group in priced:
        if not found or quality < found[-1][1] or (cost, quality) == found[-1][:2]:
            found.append((cost, quality, group))
    return [group for *_, group in found]
