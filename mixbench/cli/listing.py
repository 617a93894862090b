"""`mixbench list`: the models, suites and datasets.  Imports no torch, unless there are models of the user's own."""

import ast
import csv
import json
import operator
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from fnmatch import fnmatch
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click

from mixbench.cli.terminal import console, print_fitting, print_groups, print_rows
from mixbench.errors import RequestError, nearest
from mixbench.system.content import content
from mixbench.zoo.user_code import GROUP

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le,
    ">=": operator.ge,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "=": operator.eq,
}
CONDITION = re.compile(r"\s*(\w+)\s*(<=|>=|!=|<|>|=)\s*(\S*)\s*")
SUFFIXES = {"k": 1e3, "M": 1e6, "G": 1e9}


@dataclass(frozen=True)
class Condition:
    """A bound of a column of numbers, such as params<30M.  A row without a figure there never fulfils it."""

    column: str
    compare: Callable[[Any, Any], bool]
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Condition | None":
        """Read `params<30M`; None for a text without a comparison.  Raises RequestError."""
        match = CONDITION.fullmatch(text)
        if not match:
            return None
        column, sign, number = match.groups()
        unit = SUFFIXES.get(number[-1:], 1)
        try:
            return cls(column, COMPARISONS[sign], float(number.rstrip("kMG") if unit > 1 else number) * unit)
        except ValueError:
            raise RequestError(f"{text!r}: a number is wanted after {sign}, such as 30M or 1.5G") from None

    def holds(self, row: dict[str, Any]) -> bool:
        return row[self.column] is not None and self.compare(row[self.column], self.bound)


def print_list(what: str, terms: tuple[str, ...], family: str, plugin: Path | None, as_json: bool) -> None:
    """Print the models, suites or datasets (`what`) that fulfil the terms.  Raises RequestError if none does."""
    found = rows(what, terms, family, plugin)
    if not found and not as_json:
        asked = [*(repr(term) for term in terms), *([f"--family {family!r}"] if family != "*" else [])]
        raise RequestError(f"no {what} match {' '.join(asked)}; `mixbench list {what}` shows all")
    if what == "models" and not as_json:
        print_groups(by_family(found))
    elif as_json:
        print_rows(found, as_json)
    else:
        spaced = [{key.replace("_", " "): value for key, value in row.items()} for row in found]
        print_fitting(spaced, console(), (), ("source", "splits", "channels"))


def rows(kind: str, terms: tuple[str, ...] = (), family: str = "*", plugin: Path | None = None) -> list[dict[str, Any]]:
    """Return the models, suites or datasets (`kind`) that fulfil the terms: one of the patterns, all conditions.

    Raises RequestError for a condition on a column that has no numbers, or has none of that name.
    """
    if plugin and kind != "models":
        raise RequestError(f"--plugin {plugin}: a plugin has models, no {kind}")
    if family != "*" and kind != "models":
        raise RequestError(f"--family {family}: models have families, {kind} have none")
    found = {"suites": _suites, "datasets": _datasets}[kind]() if kind != "models" else _models(plugin)
    conditions = [condition for term in terms if (condition := Condition.parse(term))]
    patterns = [term for term in terms if not Condition.parse(term)] or ["*"]
    numbers = {key for row in found for key, value in row.items() if type(value) in (int, float)}
    for condition in conditions:
        if condition.column not in numbers:
            raise RequestError(
                f"{kind} have no number {condition.column!r}{nearest(condition.column, sorted(numbers))}"
            )
    return [
        row
        for row in found
        if any(fnmatch(row["name"], pattern) for pattern in patterns)
        and (family == "*" or fnmatch(row["family"].lower(), family.lower()))
        and all(condition.holds(row) for condition in conditions)
    ]


