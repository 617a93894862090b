"""The page's section on each model: its arguments, layers, counts by both counters, timings and trials."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from markupsafe import Markup

from mixbench.report import numbers, sparklines
from mixbench.report.evidence import Evidence
from mixbench.report.row_names import settings
from mixbench.report.step_times import Kind, samples, steps
from mixbench.results.flag_counts import shown
from mixbench.results.metrics import INFERENCE, OF_TRIALS, QUALITY, TRAINING, Metric
from mixbench.results.summary import Group
from mixbench.results.tables import Tables
from mixbench.run.flags import Flag
from mixbench.run.parts import Layer
from mixbench.run.record import Record
from mixbench.system.words import plural

_STEPS: dict[str, Kind] = {INFERENCE.column: "infer", TRAINING.column: "train"}
COUNTERS_AGREE = 0.05  # a larger difference between the two counters is pointed out


@dataclass(frozen=True)
class Counts:
    """One network's counts by both counters.  `difference`: (ptflops - ours) / ours, of the MACs."""

    record: Record
    uncounted: list[str]
    fft_flops: int
    difference: float | None

    @property
    def differ(self) -> bool:
        return self.difference is not None and abs(self.difference) > COUNTERS_AGREE

    @property
    def disputed(self) -> bool:
        return bool(self.uncounted) or self.differ


@dataclass(frozen=True)
class Layers:
    """Layers that differ only in a number in their name, such as blocks.*.mlp.  `layer` is one of them."""

    name: str
    times: int
    layer: Layer


@dataclass(frozen=True)
class Timings:
    """The raw timings of one row's trials, as histograms and in text."""

    setting: str
    group: Group

    @property
    def drawings(self) -> list[tuple[str, Markup, str]]:
        """(name of the step, histogram as SVG, text of its spread), for inference and training if timed."""
        row, records = self.group.row, self.group.records
        kinds: tuple[tuple[str, Kind], ...] = (("inference step", "infer"), ("training step", "train"))
        return [
            (name, Markup(svg), steps(kind, row, records))
            for name, kind in kinds
            if (svg := sparklines.histogram(samples(kind, records), name))
        ]


@dataclass(frozen=True)
class TrialRow:
    """A row of the table of trials: a record, its host, duration and learning curve as a small drawing."""

    record: Record

    @property
    def flags(self) -> list[Flag]:
        return shown(self.record)

    @property
    def host(self) -> str:
        return ", ".join(dict.fromkeys(each.host for each in self.record.details.environment.values()))

    @property
    def cells(self) -> list[tuple[str, str | None]]:
        """For each metric that trials differ in, its value and the text shown when it is pointed at."""
        return [(self._cell(each), self._hover(each)) for each in OF_TRIALS]

    def _cell(self, metric: Metric) -> str:
        shown = numbers.FORMATS[metric.quantity].cell
        if metric.quantity == "milliseconds":
            return ", ".join(shown(getattr(self.record, f"infer_step_ms_p{percent}")) for percent in (5, 50, 95))
        return shown(metric.of(self.record))

    def _hover(self, metric: Metric) -> str | None:
        if metric.quantity == "seconds":
            return None if self.record.epochs is None else plural(self.record.epochs, "epoch")
        kind = _STEPS.get(metric.column)
        return (steps(kind, self.record, [self.record]) or None) if kind else None

    @property
    def seconds(self) -> float | None:
        """Seconds from its first start to its end, including interruptions; None if it has not ended."""
        try:
            began, ended = (datetime.fromisoformat(text) for text in (self.record.started_at, self.record.finished_at))
            return (ended - began).total_seconds()
        except (ValueError, TypeError):  # not ended, or only one of the two has a UTC offset
            return None

    @property
    def spark(self) -> Markup:
        curve = self.record.details.curve
        return Markup(
            sparklines.curve([(epoch.epoch, QUALITY.of(epoch)) for epoch in curve.epochs], f"{QUALITY.name} by epoch")
            if curve
            else ""
        )


