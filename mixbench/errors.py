"""Errors that the user can fix (as opposed to bugs in mixbench), and how their messages are worded."""

import json
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

EXIT_FAILED, EXIT_REQUEST, EXIT_INTERRUPTED = 1, 2, 130
"""Exit codes: a trial failed; the request is wrong and nothing ran; interrupted by a person."""


class RequestError(Exception):
    """The request is wrong (exit code 2).  The text is shown as is: the problem, its place, and what would be right."""


class TrialError(Exception):
    """A trial cannot continue.  Its record keeps the text, without a traceback, and the other trials are run."""


def refusal(problems: Iterable[tuple[str, str]]) -> RequestError:
    """One error that lists all problems, each (place as file:line, message), in the order of the lines."""
    lines = [f"{place}: {message}" for place, message in sorted(set(problems), key=_reading_order)]
    return RequestError("\n".join([f"{len(lines)} problems", *lines] if len(lines) > 1 else lines))


def _reading_order(problem: tuple[str, str]) -> tuple[str, int, str]:
    """Sort key of a problem: file, line, message."""
    place, message = problem
    file, _, line = place.rpartition(":")
    return (file, int(line), message) if line.isdecimal() else (place, 0, message)


def nearest(word: str, choices: Iterable[str]) -> str:
    """A hint for a misspelt or cut-off word: " (did you mean …?)"; if none is near, up to 20 choices."""
    names = [str(choice) for choice in choices]
    longer = [name for name in names if name.startswith(word)][:3] if len(word) > 2 else []
    if close := get_close_matches(cut(word), names, n=3, cutoff=0.6) or longer:
        return f" (did you mean {' or '.join(close)}?)"
    return f" (choose from {', '.join(names)})" if 0 < len(names) <= 20 else ""


def cut(text: str, most: int = 80) -> str:
    """Shorten a long text for a message."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text):,} characters)"


def shown(value: Any) -> str:
    """Format a value from a file for a message, as JSON; shortens it, and escapes control characters."""
    return printable(cut(json.dumps(value, default=str, ensure_ascii=False)))


def printable(text: str) -> str:
    """Escape characters that a terminal does not print, such as control sequences."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def described(error: BaseException) -> str:
    """An exception's type and the first line of its message: torch appends a C++ stack, others a page of text."""
    message = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {cut(message, 300)}" if message else type(error).__name__


WANTED = {  # by the type of pydantic's error
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
REWORDED = {  # parts of pydantic's messages
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
    "Input should be": "it must be",
    "String should": "it must",
    "Value error, ": "",
}


def wanted(error: Any) -> str:
    """Reword one of pydantic's errors in plain words."""
    message = error["msg"]
    for theirs, ours in REWORDED.items():
        message = message.replace(theirs, ours)
    message = re.sub(r"\d{5,}", lambda digits: f"{int(digits[0]):,}", message)
    if error["type"] == "string_type" and isinstance(error["input"], bool | int | float):
        return "text is wanted (in quotes)"
    return WANTED.get(error["type"], message)


class Unavailable(Exception):
    """SLURM cannot be queried: a command is missing, or its daemon does not answer."""
