"""Compare two runs: the trials in both, how their metrics changed over the seeds, and the trials that only one has.

Pure except for reading the runs' records; scipy is imported in the functions that use it.
"""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mixbench.errors import RequestError
from mixbench.results.accuracy_interval import accuracy_half_width
from mixbench.results.changes import Cell, Pair, change_of, measured_in_both
from mixbench.results.collect import Collected, collect
from mixbench.results.comparisons import scores
from mixbench.results.differences import plan_differences
from mixbench.results.environments import DEVICE, OF_ENVIRONMENT, SOURCE, conditions, split
from mixbench.results.metrics import COMPARED, QUALITY, SPEEDS, Metric
from mixbench.results.rows import distinctions, rows_of
from mixbench.results.simultaneous import verdicts
from mixbench.results.speed_interval import ratio_errors, simultaneous_widths
from mixbench.results.statistics import holm
from mixbench.run.folder import Run
from mixbench.run.predictions import Predictions, predictions_if_kept
from mixbench.run.record import Record
from mixbench.suite.axes import are_unequal

_CONDITIONS = (*OF_ENVIRONMENT, "host", "cores", "warmup", "repeats")
MOST_LINES = 30
"""The most differences between two plans that are printed."""


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
        cells=_judged_by_images(_judged_by_steps(_cells(pairs)), a, b),
        dropped=[record for trial_id, record in ours.items() if trial_id not in theirs],
        only_b=[trial_id for trial_id in theirs if trial_id not in ours],
        differences=differences,
        conditions=_conditions(pairs),
        devices=list(dict.fromkeys(pair.devices for pair in pairs if not pair.same_device)),
        damaged=[f"{text} in {name}" for name, each in collected.items() for text in each.damaged],
    )


def _planned(collected: Collected) -> dict[str, Record]:
    return {record.trial_id: record for record in collected.records if record.planned}


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
        changes = [change_of(members, metric) for members in grouped]
        corrected = holm([change.difference.p for change in changes])
        columns.append([replace(change, p_holm=p) for change, p in zip(changes, corrected, strict=True)])
    return [Cell(members, changes, *name) for members, name, *changes in zip(grouped, names, *columns, strict=True)]


def _judged_by_images(cells: list[Cell], a: Run, b: Run) -> list[Cell]:
    """Judge the quality by each image's predictions, where both runs kept those of a cell's trials."""
    together: dict[tuple[str, str], list[int]] = {}
    for index, cell in enumerate(cells):
        trial = cell.pairs[0].a.details.trial
        together.setdefault((trial.dataset, trial.recipe.split), []).append(index)
    judged = dict[int, dict[str, Any]]()
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
        for index, both in kept.items():
            own = tuple(accuracy_half_width(each) for each in both if isinstance(each, np.ndarray))
            judged[index] = {"verdict": verdict.of(f"B {index}", f"A {index}"), "own": own}
    return _with(cells, QUALITY, judged)


def _judged_by_steps(cells: list[Cell]) -> list[Cell]:
    """Judge the speeds by their timed rounds, where all trials of a cell have enough of them in both runs."""
    for metric in SPEEDS:
        errors = {
            index: found
            for index, cell in enumerate(cells)
            if (both := [(pair.a, pair.b) for pair, *_ in measured_in_both(cell.pairs, metric)])
            and (found := ratio_errors(both, metric)) is not None
        }
        widths = simultaneous_widths(list(errors.values()))
        cells = _with(cells, metric, {i: {"log_width": width} for i, width in zip(errors, widths, strict=True)})
    return cells


def _with(cells: list[Cell], metric: Metric, judged: dict[int, dict[str, Any]]) -> list[Cell]:
    """The cells, with these fields of their changes of a metric."""
    return [
        replace(cell, changes=[replace(each, **fields) if each.metric is metric else each for each in cell.changes])
        if (fields := judged.get(index))
        else cell
        for index, cell in enumerate(cells)
    ]


def _trials(cell: Cell, side: Literal["a", "b"], run: Run) -> list[tuple[float, Predictions | None]]:
    """The quality and the predictions in one run of the trials that have a quality in both."""
    found = []
    for pair in cell.pairs:
        values = dict(zip("ab", pair.values(QUALITY), strict=True))
        if None not in values.values() and (quality := values[side]) is not None:
            found.append((quality, predictions_if_kept(run, getattr(pair, side))))
    return found


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
