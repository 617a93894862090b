"""The axes in which trials differ.  Plans, --only, tables, names and figures all use this list.

A new axis is a field of Trial and an entry in AXES; for a column in results.csv and summary.csv, add a field named as
`column` to Record and SummaryRow.  A test fails while a field of Trial is neither an axis's nor in NO_IDENTITY.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath
from typing import Any

from mixbench.errors import cut
from mixbench.suite.trial import Trial
from mixbench.system.words import plural


@dataclass(frozen=True)
class Axis:
    """A property in which trials differ.

    `name`: in a suite and --only; `column`: in results.csv and summary.csv; `heading`: in a terminal's table; `title`
    and `unit`: in the page's.  `key`: path of the suite's list that has an entry for each value.
    `value`: a trial's value in a table's cell; `text`: its text in a row's name.
    `fields`: the fields of Trial, or parts of them (`recipe.global_batch_size`), that hold it.  `compound`: it has more
    parts than its value shows, so that trials of equal value may differ.
    `implied_by`: the axis, or label, whose text in a row's name implies this one; named only where rows that share
    that text differ.
    `of_training`: rows of one dataset are to say it where they differ, whatever their labels: they are compared.
    """

    name: str
    title: str
    value: Callable[[Trial], Any]
    text: Callable[[Trial], str]
    fields: tuple[str, ...]
    column: str
    heading: str
    unit: str = ""
    key: tuple[str, ...] = ()
    numeric: bool = False
    compound: bool = False
    implied_by: str = ""
    of_training: bool = False

    @property
    def full_title(self) -> str:
        return f"{self.title} ({self.unit})" if self.unit else self.title

    def held(self, trial: Trial) -> list[Any]:
        """Return the values of the trial's fields that hold it, whole fields even if it is a part of one."""
        return [getattr(trial, path.partition(".")[0]) for path in self.fields]

    def parts(self, trial: Trial, but: Collection[str] = ()) -> dict[str, str]:
        """Return the parts of a compound value as texts, by their keys, without those of the fields `but`."""
        others = [path for path in (*_PATHS, *NO_IDENTITY) if "." in path and path not in self.fields]
        held = trial.model_dump(mode="json", include=_tree(self.fields), exclude=_tree([*others, *but]))
        return {path.partition(".")[2] or path: text for path, text in leaves(held)}


def _axis(name: str, title: str, **rest: Any) -> Axis:
    """Return an axis; by default, its value, text and column are those of the trial's field `name`."""
    value, column = rest.get("value", lambda trial: getattr(trial, name)), rest.get("column", name)
    own = dict(value=value, text=lambda trial: str(value(trial)), fields=(name,), column=column)
    return Axis(name, title, **(own | {"heading": column.replace("_", " ")} | rest))


AXES = [
    _axis("model", "Registry name", value=lambda trial: trial.display_name, heading="registry name", key=("models",),
          fields=("model", "overrides", "arguments"), compound=True, implied_by="label"),
    _axis("dataset", "Dataset", key=("datasets",), fields=("dataset", "data.contents"), compound=True),
    _axis("image_size", "Image", unit="pixels", value=lambda trial: trial.arguments["image_size"],
          text=lambda trial: f"{trial.arguments['image_size']} px", fields=("arguments.image_size",), numeric=True),
    _axis("weights", "Weights", value=lambda trial: PurePath(trial.weights).name or "none",
          text=lambda trial: f"weights {PurePath(trial.weights).name}" if trial.weights else "no weights given",
          compound=True),
    _axis("seed", "Seed", key=("seeds",), numeric=True),
    _axis("recipe", "Recipe", value=lambda trial: trial.recipe.name, text=lambda trial: f"recipe {trial.recipe.name}",
          key=("recipe",), fields=("recipe", "arguments.drop_path"), compound=True, of_training=True),
    _axis("train_batch_size", "Batch", unit="training", value=lambda trial: trial.recipe.global_batch_size,
          text=lambda trial: f"training batch {trial.recipe.global_batch_size}",
          key=("throughput", "train_batch_sizes"), fields=("recipe.global_batch_size",), numeric=True,
          implied_by="recipe", of_training=True),
    _axis("precision", "Precision", key=("precision",)),
    _axis("memory_format", "Layout", key=("memory_format",)),
    _axis("compile", "Compiled", text=lambda trial: "compiled" if trial.compile else "not compiled",
          key=("compile",), column="compiled"),
    _axis("infer_batch_size", "Batch", unit="inference", text=lambda trial: f"batch {trial.infer_batch_size}",
          key=("throughput", "batch_sizes"), numeric=True),
    _axis("nodes", "Nodes", text=lambda trial: "", key=("resources",), numeric=True),  # world_size's text contains it
    _axis("world_size", "Processes",
          text=lambda trial: f"{trial.nodes} × {plural(trial.processes_per_node, 'process')}",
          fields=("processes_per_node",), key=("resources",), numeric=True),
]  # fmt: skip
"""The axes in the order of tables' columns."""

_PATHS = tuple(path for axis in AXES for path in axis.fields)

NO_IDENTITY = frozenset(
    {
        "id", "digest",  # made of the axes
        "suite", "label", "family", "recipe.name",  # names
        "data",  # except its contents: follows from the dataset's name, the image size and the weights
        "measure", "throughput", "keep_weights", "keep_predictions", "checkpoint",  # how it is measured and saved
        "plugins", "model_code",  # where and how its model is defined
    }
)  # fmt: skip
"""Fields in which two trials may differ and still be the same trial."""


def point(trial: Trial, but: Collection[str] = ("seed",)) -> str:
    """A trial's values on all axes `but` these, as a key: trials with the same key differ in these axes alone."""
    include, exclude = _kept(frozenset(but))
    return trial.model_dump_json(include=include, exclude=exclude)


def are_unequal(one: Trial, other: Trial) -> bool:
    """Return True if two trials of the same id are not the same: a few digits of their hashes are equal by chance.

    A trial of an older plan has no digest: its recipe, seed and other settings are compared, not what it is made of.
    """
    if one.digest and other.digest:
        return one.digest != other.digest
    made_of = {"model", "dataset", "weights"}
    return point(one, made_of) != point(other, made_of)


Tree = dict[str, Any]


@lru_cache
def _kept(but: frozenset[str]) -> tuple[Tree, Tree]:
    """The fields to include, and the parts of them to exclude again, as pydantic takes them."""
    left_out = [path for axis in AXES if axis.name in but for path in axis.fields]
    return _tree(_PATHS), _tree([*left_out, *(path for path in NO_IDENTITY if "." in path)])


def _tree(paths: Iterable[str]) -> Tree:
    """Return dotted paths of fields and parts of fields as a tree, as pydantic takes them."""
    found: Tree = {}
    for path in paths:
        field, _, part = path.partition(".")
        if not part:
            found[field] = True
        elif found.setdefault(field, set()) is not True:
            found[field].add(part)
    return found


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the dotted path and the text of each value inside nested mappings."""
    if isinstance(value, dict):
        for key, inside in value.items():
            yield from leaves(inside, f"{path}.{key}" if path else key)
    else:
        yield path, cut(str(value))
