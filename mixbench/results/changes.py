"""Changes between two runs: a trial's records in both, a metric's change over the seeds, and its verdict."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from mixbench.errors import cut, printable
from mixbench.results.metrics import SPEEDS, Metric
from mixbench.results.simultaneous import Verdict
from mixbench.results.statistics import (
    Difference,
    Interval,
    difference,
    interval,
    is_significant,
    plus_minus,
    supported,
)
from mixbench.run.flags import OF_SPEED, Flag, Kind
from mixbench.run.record import Record


@dataclass(frozen=True)
class Pair:
    """The records of one trial in both runs."""

    a: Record
    b: Record

    @property
    def devices(self) -> tuple[str, str]:
        """The devices of A and B; empty for a trial that has not run."""
        places = (record.details.environment.get("throughput") for record in (self.a, self.b))
        in_a, in_b = (
            place.device if place else record.device for place, record in zip(places, (self.a, self.b), strict=True)
        )
        return in_a, in_b

    @property
    def same_device(self) -> bool:
        """True also if a device is unknown, since a trial that has not run has none."""
        one, other = self.devices
        return one == other or not (one and other)

    def values(self, metric: Metric) -> tuple[float | None, float | None]:
        """Return both values: None if not finite, if the trial is not done, or if devices differ and matter."""
        if metric.of_device and not self.same_device:
            return None, None
        return value(self.a, metric), value(self.b, metric)

    def why_lost(self, metric: Metric) -> str:
        """The reason why B lacks a value that A has."""
        if self.b.status == "failed":
            return f"failed in B: {cut(printable(' '.join(self.b.error.split())))}"
        if self.b.status != "done":
            damaged = Flag(Kind.DAMAGED_RECORD)
            return f"{self.b.status} in B" + (f" ({damaged})" if damaged in self.b.flags else "")
        value = metric.of(self.b)
        return "not measured in B" if value is None else f"{metric.column} is {value} in B"


@dataclass(frozen=True)
class Change:
    """A metric's change b - a, over the seeds with a value in both runs; `lost`: the trials with a value only in a.

    `difference`: a test of it over the seeds; `p_holm`: its p with Holm's correction over all cells of the metric.
    In its place: `verdict`, by each image's predictions, where both runs kept those of the same images, with `own`, the
    half-widths of a's and b's own intervals; `log_width`, of a speed, by its timed rounds: half the 95 % interval of
    log(b / a), simultaneous over all cells.
    `unsure_a`, `unsure_b`: of a speed, the kinds of flags that cast doubt on it in either run.
    """

    metric: Metric
    a: Interval
    b: Interval
    difference: Difference
    lost: list[Pair]
    p_holm: float | None = None
    verdict: Verdict | None = None
    own: tuple[float, float] | None = None
    log_width: float | None = None
    unsure_a: tuple[str, ...] = ()
    unsure_b: tuple[str, ...] = ()

    @property
    def half_width(self) -> float | None:
        """Half of the change's 95 % interval; None without one, or if it is of the ratio."""
        if self.log_width is not None:
            return None
        return self.verdict.half_width if self.verdict else self.difference.half_width

    @property
    def ends(self) -> tuple[float, float] | None:
        """The change's 95 % interval in the metric's unit; None without one."""
        if self.log_width is not None and self.a.mean is not None and self.b.mean is not None:
            low, high = (self.b.mean * math.exp(sign * self.log_width) - self.a.mean for sign in (-1, 1))
            return low, high
        if self.half_width is None or self.difference.value is None:
            return None
        return self.difference.value - self.half_width, self.difference.value + self.half_width

    @property
    def relative(self) -> float | None:
        """The change in percent of a's mean; None without a mean other than 0."""
        return None if not self.a.mean or self.b.mean is None else 100 * (self.b.mean - self.a.mean) / self.a.mean

    @property
    def relative_ends(self) -> tuple[float, float] | None:
        """The 95 % interval of a speed's change, in percent of a's mean; None of another metric."""
        if self.ends is None or self.log_width is None or not self.a.mean:
            return None
        low, high = (100 * end / self.a.mean for end in self.ends)
        return low, high

    @property
    def text(self) -> str:
        """ "+0.18 ± 0.10", "-81 ± 9 (-5.7 ± 0.6 %)", and of a speed "-81 (-5.7 %, -6.3 to -5.1 %)" """
        if self.relative_ends is None:
            return self._formatted(self.half_width)
        low, high = self.relative_ends
        width = (high - low) / 2
        shown = [supported(each, width, 1, "+") for each in (self.relative or 0.0, low, high)]
        in_units = supported(self.difference.value or 0.0, width / 100 * (self.a.mean or 0), self.metric.decimals, "+")
        return "{} ({} %, {} to {} %)".format(in_units, *shown)

    @property
    def to_all_digits(self) -> str:
        """The same without the interval: rounding to it may hide the digit by which a limit is crossed."""
        return self._formatted(None)

    def _formatted(self, half_width: float | None) -> str:
        absolute = self.metric.shown(self.difference.value, half_width, "+")
        percent = self.metric.quantity == "percent"  # percent of a percentage would confuse
        if self.relative is None or not self.a.mean or percent:
            return absolute
        width = None if half_width is None else 100 * half_width / self.a.mean
        return f"{absolute} ({plus_minus(self.relative, width, 1, '+')} %)"

    @property
    def unsure(self) -> str:
        """ "busy neighbours in A and B": the flags that cast doubt on a speed; "" without one."""
        both = [kind for kind in self.unsure_a if kind in self.unsure_b]
        only = [[kind for kind in kinds if kind not in both] for kinds in (self.unsure_a, self.unsure_b)]
        named = zip((both, *only), ("A and B", "A", "B"), strict=True)
        return "; ".join(f"{', '.join(kinds)} in {runs}" for kinds, runs in named if kinds)

    @property
    def significant(self) -> bool | None:
        """True if a and b differ; None if that is not testable, undecided, or a flag casts doubt on a speed."""
        if self.unsure:
            return None
        if self.log_width is not None and self.ends is not None:
            return not self.ends[0] <= 0 <= self.ends[1]
        return self.verdict.significant if self.verdict else is_significant(self.p_holm)

    @property
    def outcome(self) -> Literal["better", "worse", "not distinguishable", ""]:
        """Say whether b is better or worse than a; "" where `significant` is None."""
        if self.significant is None:
            return ""
        if not self.significant:
            return "not distinguishable"
        return "better" if ((self.difference.value or 0) > 0) == self.metric.more_is_better else "worse"


