"""What accuracy is paid for with: size, work, speed, time, memory; and which rows are not beaten at a price."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

from mixbench.report import numbers
from mixbench.results.summary import Group


@dataclass(frozen=True)
class Price:
    """`axis` with its unit, `of` a row's value, `shown` and `tick` how it is written in text and on an axis."""

    name: str
    title: str
    axis: str
    unit: str
    lower_is_better: bool
    of: Callable[[Group], float | None]
    shown: Callable[[float], str]
    tick: Callable[[float], str]
    drawn: bool = True
    of_device: bool = False  # of rows of several devices there is no best
    round_values: tuple[float, ...] = ()  # for a log axis, where decimal ones are not round: 30 min, 2 GiB
    units: tuple[float, ...] = (1,)  # what values are written in, the smallest first: round multiples for an axis

    @property
    def plain(self) -> str:
        """In a sentence: "MACs", "inference throughput"."""
        return self.title if self.title == "MACs" else self.title.lower()

    @property
    def at_a_price(self) -> str:
        return "at as low a price" if self.lower_is_better else "at as high a speed"

    def brief(self, value: float) -> str:
        """With its unit where the number alone does not say it."""
        short = numbers.count(value) if self.lower_is_better else self.shown(value)
        return short if self.lower_is_better else f"{short} {self.unit}"


def train_seconds(group: Group) -> float | None:
    """The median over the trials, of training alone; a trial that only evaluated given weights has none."""
    found = [r.train_seconds for r in group.records if r.train_seconds and math.isfinite(r.train_seconds)]
    return median(found) if found else None


TIMES = (
    *(n / 1000 for n in (1, 2, 5, 10, 20, 50, 100, 200, 500)), 1, 2, 5, 10, 20, 30,
    *(60 * n for n in (1, 2, 5, 10, 20, 30)), *(3600 * n for n in (1, 2, 5, 10, 20, 50, 100)),
)  # fmt: skip
SIZES = tuple(2**exponent for exponent in range(20, 44))

PRICES = [
    Price(
        "params", "Parameters", "parameters", "parameters", True,
        lambda group: group.row.params, numbers.exact, numbers.tick,
    ),
    Price("macs", "MACs", "MACs per image", "MACs", True, lambda group: group.row.macs, numbers.exact, numbers.tick),
    Price(
        "throughput", "Inference throughput", "inference throughput (images/s)", "images/s", False,
        lambda group: group.row.infer_samples_per_sec, numbers.rate, numbers.rate_tick, of_device=True,
    ),
    Price(
        "training", "Training throughput", "training throughput (images/s)", "images/s", False,
        lambda group: group.row.train_samples_per_sec, numbers.rate, numbers.rate_tick, drawn=False, of_device=True,
    ),
    Price(
        "time", "Training time", "training time", "of training", True,
        train_seconds, numbers.duration, numbers.span_tick, round_values=TIMES, units=(0.001, 1, 60, 3600),
        of_device=True,
    ),
    Price(
        "memory", "Peak memory", "peak memory", "at the peak", True,
        lambda group: group.row.peak_memory_bytes, lambda value: numbers.size(round(value)), numbers.size_tick,
        round_values=SIZES, units=(1, 2**10, 2**20, 2**30), of_device=True,
    ),
]  # fmt: skip


def front(groups: Sequence[Group], price: Price) -> list[Group]:
    """The Pareto-optimal rows of those tested on the same images, the cheapest first.

    None other is as accurate at that price, and better in one of the two.  Equals stay together.
    """
    priced = [(value, group) for group in groups if (value := price.of(group)) and group.row.top1_mean is not None]
    sign = 1 if price.lower_is_better else -1
    priced.sort(key=lambda pair: (sign * pair[0], -(pair[1].row.top1_mean or 0)))
    found: list[tuple[float, Group]] = []
    for value, group in priced:
        assert group.row.top1_mean is not None
        best = found[-1][1].row.top1_mean if found else None
        if best is None or group.row.top1_mean > best or (group.row.top1_mean, value) == (best, found[-1][0]):
            found.append((value, group))
    return [group for _, group in found]
