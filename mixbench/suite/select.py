"""Select the trials of a plan that match --only."""

import re
from collections.abc import Sequence
from fnmatch import fnmatch
from operator import attrgetter

from mixbench.errors import RequestError, nearest
from mixbench.suite.axes import AXES
from mixbench.suite.trial import Trial
from mixbench.system.words import plural

NAMES = ("id", "model", "label", "family")  # a model by its name, whatever its overrides
VALUES = {name: attrgetter(name) for name in NAMES} | {axis.name: axis.value for axis in AXES if axis.name not in NAMES}


COMMA = re.compile(rf",(?![^\[\]]*\])(?=\s*(?:$|(?:{'|'.join(VALUES)})\s*=))")
"""A comma between two terms: not inside brackets, and a key follows.  Labels hold others: `mixer_s4[depth=2,dim=8]`."""

OUTSIDE = re.compile(r",(?![^\[\]]*\])")
"""A comma that is not inside brackets."""


def select(trials: list[Trial], expressions: Sequence[str]) -> list[Trial]:
    """Return the trials that match any of the expressions, in the plan's order.

    Raises RequestError for an expression that no trial matches.
    """
    chosen = {trial.id for expression in expressions for trial in _matching(trials, expression)}
    return [trial for trial in trials if trial.id in chosen]


def _matching(trials: list[Trial], expression: str) -> list[Trial]:
    """Return the trials that match every `key=pattern` of a comma-separated expression.  Raises RequestError."""
    chosen = trials
    for term in COMMA.split(expression):
        key, sign, pattern = (part.strip() for part in term.partition("="))
        if not sign:
            raise RequestError(f"--only {expression}: {term.strip()!r} is not written key=pattern, such as seed=0")
        if key not in VALUES:
            raise RequestError(f"--only {expression}: no key is called {key!r}{nearest(key, VALUES)}")
        chosen = [trial for trial in chosen if any(_fits(text, pattern) for text in _texts(trial, key))]
    if not chosen:
        for part in OUTSIDE.split(expression):  # a key that is misspelt looks like the rest of a label
            key, sign, _ = (each.strip() for each in part.partition("="))
            if sign and key.isidentifier() and key not in VALUES and (hint := nearest(key, VALUES)):
                raise RequestError(f"--only {expression}: no key is called {key!r}{hint}")
        count = plural(len(trials), "trial")
        raise RequestError(f"--only {expression} matches none of the {count}")
    return chosen


def _fits(text: str, pattern: str) -> bool:
    return text == pattern or fnmatch(text, pattern)


def _texts(trial: Trial, key: str) -> list[str]:
    """Return a trial's value for a key, written as in a suite; a model's name with its overrides, too, as in tables."""
    value = VALUES[key](trial)
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return [text, trial.display_name] if key == "model" else [text]
