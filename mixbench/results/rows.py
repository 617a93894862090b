"""The rows of every table: groups of trials that differ only in their seed, and the settings in which rows differ.

Imports neither pandas nor scipy: `mixbench status`, which shows the rows of a report, must be fast.
"""

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from mixbench.results.environments import DEVICE, NAMES, conditions, in_words, of_row, split
from mixbench.run.record import Record
from mixbench.suite.axes import AXES, Axis, point

Row = Sequence[Record]
MAX_PARTS = 3  # differing parts of a recipe that are named after its name, if recipes share it


def rows_of(records: Iterable[Record]) -> list[list[Record]]:
    """Group trials by run, conditions and all settings except the seed, in the order in which they come."""
    by_point: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        by_point.setdefault(_place(record), []).append(record)
    return [row for alike in by_point.values() for row in split(alike, conditions)]


def _place(record: Record) -> tuple[str, str]:
    return record.run, point(record.details.trial)


def keys(rows: Sequence[Row]) -> list[str]:
    """A key for each row, used in links: the id of its first trial, which stays the same from run to run."""
    seen: Counter[str] = Counter()
    found = []
    for row in rows:
        name = row[0].trial_id
        seen[name] += 1
        found.append(name if seen[name] == 1 else f"{name}.{seen[name]}")
    return found


def device(row: Row) -> str:
    return next((record.device for record in row if record.device), "")


def columns(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Return each row's cells by heading, only of columns in which rows of the same label and dataset differ, or, of
    the settings of training, rows of the same dataset.
    """
    together: list[Hashable] = [_label_and_dataset(row) for row in rows]
    datasets: list[Hashable] = [row[0].dataset for row in rows]
    facts = ((fact, fact.among or (datasets if fact.across_labels else together)) for fact in _facts(rows))
    shown = [fact for fact, among in facts if any(_differing(among, fact.cells))]
    return [{fact.heading: fact.cells[index] for fact in shown} for index in range(len(rows))]


def settings(rows: Sequence[Row]) -> list[list[str]]:
    """For each row, in words, the settings besides its label that vary among the rows."""
    facts = _facts(rows)
    labels, datasets = [row[0].label for row in rows], [row[0].dataset for row in rows]
    texts = {fact.name: fact.without_parts or fact.texts for fact in facts} | {"label": labels}
    found: list[list[str]] = [[] for _ in rows]
    for fact in facts:
        names = datasets if fact.across_labels else labels
        together = list(zip(names, texts[fact.implied_by], strict=True)) if fact.implied_by else [()] * len(rows)
        for at, differs in enumerate(_differing(fact.among or together, fact.texts)):
            if differs and fact.texts[at] not in ("", labels[at]):
                found[at].append(fact.texts[at])
    return found


def distinctions(rows: Sequence[Row]) -> list[str]:
    """Return how each row differs from the others of its label and dataset; "" if it is the only one."""
    by_name: dict[Hashable, list[int]] = {}
    for at, row in enumerate(rows):
        by_name.setdefault(_label_and_dataset(row), []).append(at)
    found = [""] * len(rows)
    for together in by_name.values():
        for at, apart in zip(together, settings([rows[at] for at in together]), strict=True):
            found[at] = ", ".join(apart)
    return found


def settings_by_trial(records: Iterable[Record]) -> dict[str, str]:
    """By trial id, the settings that tell a trial from others of its label and dataset, if there are any."""
    rows = rows_of(records)
    return {record.trial_id: text for row, text in zip(rows, distinctions(rows), strict=True) for record in row if text}


def _label_and_dataset(row: Row) -> tuple[str, str]:
    return row[0].label, row[0].dataset


@dataclass(frozen=True)
class _Fact:
    """A property in which rows may differ: its `cells` in a table and its `texts` in rows' names, one for each row.

    `without_parts`: the texts without the parts in which rows of the same value differ.
    `among`: it is named only where rows with the same value of this differ.  `across_labels`: rows of other labels too.
    """

    name: str
    heading: str
    cells: list[Any]
    texts: list[str]
    implied_by: str = ""
    among: Sequence[Hashable] = ()
    across_labels: bool = False
    without_parts: Sequence[str] = ()


def _facts(rows: Sequence[Row]) -> list[_Fact]:
    facts = [_fact(axis, rows) for axis in AXES if axis.name != "seed"]
    runs = [row[0].run for row in rows]
    splits = [f"{row[0].details.trial.recipe.split} split" for row in rows]
    facts += [*_conditions(rows), _Fact("split", "", [""] * len(rows), splits)]
    return [*facts, _Fact("run", "run", runs, runs)]


def _conditions(rows: Sequence[Row]) -> list[_Fact]:
    """The device, which tells any rows apart, and the other conditions, which tell those apart that it does not."""
    places, found, facts = [_place(row[0]) for row in rows], [of_row(row) for row in rows], []
    for name in NAMES:
        cells = [each[name] for each in found]
        texts = [in_words(name, cell) for cell in cells]
        facts.append(_Fact(name, name, cells, texts, among=() if name == DEVICE else places))
    return facts


def _fact(axis: Axis, rows: Sequence[Row]) -> _Fact:
    trials = [row[0].details.trial for row in rows]
    cells, texts = [axis.value(trial) for trial in trials], [axis.text(trial) for trial in trials]
    without_parts = tuple(texts)
    if axis.compound:
        names = [row[0].dataset if axis.of_training else _label_and_dataset(row) for row in rows]
        together = list(zip(names, cells, strict=True))
        for at, apart in enumerate(_parts_apart(axis, rows, together)):
            cells[at], texts[at] = ", ".join([cells[at], *apart]), ", ".join([texts[at], *apart])
    return _Fact(axis.name, axis.heading, cells, texts, axis.implied_by, (), axis.of_training, without_parts)


def _parts_apart(axis: Axis, rows: Sequence[Row], together: Sequence[Hashable]) -> list[list[str]]:
    """For rows shown together, the parts that differ: the first few, and more until no two rows look alike."""
    found: list[list[str]] = [[] for _ in rows]
    by_value: dict[Hashable, list[int]] = {}
    for at, value in enumerate(together):
        by_value.setdefault(value, []).append(at)
    for alike in by_value.values():
        trials = [rows[at][0].details.trial for at in alike]
        several = len({rows[at][0].label for at in alike}) > 1  # whose models differ in their arguments anyway
        held = [trial.recipe if several else axis.held(trial) for trial in trials]
        if all(each == held[0] for each in held):
            continue  # the usual case: building the texts is slower
        parts = [axis.parts(trial, ("arguments",) if several else ()) for trial in trials]
        shown: list[list[str | None]] = []
        for key in dict.fromkeys(key for each in parts for key in each):
            texts = [each.get(key) for each in parts]
            tells_more = len(set(zip(*shown, texts, strict=True))) > len(set(zip(*shown, strict=True)) or {()})
            if len(set(texts)) > 1 and (len(shown) < MAX_PARTS or tells_more):
                shown.append(texts)
                for at, text in zip(alike, texts, strict=True):
                    found[at] += [] if text is None else [f"{key} {text}"]
    return found


def _differing(together: Sequence[Hashable], texts: Sequence[Any]) -> list[bool]:
    """Return for each text whether texts of its group (`together`) differ; "" counts as unknown, not as different."""
    known: dict[Hashable, set[Any]] = {}
    for group, text in zip(together, texts, strict=True):
        known.setdefault(group, set()).add(text)
    return [len(known[group] - {""}) > 1 for group in together]
