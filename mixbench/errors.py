"""What may go wrong that is the user's to mend, as opposed to a bug in mixbench."""

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

EXIT_FAILED, EXIT_REQUEST, EXIT_INTERRUPTED = 1, 2, 130
"""What ran has failed in part; the request is wrong, nothing ran; a person ended it."""


class RequestError(Exception):
    """The request itself is wrong (exit code 2).  Its text is shown as it is: what, where, and what would be right."""


class TrialError(Exception):
    """A trial cannot go on (its record says so, the suite goes on): no traceback is shown, the text says it all."""


def refusal(problems: Iterable[tuple[str, str]]) -> RequestError:
    """All problems, each a place (file:line) and what is wrong there, in one error, in the order of the lines."""
    lines = [f"{place}: {message}" for place, message in sorted(set(problems), key=_reading_order)]
    return RequestError("\n".join([f"{len(lines)} problems", *lines] if len(lines) > 1 else lines))


def _reading_order(placed: tuple[str, str]) -> tuple[str, int, str]:
    file, _, line = placed[0].rpartition(":")
    return (file, int(line), placed[1]) if line.isdecimal() else (placed[0], 0, placed[1])


def nearest(word: str, choices: Iterable[str]) -> str:
    """ " (did you mean …?)" for a misspelt or cut word, or the choices themselves where they are few and none near."""
    names = [str(choice) for choice in choices]
    longer = [name for name in names if name.startswith(word)][:3] if len(word) > 2 else []
    if close := get_close_matches(cut(word), names, n=3, cutoff=0.6) or longer:
        return f" (did you mean {' or '.join(close)}?)"
    return f" (choose from {', '.join(names)})" if 0 < len(names) <= 20 else ""


def cut(text: str, most: int = 80) -> str:
    """A text for a message: its beginning where it is long."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def shown(value: Any) -> str:
    """A value from a file for a message: null, true, "text"; cut where it is long, with nothing a terminal obeys."""
    return printable(cut(json.dumps(value, default=str, ensure_ascii=False)))


def printable(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def described(error: BaseException) -> str:
    """An exception's kind and the first line of what it says: torch adds a C++ stack, others a page."""
    said = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {cut(said, 300)}" if said else type(error).__name__


WANTED = {
    "string_type": "text is wanted",
    "int_type": "a whole number is wanted",
    "float_type": "a number is wanted",
    "bool_type": "true or false is wanted",
    "tuple_type": "a list is wanted",
    "list_type": "a list is wanted",
    "dict_type": "a mapping (key: value) is wanted",
    "model_type": "a mapping (key: value) is wanted",
    "finite_number": "a finite number is wanted",
    "string_pattern_mismatch": "only a–z, 0–9, _ and - are wanted",
}
PLAINLY = {
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
    "Input should be": "it must be",
    "String should": "it must",
    "Value error, ": "",
}


def wanted(error: Any) -> str:
    """What one of pydantic's errors wants, in a person's words."""
    said = error["msg"]
    for theirs, ours in PLAINLY.items():
        said = said.replace(theirs, ours)
    said = re.sub(r"\d{5,}", lambda digits: f"{int(digits[0]):,}", said)
    if error["type"] == "string_type" and isinstance(error["input"], bool | int | float):
        return "text is wanted (in quotes)"
    return WANTED.get(error["type"], said)


class Unavailable(Exception):
    """SLURM cannot be asked: a command is missing, or its daemon does not answer."""
