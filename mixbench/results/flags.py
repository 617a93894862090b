"""The flags of many trials by their kind: `busy neighbours: 2 other processes on the GPU` is of `busy neighbours`."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mixbench.run.record import Record


@dataclass
class Flags:
    """One kind: how many trials it concerns, and what else their flags say of it, each once."""

    kind: str
    trials: int = 0
    details: list[str] = field(default_factory=list)


def by_kind(records: Iterable[Record]) -> list[Flags]:
    """The kinds in the order in which they come."""
    found: dict[str, Flags] = {}
    for record in records:
        parts = [flag.partition(": ") for flag in record.flags]
        for kind in dict.fromkeys(kind for kind, _, _ in parts):
            found.setdefault(kind, Flags(kind)).trials += 1
        for kind, _, detail in parts:
            if detail and detail not in found[kind].details:
                found[kind].details.append(detail)
    return list(found.values())
