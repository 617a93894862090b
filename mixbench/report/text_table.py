"""Leaderboards as tables of text, as a paper prints them, for the Markdown and LaTeX formats."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from mixbench.report import numbers
from mixbench.report.caption import caption
from mixbench.report.row_names import by_images, names
from mixbench.results.flag_counts import Flags, by_kind
from mixbench.results.metrics import IN_ALL, INFERENCE, MACS, PARAMS, QUALITY, Metric
from mixbench.results.summary import Group, SummaryRow
from mixbench.results.tables import Tables
from mixbench.system.words import plural

NOTE = (
    f"{QUALITY.title}: after the last epoch, the mean over n seeds ± half of the 95 % interval, over seeds, and test "
    "images where predictions were kept. Bold: the best. "
    "To the best: ± half its 95 % interval, simultaneous over all pairs; n.s.: not distinguishable. "
    f"{MACS.title}: multiply-accumulates of one image. {INFERENCE.unit.capitalize()}: medians."
)
FLAGS = "Flags (≈: a speed on which one casts doubt)"
LONGEST_FLAG = 200  # characters of all flags of a kind; results.csv has those of each trial in full


@dataclass(frozen=True)
class Column:
    """A column: its heading, the text of a row's cell, and whether a row has a value for it.

    `cost`: lower is better; None where no row is best.
    """

    heading: str
    cell: Callable[[SummaryRow], str]
    known: Callable[[SummaryRow], bool]
    cost: Callable[[SummaryRow], float] | None = None


@dataclass(frozen=True)
class Board:
    """The leaderboard of the rows tested on the same images, the most accurate first.

    The first column holds names given by users, all others numbers.  If any row is flagged, the last column holds the
    numbers of its flags in `flags`, counted from 1.  `published`: params and MACs beside the published ones, a heading
    first; empty if none are published.  `best`: (row, column) of the best cells, counted from 0.  `caption`: what was
    measured with, in sentences.
    """

    images: str
    headings: list[str]
    rows: list[list[str]]
    flags: list[str]
    published: list[list[str]]
    best: set[tuple[int, int]]
    caption: list[str]


def _cell(row: SummaryRow, metric: Metric) -> str:
    text = numbers.FORMATS[metric.quantity].cell(getattr(row, metric.column))
    return numbers.roughly(text, metric.quantity == "rate" and row.speed_is_unsure)


def _known(row: SummaryRow, metric: Metric) -> bool:
    return getattr(row, metric.column) is not None


def _cost(row: SummaryRow, metric: Metric) -> float:
    return metric.cost(getattr(row, metric.column))


COLUMNS = [
    Column(
        QUALITY.heading, numbers.quality, lambda row: row.quality is not None, lambda row: QUALITY.cost(row.quality)
    ),
    Column("n", lambda row: str(row.n_seeds), lambda row: row.quality is not None),
    Column("To the best (points)", numbers.to_best, lambda row: row.top1_to_best is not None),
    Column(
        f"Published ({QUALITY.unit})",
        lambda row: numbers.percent(row.top1_published),
        lambda row: row.top1_published is not None,
    ),
    Column("Ours − published", numbers.apart, lambda row: row.top1_delta is not None),
    *(
        Column(
            metric.heading,
            partial(_cell, metric=metric),
            partial(_known, metric=metric),
            partial(_cost, metric=metric),
        )
        for metric in IN_ALL
        if not metric.is_quality
    ),
]


def boards(tables: Tables) -> list[Board]:
    """A board for each dataset in the suite's order, with the columns in which any of its rows has a value."""
    return [_board(images, groups, tables) for images, groups in by_images(tables.groups).items()]


def _board(images: str, groups: list[Group], tables: Tables) -> Board:
    columns = [column for column in COLUMNS if any(column.known(group.row) for group in groups)]
    best_first = sorted(zip(names(groups), groups, strict=True), key=lambda pair: QUALITY.cost(pair[1].row.quality))
    rows = [[name, *(column.cell(group.row) for column in columns)] for name, group in best_first]
    headings = ["Model", *(column.heading for column in columns)]
    flags = by_kind(record for group in groups for record in group.records)
    if flags:
        headings.append("Flags")
        for row, (_, group) in zip(rows, best_first, strict=True):
            own = {each.kind for each in by_kind(group.records)}
            row.append(", ".join(str(number) for number, each in enumerate(flags, 1) if each.kind in own))
    published = _published([(name, group.row) for name, group in best_first])
    best = _best([group.row for _, group in best_first], columns)
    return Board(images, headings, rows, list(map(_flag_text, flags)), published, best, caption(tables, groups))


def _best(rows: list[SummaryRow], columns: list[Column]) -> set[tuple[int, int]]:
    """(row, column) of each column's best cells, all that are equal; none where all rows are."""
    found = set()
    for place, column in enumerate(columns, 1):
        costs = [column.cost(row) for row in rows] if column.cost else []
        if costs and math.isfinite(min(costs)) and len(set(costs)) > 1:
            found |= {(index, place) for index, cost in enumerate(costs) if cost == min(costs)}
    return found


def _published(named: list[tuple[str, SummaryRow]]) -> list[list[str]]:
    """A heading, then each row whose params or MACs are published, beside ours in the source's way of counting."""
    found = [(name, row) for name, row in named if row.params_published is not None or row.macs_published is not None]
    columns = ("params_published", "params_as_published", "macs_published", "macs_as_published")
    heading = ["Model", *(f"{metric.title}, {whose}" for metric in (PARAMS, MACS) for whose in ("published", "ours"))]
    rows = [
        [name, *(numbers.count(getattr(row, column)) for column in columns), row.macs_convention or numbers.DASH]
        for name, row in found
    ]
    return [[*heading, "MACs counted as"], *rows] if rows else []


def _flag_text(flags: Flags) -> str:
    """`busy neighbours (2 trials): others kept 1.2 of 2 cores busy; others kept 0.9 of 2 cores busy`."""
    text = f"{flags.kind} ({plural(flags.trials, 'trial')})"
    return numbers.short(": ".join([text, *["; ".join(flags.details)] * bool(flags.details)]), LONGEST_FLAG)
