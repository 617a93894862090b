"""`--fail-below METRIC:CHANGE`: how much worse run B may be than run A before `compare` fails."""

import re
from dataclasses import dataclass, field
from typing import Literal

from mixbench.errors import RequestError, cut
from mixbench.results.changes import Change, value
from mixbench.results.metrics import COMPARED, Metric
from mixbench.results.side_by_side import SideBySide

_WRITTEN = re.compile(r"(?P<sign>[+-])(?P<size>\d+(?:\.\d+)?)(?P<percent>%?)")
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Limit:
    """The largest allowed change for the worse: in percent of A's mean if `relative`, else in the metric's unit."""

    metric: Metric
    bound: float
    relative: bool
    text: str

    def answer(self, change: Change) -> Literal["kept", "crossed", "inconclusive"]:
        """Say whether the change is worse than the limit; one that is equal to it is allowed.

        Inconclusive if the change's 95 % interval spans the limit, or a flag casts doubt on a speed.  Without an
        interval the change itself counts.
        """
        before, by = change.a.mean, change.difference.value
        if before is None or by is None:
            return "kept"
        if change.unsure:
            return "inconclusive"
        allowed = abs(self.bound) * (abs(before) / 100 if self.relative else 1) + _ROUNDING * abs(before)
        ends = change.ends or (by, by)
        least, most = sorted(-end if self.metric.more_is_better else end for end in ends)
        return "crossed" if least > allowed else "inconclusive" if most > allowed else "kept"


@dataclass
class Answers:
    """Lines about the limits that are crossed, and those of which that can't be told."""

    crossed: list[str] = field(default_factory=list)
    inconclusive: list[str] = field(default_factory=list)


def parse(text: str) -> Limit:
    """Parse `train_samples_per_sec:-5%`, `top1:-0.5`, `peak_memory_bytes:+10%`.  Raises RequestError."""
    column, _, written = (part.strip() for part in text.partition(":"))
    metric = next((each for each in COMPARED if each.column == column), None)
    if metric is None:
        columns = ", ".join(each.column for each in COMPARED)
        raise RequestError(f"--fail-below {cut(text)!r}: METRIC:CHANGE is wanted, METRIC being one of {columns}")
    found = _WRITTEN.fullmatch(written)
    sign = "-" if metric.more_is_better else "+"
    example = f"such as {metric.column}:{sign}5%"
    if found is None:
        raise RequestError(f"--fail-below {cut(text)!r}: a change with its sign is wanted, {example}")
    if found["sign"] != sign:
        better = "more" if metric.more_is_better else "less"
        raise RequestError(
            f"--fail-below {cut(text)!r}: {better} is better, so the change that fails is written {example}"
        )
    return Limit(metric, float(found["sign"] + found["size"]), bool(found["percent"]), text)


def answers(found: SideBySide, limits: list[Limit]) -> Answers:
    """Return a line for each limit and each cell in which it is crossed, or may be.

    A value that only A has crosses every limit, whether the trial failed in B or is not planned in B.

    Raises RequestError for a limit without values to compare: a check that checks nothing must not pass.
    """
    lines = Answers()
    for limit in limits:
        changes = [(cell, change) for cell in found.cells for change in cell.changes if change.metric is limit.metric]
        lost = any(change.lost for _, change in changes)
        if not lost and not checked(found, limit):
            why = "the devices are not the same" if found.devices and limit.metric.of_device else "run A has no value"
            raise RequestError(f"--fail-below {limit.text!r} has nothing to check: {why}")
        for cell, change in changes:
            answer = limit.answer(change)
            if answer == "crossed":
                lines.crossed.append(f"{limit.text}: {cell.name}: {change.to_all_digits}")
            elif answer == "inconclusive":
                lines.inconclusive.append(f"{limit.text}: {cell.name}: {_doubt(change)}")
            lines.crossed += [f"{limit.text}: {pair.a.trial_id}: {pair.why_lost(limit.metric)}" for pair in change.lost]
        dropped = [record for record in found.dropped if value(record, limit.metric) is not None]
        lines.crossed += [f"{limit.text}: {record.trial_id}: not planned in B" for record in dropped]
    return lines


def _doubt(change: Change) -> str:
    return f"{change.text}; {change.unsure}" if change.unsure else f"{change.text} spans the limit"


def checked(found: SideBySide, limit: Limit) -> int:
    """The number of trials that the limit could be checked for: those that both runs have a value of."""
    return sum(change.a.n for cell in found.cells for change in cell.changes if change.metric is limit.metric)
