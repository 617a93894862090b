"""Trade-offs of quality against a "price": parameters, MACs, throughput, training time or memory; Pareto fronts."""

from collections.abc import Sequence

from mixbench.report import numbers
from mixbench.results.metrics import QUALITY, Metric
from mixbench.results.summary import Group


def brief(price: Metric, value: float) -> str:
    """A value as in a table's cell, with its unit if it has one."""
    return " ".join(filter(None, [numbers.FORMATS[price.quantity].cell(value), price.unit]))


def front(groups: Sequence[Group], price: Metric) -> list[Group]:
    """The Pareto-optimal rows among those tested on the same images, the cheapest first.

    No other row is at least as good in both quality and price, and better in one.  Rows equal in both are all kept.
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
