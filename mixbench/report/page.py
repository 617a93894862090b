"""What the page says, computed from the tables: its head, leaderboards, complexity and environments."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeVar

from mixbench.record import Environment, Record
from mixbench.report import numbers
from mixbench.report.names import settings
from mixbench.results import Tables
from mixbench.summary import NOT_IN_PLAN, Group, SummaryRow

if TYPE_CHECKING:
    from mixbench.published import PublishedFigure

T = TypeVar("T")
COUNTERS_AGREE = 0.05  # a larger difference between the two counters is pointed out


@dataclass(frozen=True)
class Head:
    """What was run, when and where, and what of it is missing."""

    done: int
    total: int
    models: list[str]
    datasets: list[str]
    seeds: list[int]
    devices: list[str]
    versions: list[str]
    commits: list[str]
    began: str
    ended: str
    missing: list[str]


@dataclass(frozen=True)
class Citation:
    """What one source says of one model: figures by kind, as printed."""

    model: str
    variant: str
    number: int
    figures: dict[str, "PublishedFigure"]

    @property
    def notes(self) -> list[str]:
        return list(dict.fromkeys(figure.note for figure in self.figures.values() if figure.note))

    @property
    def convention(self) -> str:
        return self.figures["macs"].convention if "macs" in self.figures else ""


@dataclass(frozen=True)
class Line:
    """A row of a leaderboard.  `apart`: the settings that vary in this table; `seeds`: planned, done or not."""

    row: SummaryRow
    apart: list[str]
    seeds: int
    flags: list[str]
    source: int | None


@dataclass(frozen=True)
class Board:
    """One dataset's leaderboard, the best first, with the papers' figures and their sources, numbered from 1."""

    dataset: str
    lines: list[Line]
    citations: list[Citation]
    sources: list[str] = field(default_factory=list)

    def has(self, column: str) -> bool:
        return any(getattr(line.row, column) is not None for line in self.lines)


@dataclass(frozen=True)
class Counts:
    """One model's counts by both counters.  `difference` is ptflops' against ours, as a share."""

    record: Record
    uncounted: list[str]
    difference: float | None

    @property
    def disputed(self) -> bool:
        return bool(self.uncounted) or (self.difference is not None and abs(self.difference) > COUNTERS_AGREE)


@dataclass(frozen=True)
class Place:
    """One environment, and how many trials were measured in it."""

    environment: Environment
    trials: int


def head(tables: Tables) -> Head:
    records = tables.records
    places = [place.environment for place in environments(records)]
    return Head(
        done=tables.counts["done"],
        total=len(records),
        models=_unique(record.model for record in records),
        datasets=_unique(record.dataset for record in records),
        seeds=sorted({record.seed for record in records}),
        devices=_unique(record.device for record in records),
        versions=_unique(f"mixbench {e.mixbench_version}, torch {e.torch_version}" for e in places),
        commits=_unique(e.git_commit[:12] + (" (dirty)" if e.git_dirty else "") for e in places if e.git_commit),
        began=min((record.started_at for record in records if record.started_at), default=""),
        ended=max((record.finished_at for record in records if record.finished_at), default=""),
        missing=missing(tables),
    )


def missing(tables: Tables) -> list[str]:
    """What a reader must know is not here, in whole sentences."""
    counts, groups = tables.counts, tables.groups
    short = [group for group in groups if group.row.n_seeds < _seeds(group) and _wants_accuracy(group)]
    single = [group for group in groups if group.row.n_seeds == 1]
    unplanned = sum(NOT_IN_PLAN in record.flags for record in tables.records)
    sentences = [
        (not tables.records, "This run has no trials yet."),
        (counts["failed"], f"{_many(counts['failed'], 'trial')} failed."),
        (counts["running"], f"{_many(counts['running'], 'trial')} still running."),
        (counts["pending"], f"{_many(counts['pending'], 'trial')} not run yet."),
        (short, f"{_many(len(short), 'row')} of the leaderboard with fewer seeds than planned."),
        (single, f"{_many(len(single), 'row')} with a single seed: no spread can be given."),
        (unplanned, f"{_many(unplanned, 'trial')} no longer in the plan: shown under Trials, not in the leaderboard."),
        *((True, f"Every trial that ran: {flag}.") for flag in common_flags(tables.records)),
        (tables.set_aside, f"{_many(tables.set_aside, 'damaged file')} set aside by an earlier run, as *.damaged-1 …"),
        (
            tables.damaged,
            f"{_many(len(tables.damaged), 'file')} cannot be read; running the suite again sets aside what is damaged:",
        ),
    ]
    return [sentence for holds, sentence in sentences if holds] + [numbers.short(text, 400) for text in tables.damaged]


def common_flags(records: list[Record]) -> list[str]:
    """What is true of every trial that ran: said once, not in every row."""
    ran = [record for record in records if record.status in ("done", "failed")]
    return [flag for flag in (ran[0].flags if len(ran) > 1 else []) if all(flag in record.flags for record in ran)]


def boards(tables: Tables) -> list[Board]:
    """A leaderboard for each dataset, in the suite's order."""
    said = common_flags(tables.records)
    return [
        _board(dataset, [group for group in tables.groups if group.row.dataset == dataset], said)
        for dataset in _unique(group.row.dataset for group in tables.groups)
    ]


