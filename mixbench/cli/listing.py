"""`mixbench list`: the models, suites and datasets.  Imports no torch, unless there are models of the user's own."""

import ast
import json
from fnmatch import fnmatch
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import click

from mixbench.errors import RequestError
from mixbench.system.content import content
from mixbench.zoo.user_code import GROUP


def rows(kind: str, pattern: str, plugin: Path | None = None) -> list[dict[str, Any]]:
    """Return the models, suites or datasets (`kind`) whose names match a shell pattern."""
    if plugin and kind != "models":
        raise RequestError(f"--plugin {plugin}: a plugin has models, no {kind}")
    found = {"suites": _suites, "datasets": _datasets}[kind]() if kind != "models" else _models(plugin)
    return [row for row in found if fnmatch(row["name"], pattern)]


def _models(plugin: Path | None) -> list[dict[str, Any]]:
    """The counted models of the zoo, then those of new files in `models`, of installed packages and of a plugin."""
    counted = json.loads((content("models") / "complexity.json").read_text(encoding="utf-8"))
    found = [{"name": name} | facts for name, facts in counted.items()]
    if plugin or _has_models_besides(counted):
        found += [row for row in _registered(plugin) if row["name"] not in counted]
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


def _registered(plugin: Path | None) -> list[dict[str, Any]]:
    """All models in the registry, not counted.  What cannot be imported is told on stderr, except a plugin."""
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
    for name in names:
        entry = find(name)
        facts.append(
            {
                "name": name,
                "family": entry.family,
                "image_size": entry.arguments["image_size"],
                "num_classes": entry.arguments["num_classes"],
                "params": None,
                "macs": None,
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
