"""The axes of a trial: all that tells one from another.  Plans, --only, tables, names and figures read this one list.

A new axis is a field of Trial and a line here; a column of results.csv and summary.csv is a field of those, of the name
in `column`.  A test fails while a field of Trial is neither an axis's nor in NO_IDENTITY.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from mixbench.errors import cut
from mixbench.suite.trial import Trial


@dataclass(frozen=True)
class Axis:
    """One thing in which trials differ.

    `name`: what a suite and --only call it; `column`: its column in tables, `heading` that of a terminal's, `title` and
    `unit` those of the page.  `key`: the list of a suite that has an entry for each value.
    `value`: what a cell shows of a trial; `said`: the same in a row's name.
    `fields`: those of a trial that hold it; `recipe.global_batch_size` is a part of one.  `compound`: it has more parts
    than its value shows, so that trials of one value may differ.
    `told_by`: what says it in a row's name already, but for rows that this leaves alike.
    """

    name: str
    title: str
    value: Callable[[Trial], Any]
    said: Callable[[Trial], str]
    fields: tuple[str, ...]
    column: str
    heading: str
    unit: str = ""
    key: tuple[str, ...] = ()
    numeric: bool = False
    compound: bool = False
    told_by: str = ""

    def held(self, trial: Trial) -> list[Any]:
        """The fields that hold it, whole."""
        return [getattr(trial, path.partition(".")[0]) for path in self.fields]

    def parts(self, trial: Trial) -> dict[str, str]:
        """All that a compound value is made of, in words, by its keys."""
        others = [path for path in (*_PATHS, *NO_IDENTITY) if "." in path and path not in self.fields]
        held = trial.model_dump(mode="json", include=_tree(self.fields), exclude=_tree(others))
        return {path.partition(".")[2] or path: text for path, text in leaves(held)}


def _axis(name: str, title: str, **rest: Any) -> Axis:
    """An axis that is a field of a trial, as far as nothing else is said."""
    value, column = rest.get("value", lambda trial: getattr(trial, name)), rest.get("column", name)
    own = dict(value=value, said=lambda trial: str(value(trial)), fields=(name,), column=column)
    return Axis(name, title, **(own | {"heading": column.replace("_", " ")} | rest))


AXES = [
    _axis("model", "Registry name", value=lambda trial: trial.display_name, heading="registry name", key=("models",),
          fields=("model", "overrides", "arguments"), compound=True, told_by="label"),
    _axis("dataset", "Dataset", key=("datasets",), fields=("dataset", "data.contents"), compound=True),
    _axis("image_size", "Image", unit="pixels", value=lambda trial: trial.arguments["image_size"],
          said=lambda trial: f"{trial.arguments['image_size']} px", fields=("arguments.image_size",), numeric=True),
    _axis("weights", "Weights", value=lambda trial: PurePath(trial.weights).name or "none",
          said=lambda trial: f"weights {PurePath(trial.weights).name}" if trial.weights else "no weights given",
          compound=True),
    _axis("seed", "Seed", key=("seeds",), numeric=True),
    _axis("recipe", "Recipe", value=lambda trial: trial.recipe.name, said=lambda trial: f"recipe {trial.recipe.name}",
          key=("recipe",), fields=("recipe", "arguments.drop_path"), compound=True),
    _axis("train_batch_size", "Batch", unit="training", value=lambda trial: trial.recipe.global_batch_size,
          said=lambda trial: f"training batch {trial.recipe.global_batch_size}",
          fields=("recipe.global_batch_size",), numeric=True, told_by="recipe"),
    _axis("precision", "Precision", key=("precision",)),
    _axis("memory_format", "Layout", key=("memory_format",)),
    _axis("compile", "Compiled", said=lambda trial: "compiled" if trial.compile else "not compiled",
          key=("compile",), column="compiled"),
    _axis("infer_batch_size", "Batch", unit="inference", said=lambda trial: f"batch {trial.infer_batch_size}",
          key=("throughput", "batch_sizes"), numeric=True),
    _axis("nodes", "Nodes", said=lambda trial: "", key=("resources",), numeric=True),  # world_size's says it
    _axis("world_size", "Processes", said=lambda trial: f"{trial.nodes} × {trial.processes_per_node} processes",
          fields=("processes_per_node",), key=("resources",), numeric=True),
]  # fmt: skip
"""In the order in which tables have them."""

_PATHS = tuple(path for axis in AXES for path in axis.fields)

NO_IDENTITY = frozenset(
    {
        "id",  # made of the axes
        "suite", "label", "family", "recipe.name",  # what they are called
        "data",  # but for its contents: made of the dataset's name, the image size and the weights
        "measure", "throughput", "keep_weights", "checkpoint",  # how it is measured and saved
        "plugins",  # where its model is defined
    }
)  # fmt: skip
"""Fields in which two trials may differ and still be the same trial."""


def point(trial: Trial, but: Collection[str] = ("seed",)) -> str:
    """A trial's values on all axes `but` these, as a key: trials with the same key differ in these axes alone."""
    include, exclude = _kept(frozenset(but))
    return trial.model_dump_json(include=include, exclude=exclude)


Tree = dict[str, Any]


@lru_cache
def _kept(but: frozenset[str]) -> tuple[Tree, Tree]:
    """The fields to include, and the parts of them to exclude again, as pydantic takes them."""
    left_out = [path for axis in AXES if axis.name in but for path in axis.fields]
    return _tree(_PATHS), _tree([*left_out, *(path for path in NO_IDENTITY if "." in path)])


def _tree(paths: Iterable[str]) -> Tree:
    """Fields, and parts of fields, as pydantic takes them."""
    found: Tree = {}
    for path in paths:
        field, _, part = path.partition(".")
        if not part:
            found[field] = True
        elif found.setdefault(field, set()) is not True:
            found[field].add(part)
    return found


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """The values inside mappings as texts, by their dotted paths."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from leaves(inside, f"{path}.{key}" if path else key)
    else:
        yield path, cut(str(value))
