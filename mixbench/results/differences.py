"""The differences between two runs' plans, a line for each row that one of them lacks."""

from collections.abc import Iterable, Iterator

from mixbench.run.record import Record
from mixbench.suite.axes import NO_IDENTITY, leaves
from mixbench.suite.trial import Trial

# Named in each line already: the model, with its arguments, the dataset and the seeds.
_NAMED = {"model", "overrides", "dataset", "seed"}
MAX_KEYS = 6
"""The most keys that a line names in which two trials differ."""
Point = tuple[tuple[str, str], ...]
Rows = dict[tuple[str, Point], list[int]]


def plan_differences(ours: dict[str, Record], theirs: dict[str, Record]) -> Iterator[str]:
    """Yield a line for each row that only one run (A or B) has, compared with the most similar row of the other."""
    only_ours = _rows(record for trial_id, record in ours.items() if trial_id not in theirs)
    only_theirs = _rows(record for trial_id, record in theirs.items() if trial_id not in ours)
    all_ours, all_theirs, matched = _rows(ours.values()), _rows(theirs.values()), set()
    for (title, point), seeds in only_ours.items():
        nearest, apart = _nearest(title, point, all_theirs)
        row = (title, nearest)
        if apart and row in only_theirs:
            matched.add(row)
            yield f"{title}: {_changes(apart)} (A: {_seeds(seeds)}; B: {_seeds(only_theirs[row])})"
        else:
            yield f"{title}: {f'{_changes(apart)} (A: {_seeds(seeds)})' if apart else f'only in A ({_seeds(seeds)})'}"
    for (title, point), seeds in only_theirs.items():
        if (title, point) not in matched:
            _, apart = _nearest(title, point, all_ours)
            back = {key: (old, new) for key, (new, old) in apart.items()}
            yield f"{title}: {f'{_changes(back)} (B: {_seeds(seeds)})' if apart else f'only in B ({_seeds(seeds)})'}"


def _nearest(title: str, point: Point, rows: Rows) -> tuple[Point | None, dict[str, tuple[str, str]]]:
    """Return the row of this model and dataset that differs in the fewest keys, and these keys; else None, {}."""
    likely = [(_apart(point, other), other) for model, other in rows if model == title]
    if not likely:
        return None, {}
    apart, nearest = min(likely, key=lambda pair: len(pair[0]))
    return nearest, apart


def _changes(apart: dict[str, tuple[str, str]]) -> str:
    words = [f"{key} {old} → {new}" for key, (old, new) in apart.items()]
    return ", ".join([*words[:MAX_KEYS], *([f"{len(words) - MAX_KEYS} more"] if len(words) > MAX_KEYS else [])])


def _rows(records: Iterable[Record]) -> Rows:
    """Return the seeds by model and dataset, and by all other settings that distinguish trials."""
    found: Rows = {}
    for record in records:
        trial = record.details.trial
        found.setdefault((f"{trial.model} on {trial.dataset}", _point(trial)), []).append(record.seed)
    return found


def _point(trial: Trial) -> Point:
    kept = trial.model_dump(mode="json", exclude={*NO_IDENTITY, *_NAMED}) | {"images": trial.data.contents}
    return tuple((key.removeprefix("arguments."), value) for key, value in leaves(kept) if key not in NO_IDENTITY)


def _apart(one: Point, other: Point) -> dict[str, tuple[str, str]]:
    ours, theirs = dict(one), dict(other)
    keys = dict.fromkeys([*ours, *theirs])
    return {k: (ours.get(k, "none"), theirs.get(k, "none")) for k in keys if ours.get(k) != theirs.get(k)}


def _seeds(seeds: list[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"