def _board(dataset: str, groups: list[Group], said: list[str]) -> Board:
    sources = _unique(figure.source for group in groups for figure in group.published)
    citations: dict[tuple[str, str, int], Citation] = {}
    for group in groups:
        for figure in group.published:
            key = (group.row.model, figure.variant, sources.index(figure.source) + 1)
            known = citations.setdefault(key, Citation(*key, {}))
            known.figures.setdefault(figure.figure, figure)
    lines = [
        Line(group.row, apart, _seeds(group), _flags(group, said), _source(group, sources))
        for group, apart in zip(groups, settings(groups), strict=True)
    ]
    lines.sort(key=lambda line: -(line.row.top1_mean if line.row.top1_mean is not None else float("-inf")))
    return Board(dataset, lines, list(citations.values()), sources)


def _source(group: Group, sources: list[str]) -> int | None:
    """The number of the source that top1_published is taken from."""
    for figure in group.published:
        if figure.figure == "top1" and figure.value == group.row.top1_published and not figure.qualifier:
            return sources.index(figure.source) + 1
    return None


def _flags(group: Group, said: list[str]) -> list[str]:
    """What went wrong, with how many of the trials it concerns; what has not run yet shows in the seeds."""
    found = Counter(flag for record in group.records for flag in record.flags if flag not in said)
    found["failed"] = sum(record.status == "failed" for record in group.records)
    total = len(group.records)
    return [flag if n == total == 1 else f"{flag} ({n} of {total})" for flag, n in found.items() if n]


def complexity(records: list[Record]) -> list[Counts]:
    """A line for each model at each size, cheapest first."""
    found: dict[tuple, Counts] = {}
    for record in records:
        if record.params is None or record.macs is None:
            continue
        key = (record.model, record.image_size, record.params, record.macs, record.macs_ptflops)
        difference = record.macs_ptflops / record.macs - 1 if record.macs_ptflops is not None and record.macs else None
        part = record.details.complexity
        found.setdefault(key, Counts(record, part.uncounted if part else [], difference))
    return sorted(found.values(), key=lambda counts: (counts.record.macs or 0, counts.record.params or 0))


def environments(records: list[Record]) -> list[Place]:
    """Every environment that something was measured in, the most used first."""
    used: dict[str, tuple[Environment, set[str]]] = {}
    for record in records:
        for environment in record.details.environment.values():
            used.setdefault(environment.model_dump_json(), (environment, set()))[1].add(record.trial_id)
    places = [Place(environment, len(trials)) for environment, trials in used.values()]
    return sorted(places, key=lambda place: -place.trials)


def _seeds(group: Group) -> int:
    return len({record.seed for record in group.records})


def _wants_accuracy(group: Group) -> bool:
    return any("accuracy" in record.details.trial.measure for record in group.records)


def _unique(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(value for value in values if value))


def _many(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"
