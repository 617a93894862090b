"""The flags of a trial as tables show them, and counts of flags by kind over many trials."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from mixbench.run.flags import Flag, Kind
from mixbench.run.record import Record


@dataclass
class Flags:
    """One kind of flag: the number of trials that have it, and the distinct details of their flags."""

    kind: str
    trials: int = 0
    details: list[str] = field(default_factory=list)


def by_kind(records: Iterable[Record]) -> list[Flags]:
    """Count flags by kind, in the order in which kinds first occur."""
    found: dict[str, Flags] = {}
    for record in records:
        for kind in dict.fromkeys(flag.kind for flag in record.flags):
            found.setdefault(kind, Flags(kind)).trials += 1
        for flag in record.flags:
            if flag.detail and flag.detail not in found[flag.kind].details:
                found[flag.kind].details.append(flag.detail)
    return list(found.values())


def shown(record: Record) -> list[Flag]:
    """Return the flags of a trial; a trial that is no longer in the plan gets a flag that says so."""
    return record.flags if record.planned else [*record.flags, Flag(Kind.NOT_IN_PLAN)]


def common(records: Iterable[Record]) -> list[Flag]:
    """The flags that every trial that ran has, to be said once instead of in each row; empty for a single trial."""
    flags = [shown(record) for record in records if record.status in ("done", "failed")]
    return [flag for flag in flags[0] if all(flag in others for others in flags)] if len(flags) > 1 else []
