"""Two runs side by side: the trials that are in both, what changed over their seeds, and which trials are not the same.

Pure but for reading the runs' records; scipy is imported where it is used.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

from mixbench.errors import RequestError, cut, printable
from mixbench.results.collect import Collected, collect
from mixbench.results.differences import plan_differences
from mixbench.results.metrics import COMPARED, Metric
from mixbench.results.rows import rows, told_apart
from mixbench.results.statistics import ALPHA, Difference, Interval, difference, holm, interval, plus_minus
from mixbench.run.flags import Flag, Kind
from mixbench.run.folder import Run
from mixbench.run.record import Record

_CONDITIONS = ("mixbench_version", "git_commit", "python_version", "torch_version", "deepspeed_version",
               "cuda_version", "driver", "host", "cores", "threads", "warmup", "repeats")  # fmt: skip
MOST_LINES = 30
"""The most differences between two plans that are printed."""


@dataclass(frozen=True)
class Pair:
    """One trial as both runs have it."""

    a: Record
    b: Record

    @property
    def same_device(self) -> bool:
        """Or not known to be another: a trial that has not run has none."""
        one, other = _device(self.a), _device(self.b)
        return one == other or not (one and other)

    def values(self, metric: Metric) -> tuple[float | None, float | None]:
        """None where the trial is not done, the value is no number, or that of another device."""
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
    """A metric over the seeds that both runs have a value of, b - a; `lost`: the trials that only a has one of.

    `p_holm` is corrected for all cells of the metric.
    """

    metric: Metric
    a: Interval
    b: Interval
    difference: Difference
    lost: list[Pair]
    p_holm: float | None = None

    @property
    def relative(self) -> float | None:
        """In percent of a's mean."""
        return None if not self.a.mean or self.b.mean is None else 100 * (self.b.mean - self.a.mean) / self.a.mean

    @property
    def text(self) -> str:
        """ "+0.18 ± 0.10", "-81 ± 9 (-5.7 ± 0.6 %)" """
        return self._told(self.difference.half_width)

    @property
    def to_all_digits(self) -> str:
        """The same without the interval, which may hide a digit that a limit sees."""
        return self._told(None)

    def _told(self, half_width: float | None) -> str:
        said = self.metric.shown(self.difference.value, half_width, "+")
        percent = self.metric.quantity == "percent"  # percent of percent would confuse
        if self.relative is None or not self.a.mean or percent:
            return said
        width = None if half_width is None else 100 * half_width / self.a.mean
        return f"{said} ({plus_minus(self.relative, width, 1, '+')} %)"

    @property
    def significant(self) -> bool | None:
        return None if self.p_holm is None else self.p_holm < ALPHA


@dataclass(frozen=True)
class Cell:
    """The trials of both runs that differ in their seed alone; `settings` tell them from others of this model."""

    pairs: list[Pair]
    changes: list[Change]
    settings: str = ""

    @property
    def name(self) -> str:
        first = self.pairs[0].a
        return ", ".join(filter(None, [f"{first.label} on {first.dataset}", self.settings]))


@dataclass(frozen=True)
class SideBySide:
    """`dropped`: what A alone plans.  `differences` says of each trial that only one run has how it differs from the
    other's, or that it has none.  `conditions` says under what the common trials were measured differently.
    """

    pairs: list[Pair]
    cells: list[Cell]
    dropped: list[Record]
    only_b: list[str]
    differences: list[str]
    conditions: list[str]
    devices: list[tuple[str, str]]
    damaged: list[str]

    @property
    def only_a(self) -> list[str]:
        return [record.trial_id for record in self.dropped]


def side_by_side(a: Run, b: Run) -> SideBySide:
    """Raises RequestError where a folder is no run, or the two have no trial in common."""
    collected = {"A": collect(a), "B": collect(b)}
    ours, theirs = (_planned(each) for each in collected.values())
    pairs = [Pair(record, theirs[trial_id]) for trial_id, record in ours.items() if trial_id in theirs]
    differences = list(plan_differences(ours, theirs))
    if not pairs:
        said = "".join(f"\n  {line}" for line in differences[:MOST_LINES]) or " there are no trials"
        raise RequestError(f"{a.folder} and {b.folder} have no trial in common, so there is nothing to compare:{said}")
    return SideBySide(
        pairs=pairs,
        cells=_cells(pairs),
        dropped=[record for trial_id, record in ours.items() if trial_id not in theirs],
        only_b=[trial_id for trial_id in theirs if trial_id not in ours],
        differences=differences,
        conditions=_conditions(pairs),
        devices=list(dict.fromkeys((_device(p.a), _device(p.b)) for p in pairs if not p.same_device)),
        damaged=[f"{text} in {name}" for name, each in collected.items() for text in each.damaged],
    )


def _planned(collected: Collected) -> dict[str, Record]:
    return {record.trial_id: record for record in collected.records if record.planned}


def _device(record: Record) -> str:
    where = record.details.environment.get("throughput")
    return where.device if where else record.device


def value(record: Record, metric: Metric) -> float | None:
    """None where the trial is not done, or the value is no number."""
    found = metric.of(record) if record.status == "done" else None
    return found if found is not None and math.isfinite(found) else None


def _cells(pairs: list[Pair]) -> list[Cell]:
    by_id = {pair.a.trial_id: pair for pair in pairs}
    found = rows(pair.a for pair in pairs)
    alike = [[by_id[record.trial_id] for record in row] for row in found]
    columns = []
    for metric in COMPARED:
        changes = [_change(members, metric) for members in alike]
        corrected = holm([change.difference.p for change in changes])
        columns.append([replace(change, p_holm=p) for change, p in zip(changes, corrected, strict=True)])
    apart = told_apart(found)
    return [Cell(members, changes, said) for members, said, *changes in zip(alike, apart, *columns, strict=True)]


def _change(pairs: list[Pair], metric: Metric) -> Change:
    values = [(pair, *pair.values(metric)) for pair in pairs]
    both = [(pair.a.seed, x, y) for pair, x, y in values if x is not None and y is not None]
    a, b = ([(seed, x) for seed, x, _ in both], [(seed, y) for seed, _, y in both])
    return Change(
        metric,
        a=interval(x for _, x in a),
        b=interval(y for _, y in b),
        difference=difference(b, a),
        lost=[pair for pair, x, y in values if x is not None and y is None],
    )


def _conditions(pairs: list[Pair]) -> list[str]:
    """Versions, machines and ways of timing that are not the same for the same part of the same trial."""
    found: dict[str, dict[str, None]] = {}
    for pair in pairs:
        one, other = pair.a.details, pair.b.details
        parts = [part for part in one.environment if part in other.environment]
        both: list[tuple[Any, Any]] = [(one.environment[part], other.environment[part]) for part in parts]
        if "throughput" in parts:
            both.append((one.trial.throughput, other.trial.throughput))
        for here, there in both:
            for key in _CONDITIONS:
                old, new = getattr(here, key, ""), getattr(there, key, "")
                if old != new:
                    found.setdefault(key, {})[f"{old or 'none'} → {new or 'none'}"] = None
    return [f"{key} {', '.join(changes)}" for key, changes in found.items()]


# -- what is not the same
