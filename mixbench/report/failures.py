"""Failed trials, grouped by reason, model and dataset."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from mixbench.report import numbers
from mixbench.run.record import Record

_NUMBERS = re.compile(r"0x[0-9a-f]+|\d[\d.,]*", re.IGNORECASE)
NO_REASON = "No reason was recorded."


@dataclass(frozen=True)
class Failure:
    """Trials of one model and dataset that failed for one reason; `reason` is the first line of the first one's."""

    reason: str
    records: list[Record]

    @property
    def label(self) -> str:
        return self.records[0].label

    @property
    def dataset(self) -> str:
        return self.records[0].dataset


def failures(records: Iterable[Record]) -> list[Failure]:
    """Group failed trials; reasons that differ in numbers alone, such as bytes or addresses, are one.

    The most frequent failure comes first.
    """
    groups: dict[tuple[str, str, str], Failure] = {}
    for record in records:
        if record.status == "failed":
            first = numbers.short(record.error.strip().partition("\n")[0] or NO_REASON, 300)
            key = (_NUMBERS.sub("#", first), record.label, record.dataset)
            groups.setdefault(key, Failure(first, [])).records.append(record)
    return sorted(groups.values(), key=lambda failure: -len(failure.records))
