"""A part of a plan, by --only."""

from fnmatch import fnmatch

from mixbench.errors import RequestError, nearest
from mixbench.suite.trial import Trial

ONLY_KEYS = ["id", "model", "label", "family", "dataset", "seed", "recipe"]


ONLY_KEYS += ["precision", "memory_format", "compile", "infer_batch_size", "world_size"]


def select(trials: list[Trial], expression: str) -> list[Trial]:
    """The trials that match every `key=pattern` of a comma-separated expression.  Raises RequestError."""
    chosen = trials
    for term in expression.split(","):
        key, sign, pattern = (part.strip() for part in term.partition("="))
        if not sign:
            raise RequestError(f"--only {expression}: {term.strip()!r} is not written key=pattern, such as seed=0")
        if key not in ONLY_KEYS:
            raise RequestError(f"--only {expression}: no key is called {key!r}{nearest(key, ONLY_KEYS)}")
        chosen = [trial for trial in chosen if (text := _text(trial, key)) == pattern or fnmatch(text, pattern)]
    if not chosen:
        count = "1 trial" if len(trials) == 1 else f"{len(trials)} trials"
        raise RequestError(f"--only {expression} matches none of the {count}")
    return chosen


def _text(trial: Trial, key: str) -> str:
    """As a suite says it."""
    value = trial.recipe.name if key == "recipe" else getattr(trial, key)
    return str(value).lower() if isinstance(value, bool) else str(value)