@dataclass(frozen=True)
class Cell:
    """Trials of both runs that differ only in their seed; `settings`: how they differ from others of this model.

    `in_b`: if they were measured under different conditions in B, those of this cell.
    """

    pairs: list[Pair]
    changes: list[Change]
    settings: str = ""
    in_b: str = ""

    @property
    def name(self) -> str:
        first = self.pairs[0].a
        in_b = f"in B {self.in_b}" if self.in_b else ""
        return ", ".join(filter(None, [f"{first.label} on {first.dataset}", self.settings, in_b]))


def value(record: Record, metric: Metric) -> float | None:
    """Return the metric's value; None if the trial is not done, or the value is not finite (NaN or inf)."""
    found = metric.of(record) if record.status == "done" else None
    return found if found is not None and math.isfinite(found) else None


def measured_in_both(pairs: list[Pair], metric: Metric) -> list[tuple[Pair, float, float]]:
    """The pairs that have a value in both runs, with the two."""
    values = [(pair, *pair.values(metric)) for pair in pairs]
    return [(pair, x, y) for pair, x, y in values if x is not None and y is not None]


def change_of(pairs: list[Pair], metric: Metric) -> Change:
    both = measured_in_both(pairs, metric)
    a, b = ([(pair.a.seed, x) for pair, x, _ in both], [(pair.a.seed, y) for pair, _, y in both])
    values = [(pair, *pair.values(metric)) for pair in pairs]
    of_speed = both if metric in SPEEDS else []
    return Change(
        metric,
        a=interval(x for _, x in a),
        b=interval(y for _, y in b),
        difference=difference(b, a),
        lost=[pair for pair, x, y in values if x is not None and y is None],
        unsure_a=_doubts(pair.a for pair, *_ in of_speed),
        unsure_b=_doubts(pair.b for pair, *_ in of_speed),
    )


def _doubts(records: Iterable[Record]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(flag.kind for record in records for flag in record.flags if flag.kind in OF_SPEED))
