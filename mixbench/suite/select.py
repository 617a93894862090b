"""Select the trials of a plan that match --only."""

from fnmatch import fnmatch
from operator import attrgetter

from mixbench.errors import RequestError, nearest
from mixbench.suite.axes import AXES
from mixbench.suite.trial import Trial
from mixbench.system.words import plural

NAMES = ("id", "model", "label", "family")  # a model by its name, whatever its overrides
VALUES = {name: attrgetter(name) for name in NAMES} | {axis.name: axis.value for axis in AXES if axis.name not in NAMES}


def select(trials: list[Trial], expression: str) -> list[Trial]:
    """Return the trials that match every `key=pattern` of a comma-separated expression.  Raises RequestError."""
    chosen = trials
    for term in expression.split(","):
        key, sign, pattern = (part.strip() for part in term.partition("="))
        if not sign:
            raise RequestError(f"--only {expression}: {term.strip()!r} is not written key=pattern, such as seed=0")
        if key not in VALUES:
            raise RequestError(f"--only {expression}: no key is called {key!r}{nearest(key, VALUES)}")
        chosen = [trial for trial in chosen if (text := _text(trial, key)) == pattern or fnmatch(text, pattern)]
    if not chosen:
        count = plural(len(trials), "trial")
        raise RequestError(f"--only {expression} matches none of the {count}")
    return chosen


def _text(trial: Trial, key: str) -> str:
    """Return a trial's value for a key, written as in a suite."""
    value = VALUES[key](trial)
    return str(value).lower() if isinstance(value, bool) else str(value)