def by_family(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Group models under a title, such as `ViP, 2021, arXiv:2106.12368`, with the columns that fit in a terminal."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        words = [row["family"], row["year"], row["paper"], "a reconstruction" if row["reconstruction"] else ""]
        title = ", ".join(str(word) for word in words if word)
        published = f"{row['top1_published']} % {row['published_on']}" if row["published_on"] else ""
        shown = {key: row[key] for key in ("name", "image_size", "params", "macs")} | {"published_accuracy": published}
        groups.setdefault(title, []).append(shown)
    return groups


def _models(plugin: Path | None) -> list[dict[str, Any]]:
    """The counted models of the zoo, then those of new files in `models`, of installed packages and of a plugin.

    Families are in the order of their papers.
    """
    counted = json.loads((content("models") / "complexity.json").read_text(encoding="utf-8"))
    found = [{"name": name} | facts for name, facts in counted.items()]
    found.sort(key=lambda row: (_year(row["paper"]) or 9999, row["paper"], row["family"]))
    if plugin or _has_models_besides(counted):
        found += _others(plugin, counted)
    published = _published_top1()
    for row in found:
        row["year"] = _year(row["paper"])
        of_native_size = published.get((row["name"], str(row["image_size"]), str(row["num_classes"])), {})
        row["top1_published"] = float(of_native_size["value"]) if of_native_size else None
        row["published_on"] = of_native_size.get("dataset")
    return found


def _year(paper: str) -> int | None:
    """The year of a paper: the first two digits of an arXiv number, or named as in "IJCAI 2023"."""
    match = re.match(r"arXiv:(\d\d)\d\d\.", paper) or re.search(r"\b20(\d\d)\b", paper)
    return 2000 + int(match[1]) if match else None


def _published_top1() -> dict[tuple[str, str, str], dict[str, str]]:
    """The first published top-1 of each model, image size and number of classes that was trained on that data alone."""
    found: dict[tuple[str, str, str], dict[str, str]] = {}
    with (content("models") / "published.csv").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if (row["figure"], row["pretraining"], row["overrides"]) == ("top1", "none", ""):
                found.setdefault((row["model"], row["image_size"], row["num_classes"]), row)
    return found


def _has_models_besides(counted: dict[str, Any]) -> bool:
    """True if a package registers models, or a file of `models` may that is not counted; no file is run."""
    if entry_points(group=GROUP):
        return True
    for file in content("models").glob("[!.]*.py"):
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError):
            return True
        tables = [node.value for node in ast.walk(tree) if isinstance(node, ast.keyword) and node.arg == "variants"]
        for table in tables:
            names = table.keys if isinstance(table, ast.Dict) else [None]
            if not all(isinstance(name, ast.Constant) and name.value in counted for name in names):
                return True
    return False


def _others(plugin: Path | None, counted: Collection[str]) -> list[dict[str, Any]]:
    """The models in the registry that are not counted yet.  What cannot be imported is told on stderr, but a plugin."""
    from mixbench.measure.complexity import sizes
    from mixbench.zoo.registry import find, list_models, load_plugin

    try:
        names = list_models()
    except RequestError as error:
        click.echo(f"mixbench: {error}", err=True)
        return []
    if plugin:
        load_plugin(plugin)
        names = list_models()
    facts = []
    for name in (name for name in names if name not in counted):
        entry, (params, macs) = find(name), sizes(name)
        facts.append(
            {
                "name": name,
                "family": entry.family,
                "paper": entry.paper,
                "image_size": entry.arguments["image_size"],
                "num_classes": entry.arguments["num_classes"],
                "params": params,
                "macs": macs,
                "reconstruction": entry.reconstruction,
            }
        )
    return facts


def _suites() -> list[dict[str, Any]]:
    result = []
    for path in sorted(content("suites").glob("*.yaml")):
        with path.open(encoding="utf-8") as file:
            first = file.readline().lstrip("# ").strip()
        result.append({"name": path.stem, "what": first})
    return result


def _datasets() -> list[dict[str, Any]]:
    from mixbench.suite.datasets import DATASETS

    return [
        {
            "name": dataset.name,
            "classes": dataset.classes,
            "image_size": dataset.image_size,
            "channels": dataset.channels,
            "train_images": dataset.train_images,
            "test_images": dataset.test_images,
            "splits": dataset.splits,
            "source": dataset.source,
        }
        for dataset in DATASETS.values()
    ]
