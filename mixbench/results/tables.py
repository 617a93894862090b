"""Build tables from run folders: results (a row per trial), summary (a row per model and dataset, over its seeds).

Imports neither torch nor submitit; pandas and scipy only inside functions.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel

from mixbench.errors import RequestError
from mixbench.results.collect import collect
from mixbench.results.comparisons import Comparisons, mark_best
from mixbench.results.flag_counts import shown
from mixbench.results.summary import SUMMARY_COLUMNS, Group, SummaryRow, groups
from mixbench.run.commands import Command, commands
from mixbench.run.flags import written
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.run.predictions import predictions_if_kept
from mixbench.run.record import COLUMNS, Record, Status

if TYPE_CHECKING:
    from pandas import DataFrame

    from mixbench.run.predictions import Predictions


@dataclass(frozen=True)
class Source:
    """One of the runs that tables are made of.  `name` is the value of its rows' column `run`."""

    name: str
    suite: str
    suite_text: str
    counts: dict[Status, int]
    commands: list[Command]


@dataclass(frozen=True)
class Tables:
    """The content of a report.  `groups` are the summary's rows, in the same order.  `predictions` reads a trial's.

    Of several runs, `sources` has each; the rest is of all together.  A trial that two of them have stands twice.
    """

    sources: list[Source]
    suite: str
    suite_text: str
    results: "DataFrame"
    summary: "DataFrame"
    groups: list[Group]
    comparisons: Comparisons
    predictions: "Callable[[Record], Predictions | None]"
    records: list[Record]
    damaged: list[str]
    set_aside: int
    counts: dict[Status, int]


def tables(*of: Run | Inventory) -> Tables:
    """Return the tables of a run, or of several together, finished or not.  Writes nothing.

    Raises RequestError if a folder is not a run folder, or is given twice.
    """
    inventories = [Inventory.of(each) for each in of]
    runs = [inventory.run for inventory in inventories]
    found = {name: collect(inventory) for name, inventory in zip(_names(runs), inventories, strict=True)}
    marked = [
        record.model_copy(update={"run": name}) for name, collected in found.items() for record in collected.records
    ]
    sources = [
        Source(name, each.records[0].suite if each.records else name, _text(run), each.counts, commands(run))
        for (name, each), run in zip(found.items(), runs, strict=True)
    ]
    one = len(runs) == 1
    rows, by_name = groups(marked), dict(zip(found, runs, strict=True))

    def predictions(record: Record) -> "Predictions | None":
        return predictions_if_kept(by_name[record.run], record)

    compared = Comparisons(rows, predictions)
    mark_best(rows, compared)
    return Tables(
        sources=sources,
        suite=", ".join(dict.fromkeys(source.suite for source in sources)),
        suite_text="\n".join(s.suite_text if one else f"# run {s.name}\n{s.suite_text}" for s in sources),
        results=_frame([_cells(record) for record in marked], Record, COLUMNS),
        summary=_frame([group.row.model_dump() for group in rows], SummaryRow, SUMMARY_COLUMNS),
        groups=rows,
        comparisons=compared,
        predictions=predictions,
        records=marked,
        damaged=[text if one else f"{name}: {text}" for name, each in found.items() for text in each.damaged],
        set_aside=sum(each.set_aside for each in found.values()),
        counts={status: sum(source.counts[status] for source in sources) for status in get_args(Status)},
    )


def read_run(folder: str | os.PathLike[str]) -> "DataFrame":
    """Return the results of a run, finished or not: a row per trial, the columns of results.csv, exact types.

    Texts are as users wrote them; results.csv has an apostrophe before those that a spreadsheet would run as a formula.
    Raises RequestError if the folder is not a run folder.
    """
    run = Run(Path(folder))
    [name] = _names([run])
    records = collect(Inventory(run)).records
    return _frame([_cells(record.model_copy(update={"run": name})) for record in records], Record, COLUMNS)


def _names(runs: Sequence[Run]) -> list[str]:
    """Return the folders' names, with as many parents as make them unique.  Raises RequestError for one given twice."""
    folders = [run.folder.resolve() for run in runs]
    twice = [run.folder for run, folder in zip(runs, folders, strict=True) if folders.count(folder) > 1]
    if twice:
        raise RequestError(f"{twice[0]} is given twice")
    for depth in range(1, 1 + max(len(folder.parts) for folder in folders)):
        names = [os.fsencode("/".join(folder.parts[-depth:])).decode(errors="replace") for folder in folders]
        if len(set(names)) == len(names):
            break
    return names


def _text(run: Run) -> str:
    try:
        return run.suite_file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _cells(record: Record) -> dict[str, Any]:
    return record.model_dump(include=set(COLUMNS)) | {"flags": written(shown(record))}


def _frame(rows: list[dict[str, Any]], model: type[BaseModel], columns: list[str]) -> "DataFrame":
    """Return a DataFrame of exact types: an int stays an int if other rows are empty; an empty one has all columns."""
    import pandas as pd

    def dtype(annotation: Any) -> str:
        kinds = set(get_args(annotation) or (annotation,))
        for kind, name in ((bool, "boolean"), (int, "Int64"), (float, "float64")):
            if kind in kinds:
                return name
        return "string"

    return pd.DataFrame(
        {
            name: pd.Series([row[name] for row in rows], dtype=dtype(model.model_fields[name].annotation))
            for name in columns
        }
    )
