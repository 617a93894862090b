"""Published figures: models/published.csv, a row per figure.

A figure is compared with ours only if all of these are equal: model, overrides, dataset, image size, pretraining, and
for MACs the convention they were counted in.
"""

import csv
import re
from collections.abc import Mapping
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from mixbench.errors import RequestError
from mixbench.system.content import content

Pretraining = Literal["none", "in21k", "jft300m", "distilled"]
Convention = Literal["splitmixer", "macs", "macs_no_depthwise", "macs_no_fft", "unknown"]
UNITS = {"params": "million", "macs": "giga", "top1": "percent"}
NOT_OVERRIDES = ("image_size", "in_chans", "num_classes")
"""Arguments set by the dataset, with columns of their own."""

BETWEEN_OVERRIDES = re.compile(r",(?![^\[]*\])")
"""A comma that is not inside brackets."""


def _parse_overrides(cell: Any) -> Any:
    """Parse "kernel_size=7,strides=[1,2,2,1]" into a dictionary of strings.  Raises ValueError."""
    if not isinstance(cell, str):
        return cell
    pairs = [pair.partition("=") for pair in BETWEEN_OVERRIDES.split(cell) if pair]
    if any(not (key and equals and value) for key, equals, value in pairs):
        raise ValueError(f"{cell!r} is not written key=value,key=value")
    return {key: value for key, _, value in pairs}


class PublishedFigure(BaseModel):
    """One figure as its source prints it.

    `value` is in `unit`: params in millions, MACs in 10⁹, top1 in percent; `printed` is its text, with the source's
    number of decimals.  `qualifier`: not empty if the source does not give an exact figure.  Only top1 has a
    `pretraining`, only MACs have a `convention`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(min_length=1)]
    system: Annotated[str, Field(min_length=1)]
    variant: str
    dataset: Annotated[str, Field(min_length=1)]
    image_size: Annotated[int, Field(ge=1)]
    num_classes: Annotated[int, Field(ge=1)]
    overrides: Annotated[dict[str, str], BeforeValidator(_parse_overrides)]
    figure: Literal["params", "macs", "top1"]
    value: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    printed: str
    unit: Literal["million", "giga", "percent"]
    qualifier: Literal["", "more_than", "about"]
    pretraining: Pretraining | Literal[""]
    convention: Convention | Literal[""]
    note: str
    source: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _agrees(self) -> "PublishedFigure":
        if self.unit != UNITS[self.figure]:
            raise ValueError(f"unit: {self.figure} is in {UNITS[self.figure]}, not in {self.unit}")
        if bool(self.pretraining) != (self.figure == "top1"):
            raise ValueError("pretraining: top1 has one, other figures have none")
        if bool(self.convention) != (self.figure == "macs"):
            raise ValueError("convention: macs has one, other figures have none")
        return self


def read(path: Path) -> list[PublishedFigure]:
    """Read a file of published figures.  Raises RequestError with file:line for the first invalid row."""
    figures = []
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, restkey="", restval="")
        for row in rows:
            try:
                figures.append(PublishedFigure.model_validate(row | {"printed": row.get("value", "")}))
            except ValidationError as error:
                first = error.errors()[0]
                where = ".".join(str(key) for key in first["loc"][:1])
                why = first["msg"].removeprefix("Value error, ")
                raise RequestError(f"{path}:{rows.line_num}: {where + ': ' if where else ''}{why}") from error
    return figures


@cache
def load() -> list[PublishedFigure]:
    """All rows of models/published.csv, in its order: SplitMixer's paper first."""
    return read(content("models") / "published.csv")


def find(
    model: str, overrides: Mapping[str, Any], dataset: str, image_size: int, pretraining: Pretraining = "none"
) -> list[PublishedFigure]:
    """The figures of exactly this model and setting, in the file's order.

    `overrides` are the arguments that differ from the variant's own.
    """
    wanted = _comparable(overrides)
    return [
        figure
        for figure in load()
        if (figure.model, figure.dataset, figure.image_size) == (model, dataset, image_size)
        and _comparable(figure.overrides) == wanted
        and figure.pretraining in ("", pretraining)
    ]


def _comparable(overrides: Mapping[str, Any]) -> dict[str, Fraction | str]:
    """Overrides without those set by the dataset; 2/3 equals "2/3", 7 equals "7", and (1, 2) equals "[1,2]"."""
    return {key: _number_or_text(value) for key, value in overrides.items() if key not in NOT_OVERRIDES}


def _number_or_text(value: Any) -> Fraction | str:
    if isinstance(value, list | tuple):
        return f"[{','.join(map(str, value))}]"
    try:
        return Fraction(str(value))
    except (ValueError, ZeroDivisionError):
        return str(value)
