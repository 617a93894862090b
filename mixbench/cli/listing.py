"""`mixbench list`: the models, suites and datasets.  Imports no torch."""

import json
from fnmatch import fnmatch
from typing import Any

from mixbench.system.content import content


def rows(kind: str, pattern: str) -> list[dict[str, Any]]:
    """Return the models, suites or datasets (`kind`) whose names match a shell pattern."""
    found = {"models": _models, "suites": _suites, "datasets": _datasets}[kind]()
    return [row for row in found if fnmatch(row["name"], pattern)]


def _models() -> list[dict[str, Any]]:
    counted = json.loads((content("models") / "complexity.json").read_text(encoding="utf-8"))
    return [{"name": name} | facts for name, facts in counted.items()]


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
