"""What may go wrong that is the user's to mend, as opposed to a bug in mixbench."""

from collections.abc import Iterable
from difflib import get_close_matches


class RequestError(Exception):
    """The request itself is wrong (exit code 2).  Its text is shown as it is: what, where, and what would be right."""


class TrialError(Exception):
    """A trial cannot go on (its record says so, the suite goes on): no traceback is shown, the text says it all."""


def nearest(word: str, choices: Iterable[str]) -> str:
    """ " (did you mean …?)" for a misspelt word, or the choices themselves where they are few and none is near."""
    names = [str(choice) for choice in choices]
    if close := get_close_matches(str(word), names, n=3, cutoff=0.6):
        return f" (did you mean {' or '.join(close)}?)"
    return f" (choose from {', '.join(names)})" if 0 < len(names) <= 20 else ""
