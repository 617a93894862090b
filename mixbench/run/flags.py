"""Flags: warnings about a trial's numbers.  Objects in memory; text in records and in results.csv."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import PlainSerializer, PlainValidator, WithJsonSchema


class Kind(StrEnum):
    """All kinds of flags that mixbench sets, with their names in tables."""

    VALIDATION_SPLIT = "validation split"
    OUT_OF_MEMORY = "out of memory"
    NOT_MEASURED = "not measured"
    SPEED_STILL_MOVED = "speed still moved"
    BUSY_NEIGHBOURS = "busy neighbours"
    THROTTLED_GPU = "throttled GPU"
    THROTTLED_CPU = "throttled CPU"
    NO_TF32 = "no TF32 on a CPU"
    UNCOMMITTED_CHANGES = "uncommitted changes"
    DAMAGED_CHECKPOINT = "damaged checkpoint"
    GIVEN_WEIGHTS = "given weights"
    OTHER_ENVIRONMENT = "begun in another environment"
    RECONSTRUCTION = "reconstruction"
    # not written in records: set when records are read
    UNCOUNTED = "operators not counted"
    NOT_COUNTED = "MACs not counted"
    NOT_FINITE = "not finite"
    NO_COMPLEXITY = "no complexity yet"
    NO_THROUGHPUT = "no throughput yet"
    NO_ACCURACY = "no accuracy yet"
    DAMAGED_RECORD = "damaged record"
    NEWER_RECORD = "record of a newer mixbench"
    DAMAGED_PREDICTIONS = "damaged predictions"
    MISSING_PREDICTIONS = "missing predictions"
    SEEDS_DIFFER = "seeds measured differently"
    NOT_IN_PLAN = "not in plan"


OF_SPEED = {Kind.SPEED_STILL_MOVED, Kind.BUSY_NEIGHBOURS, Kind.THROTTLED_GPU, Kind.THROTTLED_CPU}
"""Kinds by which a trial's speeds may be wrong: tables mark these ≈."""
BEFORE_DETAIL: dict[str, str] = {Kind.DAMAGED_CHECKPOINT: "checkpoint ", Kind.OTHER_ENVIRONMENT: "begun with "}
"""Text before the detail for these kinds; for all others it is the kind and a colon."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag, such as `busy neighbours: 2 other processes on the GPU`.  `kind`: a Kind, or text of another mixbench."""

    kind: str
    detail: str = ""

    def __str__(self) -> str:
        if not self.detail:
            return str(self.kind)
        return BEFORE_DETAIL.get(self.kind, f"{self.kind}: ") + self.detail

    @classmethod
    def read(cls, text: str) -> "Flag":
        """Return the flag with this text.  Any text is valid, and str() of the flag gives it back."""
        kind, _, detail = text.partition(": ")
        for other, before in BEFORE_DETAIL.items():
            if text.startswith(before):
                kind, detail = other, text.removeprefix(before)
        flag = cls(kind, detail)
        return flag if str(flag) == text else cls(text)


def has_unsure_speed(flags: Iterable[Flag]) -> bool:
    return any(flag.kind in OF_SPEED for flag in flags)


def written(flags: Iterable[Flag]) -> str:
    """Return the text of a table cell."""
    return ";".join(map(str, flags))


def _validated(value: object) -> Flag:
    if isinstance(value, Flag):
        return value
    if isinstance(value, str):
        return Flag.read(value)
    raise ValueError("a flag is text")


FlagField = Annotated[
    Flag, PlainValidator(_validated), PlainSerializer(str, return_type=str), WithJsonSchema({"type": "string"})
]
"""Type of a pydantic field: a Flag in the model, text in JSON."""
