"""Converts the arguments of a model to the types that its constructor declares."""

import json
import re
from fractions import Fraction
from math import isfinite
from typing import Annotated, Any, get_type_hints

from pydantic import BeforeValidator, TypeAdapter, ValidationError
from torch import nn

from mixbench.errors import RequestError, shown, wanted

LARGEST_ARGUMENT = 1_000_000


def typed(name: str, model_class: type[nn.Module], arguments: dict[str, Any]) -> dict[str, Any]:
    """Convert arguments to the types of the constructor's annotations.  Raises RequestError if one does not fit."""
    hints = get_type_hints(model_class.__init__)
    result = {}
    for key, value in arguments.items():
        try:
            result[key] = _fit(value, hints[key]) if key in hints else value
        except ValidationError as error:
            why = wanted(error.errors()[0])
            raise RequestError(f"{name}: {key}: {shown(value)} does not fit ({why})") from error
        if _largest(result[key]) > LARGEST_ARGUMENT:
            raise RequestError(f"{name}: {key}: {shown(value)} does not fit (it must be at most {LARGEST_ARGUMENT:,})")
    return result


def _fraction(value: Any) -> Fraction:
    """Convert to a fraction by way of text, so that YAML's 0.6 is 3/5 and not the nearest binary float."""
    text = "" if isinstance(value, bool) else str(value)
    try:
        if not re.search(r"e[+-]?\d{3}|.{50}", text, re.IGNORECASE):  # 1e999999999 as a fraction takes hours
            return Fraction(text)
    except (ValueError, ZeroDivisionError):
        pass
    raise ValueError("a fraction is a number such as 2/3 or 0.6")


def _fit(value: Any, annotation: Any) -> Any:
    """Convert a value to a type, strictly: "3" is not an int.  A list, as YAML has it, may become a tuple."""
    if annotation is Fraction:
        return TypeAdapter(Annotated[Fraction, BeforeValidator(_fraction)]).validate_python(value)
    if isinstance(value, list):
        return TypeAdapter(annotation).validate_json(json.dumps(value, default=str), strict=True)
    return TypeAdapter(annotation).validate_python(value, strict=None if annotation is float else True)


def _largest(value: Any) -> float:
    """Absolute value of the largest finite number in an argument; 0 if it has none."""
    if isinstance(value, list | tuple):
        return max(map(_largest, value), default=0)
    return abs(value) if isinstance(value, int | float) and isfinite(value) else 0
