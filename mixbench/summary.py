"""The trials that differ in their seed alone, summed up: means, intervals, medians, the Pareto mark.

Pure; scipy and the published figures are imported where they are used: counting trials needs neither.
"""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from mixbench.record import Record
from mixbench.statistics import interval

if TYPE_CHECKING:
    from mixbench.published import PublishedFigure

NOT_IN_PLAN = "not in plan"
# What may differ between the trials of a row.
_NOT_IN_A_GROUP = {"id", "suite", "seed", "measure", "plugins"}


class SummaryRow(BaseModel):
    """One model on one dataset over its seeds.  The fields are the columns of summary.csv, in their order.

    top1_* in percent: the mean over the done trials' last epochs, their sample standard deviation (n - 1) and the
    half-width of the 95 % t-interval, both empty for a single seed.  *_published as the source states it, in
    parameters and MACs of `macs_convention`; top1_delta is ours - published.  Throughput: the median over the
    trials.  peak_memory_bytes: the largest.  pareto: no other row of the dataset is at least as good in top1_mean,
    macs and params, and better in one.
    """

    model: str
    label: str
    family: str
    dataset: str
    image_size: int
    recipe: str
    precision: str
    memory_format: str
    compiled: bool
    train_batch_size: int | None = None
    infer_batch_size: int | None = None
    nodes: int
    world_size: int
    device: str
    n_seeds: int
    top1_mean: float | None = None
    top1_std: float | None = None
    top1_ci95: float | None = None
    top1_published: float | None = None
    top1_delta: float | None = None
    params: int | None = None
    params_published: int | None = None
    macs: int | None = None
    macs_published: int | None = None
    macs_convention: str = ""
    infer_samples_per_sec: float | None = None
    train_samples_per_sec: float | None = None
    peak_memory_bytes: int | None = None
    pareto: bool | None = None


SUMMARY_COLUMNS = list(SummaryRow.model_fields)


@dataclass(frozen=True)
class Group:
    """The trials that differ in their seed alone, the row that sums them up, and what the papers say of it."""

    row: SummaryRow
    records: list[Record]
    published: list["PublishedFigure"]


def groups(records: list[Record]) -> list[Group]:
    """Planned trials that differ in their seed alone, and ran on the same device; in the plan's order."""
    by_trial: dict[str, list[Record]] = {}
    for record in records:
        if NOT_IN_PLAN not in record.flags:
            key = record.details.trial.model_dump_json(exclude=_NOT_IN_A_GROUP)
            by_trial.setdefault(key, []).append(record)
    found = []
    for alike in by_trial.values():
        devices = list(dict.fromkeys(record.device for record in alike if record.device)) or [""]
        for device in devices:
            # A trial that has not run yet will probably run where the first one did.
            members = [record for record in alike if (record.device or devices[0]) == device]
            found.append(_group(members, device))
    _mark_pareto([group.row for group in found])
    return found


def _group(records: list[Record], device: str) -> Group:
    from mixbench.published import find

    first = records[0]
    trial = first.details.trial
    published = find(trial.model, trial.overrides, first.dataset, first.image_size, pretraining="none")
    top1 = interval(record.top1 for record in records if record.status == "done")
    plain = [figure for figure in published if not figure.qualifier]  # "more than" is no figure to compare with
    said = {kind: next((f for f in plain if f.figure == kind), None) for kind in ("top1", "params", "macs")}
    if trial.recipe.split == "val" or trial.weights:  # other images, or another training than the paper's
        said["top1"] = None
    row = SummaryRow.model_validate(
        first.model_dump(include=set(SummaryRow.model_fields) - {"params", "macs"})
        | {
            "train_batch_size": _first(record.train_batch_size for record in records),
            "infer_batch_size": _first(record.infer_batch_size for record in records),
            "device": device,
            "n_seeds": top1.n,
            "top1_mean": top1.mean,
            "top1_std": top1.std,
            "top1_ci95": top1.half_width,
            "top1_published": said["top1"] and said["top1"].value,
            "top1_delta": top1.mean - said["top1"].value if said["top1"] and top1.mean is not None else None,
            "params": _first(record.params for record in records),
            "params_published": said["params"] and round(said["params"].value * 1e6),
            "macs": _first(record.macs for record in records),
            "macs_published": said["macs"] and round(said["macs"].value * 1e9),
            "macs_convention": said["macs"].convention if said["macs"] else "",
            "infer_samples_per_sec": _median(record.infer_samples_per_sec for record in records),
            "train_samples_per_sec": _median(record.train_samples_per_sec for record in records),
            "peak_memory_bytes": max(_finite(record.peak_memory_bytes for record in records), default=None),
        }
    )
    return Group(row, records, published)


def _mark_pareto(rows: list[SummaryRow]) -> None:
    def costs(row: SummaryRow) -> tuple[float, int, int] | None:
        if row.top1_mean is None or row.macs is None or row.params is None:
            return None
        return -row.top1_mean, row.macs, row.params

    for row in rows:
        if mine := costs(row):
            others = [other for candidate in rows if candidate.dataset == row.dataset and (other := costs(candidate))]
            row.pareto = not any(
                other != mine and all(theirs <= own for theirs, own in zip(other, mine, strict=True))
                for other in others
            )


def _finite(values: Iterable[Any]) -> list[Any]:
    return [value for value in values if value is not None and math.isfinite(value)]


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value is not None), None)


def _median(values: Iterable[Any]) -> float | None:
    finite = _finite(values)
    return statistics.median(finite) if finite else None
