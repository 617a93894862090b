"""The leaderboard: a line for each row of the summary, by dataset, and the settings that most of them share."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from mixbench.report.citations import Papers, papers
from mixbench.report.leaderboard_columns import COLUMNS, LATENCY, SETTINGS, Column, Line
from mixbench.report.row_names import by_images, settings
from mixbench.results.flag_counts import common
from mixbench.results.metrics import INFERENCE, PARAMS, QUALITY
from mixbench.results.summary import Group
from mixbench.results.tables import Tables
from mixbench.run.flags import Flag
from mixbench.suite.axes import AXES
from mixbench.system.words import plural


@dataclass(frozen=True)
class Board:
    """`by_images`: the lines of each dataset, the best first.  `usual`: settings of most rows, in words.

    `order`: by what lines are sorted, in words.  `steps`: the shortest and longest time of a column's bars, in ms.
    """

    columns: list[Column]
    by_images: dict[str, list[Line]]
    families: list[str]
    recipes: list[str]
    usual: str
    order: str
    papers: Papers
    steps: tuple[float, float]

    def place(self, milliseconds: float) -> float:
        """Place of a time on the bars' axis, in percent; the axis is logarithmic."""
        low, high = (math.log(each) for each in self.steps)
        return round(100 * (math.log(milliseconds) - low) / max(high - low, 1e-9), 1)

    @property
    def lines(self) -> list[Line]:
        return [line for lines in self.by_images.values() for line in lines]

    @property
    def images(self) -> list[str]:
        return list(self.by_images)


def board(tables: Tables) -> Board:
    """Return each dataset's rows, in the suite's order of datasets, the most accurate first, without empty columns.

    Where no row has an accuracy the fastest comes first.
    """
    common_flags = common(tables.records)
    found = papers(tables.groups)
    is_ranked = any(group.row.quality is not None for group in tables.groups)
    is_timed = any(group.value(INFERENCE) is not None for group in tables.groups)
    first = QUALITY if is_ranked else INFERENCE if is_timed else PARAMS
    together = {}
    for images, groups in by_images(tables.groups).items():
        names = settings(groups)
        usual = {text for text, n in Counter(text for apart in names for text in apart).items() if 2 * n > len(groups)}
        together[images] = sorted(
            (
                Line(
                    group,
                    apart,
                    [text for text in apart if text not in usual],
                    seeds(group),
                    _flags(group, common_flags),
                    found.number(group.row.top1_source),
                )
                for group, apart in zip(groups, names, strict=True)
            ),
            key=lambda line: first.cost(line.group.value(first)),
        )
    lines = [line for some in together.values() for line in some]
    columns = [column for column in COLUMNS if any(column.cell(line).value is not None for line in lines)]
    times = [
        time for column in columns if column.name == LATENCY for line in lines for time in column.cell(line).range or ()
    ]
    settings_ = [column for column in SETTINGS if len({column.cell(line).value for line in lines}) > 1]
    return Board(
        [*settings_[:1], *columns, *settings_[1:]] if len(together) > 1 else columns + settings_,
        together,
        _sorted({line.row.family for line in lines}),
        _sorted({line.row.recipe for line in lines}),
        usual_settings([line.group for line in lines]),
        "best mean accuracy first; ◆ Pareto-optimal in accuracy, MACs and parameters"
        if is_ranked
        else "fastest first"
        if is_timed
        else "fewest parameters first",
        found,
        (min(times, default=1.0), max(times, default=1.0)),
    )


def _sorted(names: set[str]) -> list[str]:
    return sorted(names, key=lambda name: (name.casefold(), name))


def seeds(group: Group) -> int:
    return len({record.seed for record in group.records})


def _flags(group: Group, common_flags: list[Flag]) -> list[str]:
    """Flags and failures of a row, each with the number of its trials; trials that have not run show in the seeds."""
    found = Counter(str(flag) for record in group.records for flag in record.flags if flag not in common_flags)
    found["failed"] = sum(record.status == "failed" for record in group.records)
    total = len(group.records)
    return [flag if n == total == 1 else f"{flag} ({n} of {total})" for flag, n in found.items() if n]


def usual_settings(groups: Sequence[Group]) -> str:
    """The value that most rows have of each setting: "recipe default (adamw, lr 0.01, 25 epochs), fp32, …"."""
    trials = [group.records[0].details.trial for group in groups]
    if not trials:
        return ""
    measured = {part for trial in trials for part in trial.measure}
    left_out = {"model", "dataset", "seed"}
    left_out |= set() if "accuracy" in measured else {"recipe"}
    left_out |= set() if "throughput" in measured else {"infer_batch_size"}
    found = []
    for axis in AXES:
        if axis.name in left_out:
            continue
        text, n = Counter(axis.text(trial) for trial in trials).most_common(1)[0]
        if axis.name == "recipe":
            recipe = next(trial.recipe for trial in trials if axis.text(trial) == text)
            text += f" ({recipe.optimizer.name}, lr {recipe.optimizer.lr:g}, {plural(recipe.epochs, 'epoch')})"
        if text and 2 * n > len(trials):
            found.append(text)
    return ", ".join(found)
