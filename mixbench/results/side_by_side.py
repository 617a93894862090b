"""Compare two runs: the trials in both, how their metrics changed over the seeds, and the trials that only one has.

Pure except for reading the runs' records; scipy is imported in the functions that use it.
"""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal

from mixbench.errors import RequestError, cut, printable
from mixbench.results.collect import Collected, collect
from mixbench.results.comparisons import scores
from mixbench.results.differences import plan_differences
from mixbench.results.environments import DEVICE, OF_ENVIRONMENT, SOURCE, conditions, split
from mixbench.results.metrics import COMPARED, QUALITY, Metric
from mixbench.results.rows import distinctions, rows_of
from mixbench.results.simultaneous import Verdict, verdicts
from mixbench.results.statistics import Difference, Interval, difference, holm, interval, is_significant, plus_minus
from mixbench.run.flags import Flag, Kind
from mixbench.run.folder import Run
from mixbench.run.predictions import Predictions, predictions_if_kept
from mixbench.run.record import Record
from mixbench.suite.axes import are_unequal

_CONDITIONS = (*OF_ENVIRONMENT, "host", "cores", "warmup", "repeats")
MOST_LINES = 30
"""The most differences between two plans that are printed."""


@dataclass(frozen=True)
class Pair:
    """The records of one trial in both runs."""

    a: Record
    b: Record

    @property
    def same_device(self) -> bool:
        """True also if a device is unknown, since a trial that has not run has none."""
        one, other = _device(self.a), _device(self.b)
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

    `p_holm`: the p-value with Holm's correction over all cells of the metric.  `verdict`: in place of a test over
    seeds, by each image's predictions, where both runs kept those of the same images.
    """

    metric: Metric
    a: Interval
    b: Interval
    difference: Difference
    lost: list[Pair]
    p_holm: float | None = None
    verdict: Verdict | None = None

    @property
    def half_width(self) -> float | None:
        """Half of the change's 95 % interval; None without one."""
        return self.verdict.half_width if self.verdict else self.difference.half_width

    @property
    def relative(self) -> float | None:
        """The change in percent of a's mean; None without a mean other than 0."""
        return None if not self.a.mean or self.b.mean is None else 100 * (self.b.mean - self.a.mean) / self.a.mean

    @property
    def text(self) -> str:
        """ "+0.18 ± 0.10", "-81 ± 9 (-5.7 ± 0.6 %)" """
        return self._formatted(self.half_width)

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
    def significant(self) -> bool | None:
        return self.verdict.significant if self.verdict else is_significant(self.p_holm)


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


@dataclass(frozen=True)
class SideBySide:
    """Two runs compared.  `dropped`: the trials that only A plans.  `differences`: how trials that only one run has
    differ from the nearest ones of the other, or that it has none.  `conditions`: versions, machines and timing
    protocols that differ between the measurements of common trials.
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
    """Compare two runs.  Raises RequestError if a folder is not a run, or the two have no trial in common."""
    collected = {"A": collect(a), "B": collect(b)}
    ours, theirs = (_planned(each) for each in collected.values())
    pairs = [Pair(record, theirs[trial_id]) for trial_id, record in ours.items() if trial_id in theirs]
    for pair in pairs:
        if are_unequal(pair.a.details.trial, pair.b.details.trial):
            raise RequestError(f"{pair.a.trial_id} is another trial in A than in B, with the same id by chance")
    differences = list(plan_differences(ours, theirs))
    if not pairs:
        reasons = "".join(f"\n  {line}" for line in differences[:MOST_LINES]) or " there are no trials"
        raise RequestError(
            f"{a.folder} and {b.folder} have no trial in common, so there is nothing to compare:{reasons}"
        )
    return SideBySide(
        pairs=pairs,
        cells=_judged_by_images(_cells(pairs), a, b),
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
    """Return the metric's value; None if the trial is not done, or the value is not finite (NaN or inf)."""
    found = metric.of(record) if record.status == "done" else None
    return found if found is not None and math.isfinite(found) else None


def _cells(pairs: list[Pair]) -> list[Cell]:
    by_id = {pair.a.trial_id: pair for pair in pairs}
    found = rows_of(pair.a for pair in pairs)
    grouped: list[list[Pair]] = []
    names: list[tuple[str, str]] = []
    for row, apart in zip(found, distinctions(found), strict=True):
        cells = split([by_id[record.trial_id] for record in row], lambda pair: conditions(pair.b, but=DEVICE))
        grouped += cells
        names += [(apart, in_b) for in_b in distinctions([[pair.b for pair in cell] for cell in cells])]
    columns = []
    for metric in COMPARED:
        changes = [_change(members, metric) for members in grouped]
        corrected = holm([change.difference.p for change in changes])
        columns.append([replace(change, p_holm=p) for change, p in zip(changes, corrected, strict=True)])
    return [Cell(members, changes, *name) for members, name, *changes in zip(grouped, names, *columns, strict=True)]


def _judged_by_images(cells: list[Cell], a: Run, b: Run) -> list[Cell]:
    """Judge the quality by each image's predictions, where both runs kept those of a cell's trials."""
    together: dict[tuple[str, str], list[int]] = {}
    for index, cell in enumerate(cells):
        trial = cell.pairs[0].a.details.trial
        together.setdefault((trial.dataset, trial.recipe.split), []).append(index)
    judged = dict[int, Verdict]()
    for indices in together.values():
        found = scores(_trials(cells[index], *side) for index in indices for side in (("a", a), ("b", b)))
        kept = {
            index: both
            for index, *both in zip(indices, found[::2], found[1::2], strict=True)
            if not any(isinstance(each, list) for each in both)
        }
        models = {
            f"{side} {index}": each for index, both in kept.items() for side, each in zip("AB", both, strict=True)
        }
        verdict = verdicts(models, only=[(f"B {index}", f"A {index}") for index in kept])
        judged |= {index: verdict.of(f"B {index}", f"A {index}") for index in kept}
    return [
        replace(cell, changes=[
            replace(each, verdict=judged.get(index)) if each.metric is QUALITY else each for each in cell.changes
        ])
        for index, cell in enumerate(cells)
    ]  # fmt: skip


def _trials(cell: Cell, side: Literal["a", "b"], run: Run) -> list[tuple[float, Predictions | None]]:
    """The quality and the predictions in one run of the trials that have a quality in both."""
    found = []
    for pair in cell.pairs:
        values = dict(zip("ab", pair.values(QUALITY), strict=True))
        if None not in values.values() and (quality := values[side]) is not None:
            found.append((quality, predictions_if_kept(run, getattr(pair, side))))
    return found


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
    """Return the versions, machines and timing settings that differ in the same part of a trial, with both values."""
    found: dict[str, dict[str, None]] = {}
    for pair in pairs:
        one, other = pair.a.details, pair.b.details
        parts = [part for part in one.environment if part in other.environment]
        both: list[tuple[Any, Any]] = [(one.environment[part], other.environment[part]) for part in parts]
        if "throughput" in parts:
            both.append((one.trial.throughput, other.trial.throughput))
        for in_a, in_b in both:
            for key in _CONDITIONS:
                old, new = getattr(in_a, key, ""), getattr(in_b, key, "")
                if old != new:
                    found.setdefault(key, {})[f"{old or 'none'} → {new or 'none'}"] = None
        sources = pair.a.model_code[:8], pair.b.model_code[:8]
        if all(sources) and sources[0] != sources[1]:
            found.setdefault(f"{SOURCE} of {pair.a.model}", {})[" → ".join(sources)] = None
    return [f"{key} {', '.join(changes)}" for key, changes in found.items()]
