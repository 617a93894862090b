"""The summary as two CSV files with the columns of timm's published results, for notebooks made for those.

Units and order of rows are timm's (benchmark.py, validate.py and results/ of huggingface/pytorch-image-models):
parameters and activations in millions, MACs in 10⁹, milliseconds per step, percent; the fastest or most accurate first.
timm prints two decimals of parameters and MACs; here values below 1 have three digits, not 0.00 for small models.
"""

import math
import re
from statistics import fmean
from typing import Any

import pandas as pd

from mixbench.report.formats.csv import csv
from mixbench.report.row_names import settings
from mixbench.results.summary import Group
from mixbench.results.tables import Tables

SPEEDS = [
    "model", "infer_img_size", "infer_samples_per_sec", "infer_step_time", "infer_batch_size", "param_count",
    "infer_gmacs", "infer_macts",
]  # fmt: skip
ACCURACIES = ["model", "img_size", "top1", "top1_err", "top5", "top5_err", "param_count"]


def timm(tables: Tables) -> dict[str, str]:
    """Contents of the two files by file name.  A row of the summary has the same, unique name in both."""
    named = list(zip(_names(tables.groups), tables.groups, strict=True))
    speeds = [row for name, group in named if (row := _speed(name, group))]
    accuracies = [row for name, group in named if (row := _accuracy(name, group))]
    speeds.sort(key=lambda row: -row["infer_samples_per_sec"])
    accuracies.sort(key=lambda row: (-row["top1"], -row["top5"], row["model"]))
    return {
        "timm-benchmark-infer.csv": csv(_frame(speeds, SPEEDS)),
        "timm-results.csv": csv(_frame(accuracies, ACCURACIES)),
    }


def _frame(rows: list[dict[str, Any]], columns: list[str]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=columns).astype({"model": "string"})


def _names(groups: list[Group]) -> list[str]:
    """Model names; rows of the same model get a tag of the settings they differ in, like timm's pretrained tags."""
    by_model: dict[str, list[Group]] = {}
    for group in groups:
        by_model.setdefault(group.row.model, []).append(group)
    tags: dict[str, str] = {}
    for rows in by_model.values():
        for group, varying in zip(rows, settings(rows), strict=True):
            words = [each for each in varying if each != group.row.model]
            tags[group.key] = re.sub(r"\W+", "_", "_".join(words)).strip("_")
    names = [".".join(filter(None, [group.row.model, tags[group.key]])) for group in groups]
    seen: dict[str, int] = {}
    for index, name in enumerate(names):
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            names[index] = f"{name}.{seen[name]}"
    return names


def _speed(name: str, group: Group) -> dict[str, Any] | None:
    """A row of the speeds.  The step time is as in timm: the time in which every process infers one batch."""
    row = group.row
    if not row.infer_samples_per_sec or row.infer_batch_size is None:
        return None
    activations = next((each.activations for each in group.records if each.activations is not None), None)
    values = [
        row.image_size,
        round(row.infer_samples_per_sec, 2),
        round(1000 * row.infer_batch_size * row.world_size / row.infer_samples_per_sec, 3),
        row.infer_batch_size,
        _scaled(row.params, 1e6),
        _scaled(row.macs, 1e9),
        _scaled(activations, 1e6),
    ]
    return dict(zip(SPEEDS, [name, *values], strict=True))


def _accuracy(name: str, group: Group) -> dict[str, Any] | None:
    row = group.row
    if row.quality is None:
        return None
    known = [each.top5 for each in group.records if each.status == "done" and each.top5 is not None]
    finite = [top5 for top5 in known if math.isfinite(top5)]
    top1, top5 = round(row.quality, 3), round(fmean(finite), 3) if finite else math.nan
    values = [row.image_size, top1, round(100 - top1, 3), top5, round(100 - top5, 3), _scaled(row.params, 1e6)]
    return dict(zip(ACCURACIES, [name, *values], strict=True))


def _scaled(value: float | None, unit: float) -> float | None:
    """A value in a unit, rounded to two decimals, or to three significant digits if that is more."""
    if not value:
        return value
    return round(value / unit, max(2, 2 - math.floor(math.log10(value / unit))))