@dataclass(frozen=True)
class Model:
    """One network: a model with its arguments, including image size and classes, and its trials.

    `timings`, `evidence`: of each of its rows that has any, by the settings in which they differ.
    """

    anchor: str
    record: Record
    trials: list[TrialRow]
    counts: Counts | None
    layers: list[Layers]
    timings: list[Timings] = field(default_factory=list)
    evidence: list[tuple[str, Evidence]] = field(default_factory=list)

    @property
    def title(self) -> str:
        """A title that is unique in the page, which labels need not be."""
        return f"{self.anchor.removeprefix('model-')}: {self.record.label}"

    @property
    def arguments(self) -> dict[str, Any]:
        return self.record.details.trial.arguments

    @property
    def overrides(self) -> dict[str, Any]:
        return self.record.details.trial.overrides

    @property
    def done(self) -> int:
        return sum(row.record.status == "done" for row in self.trials)

    @property
    def failed(self) -> int:
        return sum(row.record.status == "failed" for row in self.trials)


def models(tables: Tables, evidence: Mapping[str, Evidence]) -> list[Model]:
    """All models, in the order of the plan.  `evidence`: by the key of each row that has any."""
    by_model: dict[str, list[Record]] = {}
    for record in tables.records:
        by_model.setdefault(_key(record), []).append(record)
    timed: dict[str, list[Timings]] = {}
    seen: dict[str, list[tuple[str, Evidence]]] = {}
    for group, setting in _with_settings(tables.groups):
        key = _key(group.records[0])
        if any(record.details.throughput for record in group.records):
            timed.setdefault(key, []).append(Timings(setting, group))
        if group.key in evidence:
            seen.setdefault(key, []).append((setting, evidence[group.key]))
    return [
        _model(anchor, records, timed.get(key, []), seen.get(key, []))
        for (key, records), anchor in zip(by_model.items(), _anchors(), strict=False)
    ]


def anchors(tables: Tables) -> dict[str, str]:
    """The page's anchor of each group's model, by the group's key."""
    found = dict(zip(dict.fromkeys(map(_key, tables.records)), _anchors(), strict=False))
    return {group.key: found[_key(group.records[0])] for group in tables.groups}


def _anchors() -> Iterable[str]:
    return (f"model-{number}" for number in range(1, 1_000_000))


def _key(record: Record) -> str:
    return f"{record.details.trial.built_alike} {record.dataset} {record.label}"


def _model(anchor: str, records: list[Record], timings: list[Timings], evidence: list[tuple[str, Evidence]]) -> Model:
    counted = next((record for record in records if record.macs is not None and record.params is not None), None)
    counts, layers = None, []
    if counted is not None:
        part = counted.details.complexity
        share = counted.macs_ptflops / counted.macs - 1 if counted.macs_ptflops is not None and counted.macs else None
        counts = Counts(counted, part.uncounted if part else [], part.fft_flops if part else 0, share)
        layers = merge_repeated(part.layers if part else [])
    trials = [TrialRow(record) for record in records]
    return Model(anchor, counted or records[0], trials, counts, layers, timings, evidence)


def merge_repeated(layers: Sequence[Layer]) -> list[Layers]:
    """Merge layers that differ only in a number in their name, at the position of the first."""
    found: dict[tuple[Any, ...], list[Layer]] = {}
    for layer in layers:
        shape = (layer.type, layer.params, layer.macs, tuple(layer.input_shape), tuple(layer.output_shape))
        found.setdefault((re.sub(r"(^|\.)\d+(?=\.|$)", r"\1*", layer.name, count=1), *shape), []).append(layer)
    return [Layers(name if len(same) > 1 else same[0].name, len(same), same[0]) for (name, *_), same in found.items()]


def _with_settings(groups: Sequence[Group]) -> Iterable[tuple[Group, str]]:
    by_dataset: dict[str, list[Group]] = {}
    for group in groups:
        by_dataset.setdefault(group.row.dataset, []).append(group)
    for same in by_dataset.values():
        for group, apart in zip(same, settings(same), strict=True):
            yield group, ", ".join(apart)
