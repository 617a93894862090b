"""Types of the values in a suite: numbers in their ranges, names, paths, lists."""

import os
import re
from collections import Counter
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from mixbench.errors import shown


class Strict(BaseModel):
    """Model of data that a person writes: unknown keys and values of another type are errors."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


def _number(value: Any) -> Any:
    """Convert an int, or text such as 1e-3, to float: PyYAML reads a number with an exponent but no point as text."""
    if isinstance(value, str) and re.fullmatch(r"[+-]?\d+(\.\d*)?[eE][+-]?\d+", value):
        return float(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


Number = Annotated[float, BeforeValidator(_number), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
NonNegative = Annotated[Number, Field(ge=0)]
UpTo100 = Annotated[Number, Field(ge=0, le=100)]
Fraction01 = Annotated[Number, Field(ge=0, le=1)]
Below1 = Annotated[Number, Field(ge=0, lt=1)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]


def _one_line(text: str) -> str:
    if not text.strip():
        raise ValueError("a name is wanted, not an empty text")
    if len(text) > 100:
        raise ValueError(f"at most 100 characters are wanted, not {len(text):,}")
    if bad := re.search(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u061c\u2028-\u202e\u2066-\u2069]", text):
        raise ValueError(f"one line without control characters is wanted; this holds U+{ord(bad[0]):04X}")
    return text


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for value, times in Counter(values).items():
        if times > 1:
            raise ValueError(f"{shown(value)} is given more than once")
    return values


Title = Annotated[str, AfterValidator(_one_line)]
"""Text that tables, pages and terminals can show unchanged: one line, without control or text direction characters."""
Distinct = AfterValidator(_distinct)


def as_list(value: Any) -> Any:
    """Make a list of a single value; None stays None."""
    return value if value is None or isinstance(value, list | tuple) else [value]


AsList = BeforeValidator(as_list)


def _path(text: str) -> str:
    if not text.strip():
        raise ValueError("a path is wanted, not an empty text")
    if len(text) > 4000 or any(len(os.fsencode(part)) > 255 for part in text.split("/")):
        raise ValueError(f"no path is as long as {shown(text)}")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"the bytes of {shown(text)} are no UTF-8, so no record could hold it: rename it") from None
    return text


PathText = Annotated[str, AfterValidator(_path)]


def _in_order(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"the lower bound comes first: {list(bounds)}")
    return bounds


def _at_most_1(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[1] > 1:
        raise ValueError(f"a share of the image's area is at most 1, not {bounds[1]}")
    return bounds


Range = Annotated[tuple[Positive, Positive], Field(strict=False), AfterValidator(_in_order)]
Share = Annotated[Range, AfterValidator(_at_most_1)]
