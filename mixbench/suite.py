"""A suite file → a Suite and its trials, or all that is wrong with it at once, each with file:line.

    suite, trials = load("quick")
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mixbench.content import content
from mixbench.data.datasets import find_dataset
from mixbench.errors import RequestError
from mixbench.plan import Problem, explain, merge, plan
from mixbench.registry import find, nearest
from mixbench.schema import Suite
from mixbench.trial import Recipe, Trial
from mixbench.yamltext import Document, KeyPath, read, scalar


def load(name: str, assignments: tuple[str, ...] = ()) -> tuple[Suite, list[Trial]]:
    """The suite in a file (or of a bundled name) with `key=value` assignments made to it, and its trials.

    Raises RequestError whose text lists every problem, one a line, each with file:line.
    """
    path = find_suite(name)
    document = _with_base(read(path))
    for assignment in assignments:
        _assign(document, assignment)
    suite, problems = _validate(document)
    trials: list[Trial] = []
    if suite is not None:
        as_given = not assignments and "base" not in document.data
        suite._document = document
        suite._text = path.read_text(encoding="utf-8") if as_given else _dump(document, path, assignments)
        trials, more = plan(suite)
        problems += more
    if problems or suite is None:
        lines = dict.fromkeys(f"{document.place(path)}: {message}" for path, message in problems)
        raise RequestError("\n".join(lines))
    return suite, trials


def find_suite(name: str) -> Path:
    """The file that `suites/x.yaml` or `x` means: a path as it is, else a bundled suite.  Raises RequestError."""
    if Path(name).exists():
        return Path(name)
    bundled = content("suites") / f"{Path(name).stem}.yaml"
    if bundled.is_file() and name in (bundled.stem, bundled.name, f"suites/{bundled.name}"):
        return bundled
    raise RequestError(f"no suite at {name}{nearest(Path(name).stem, bundled_suites())}")


def bundled_suites() -> list[str]:
    return sorted(path.stem for path in content("suites").glob("*.yaml"))


def _with_base(document: Document) -> Document:
    """The document laid over its base, which is named relative to it."""
    if "base" not in document.data:
        return document
    where = document.place(("base",))
    if not isinstance(document.data["base"], str):
        raise RequestError(f"{where}: base: the path of a suite file is wanted")
    if "name" not in document.data:
        raise RequestError(f"{where}: a suite with a base needs a name of its own")
    try:
        base = read(Path(document.source).parent / document.data["base"])
    except RequestError as error:
        raise RequestError(f"{where}: base: {error}") from None
    if "base" in base.data:
        raise RequestError(f"{base.place(('base',))}: a base may not have a base itself")
    merged = merge(base.data, document.data)
    replaced = [path for path in document.places if path and not isinstance(_at(document.data, path), dict)]
    places = {
        path: place
        for path, place in base.places.items()
        if not any(path[: len(other)] == other for other in replaced)
    }
    return Document(document.source, merged, places | document.places)


def _assign(document: Document, assignment: str) -> None:
    """`recipe.epochs=1`: the same as writing it in the file."""
    key, sign, text = assignment.partition("=")
    if not sign or not key:
        raise RequestError(f"--set {assignment}: key=value is wanted, such as recipe.epochs=1")
    path: KeyPath = tuple(int(part) if part.isdigit() else part for part in key.split("."))
    here: Any = document.data
    for index, part in enumerate(path[:-1]):
        if isinstance(here, dict) and part not in here:
            here[part] = {}
        here = _step(here, part, assignment)
        if isinstance(here, str) and path[index - 1 : index] == ("models",):
            raise RequestError(f"--set {assignment}: that model is a bare name; write it as {{name: {here}}} first")
    value = scalar(text)
    if isinstance(here, dict) or (isinstance(here, list) and isinstance(path[-1], int) and path[-1] < len(here)):
        here[path[-1]] = value
    else:
        raise RequestError(f"--set {assignment}: there is no {key!r} to set")
    for stale in [old for old in document.places if old[: len(path)] == path]:
        del document.places[stale]
    document.places[path] = f"--set {assignment}"


def _step(here: Any, part: str | int, assignment: str) -> Any:
    try:
        return here[part]
    except (KeyError, IndexError, TypeError):
        raise RequestError(f"--set {assignment}: there is no {part!r} inside") from None


def _at(data: Any, path: KeyPath) -> Any:
    for key in path:
        data = data[key]
    return data


def _validate(document: Document) -> tuple[Suite | None, list[Problem]]:
    """The suite, and the problems of its schema; where there are any, names and recipes are checked all the same."""
    data = {key: value for key, value in document.data.items() if key != "base"}
    try:
        return Suite.model_validate(data), []
    except ValidationError as error:
        problems = [(tuple(item["loc"]), explain(Suite, item)) for item in error.errors()]
    for kind, check in (("models", find), ("datasets", find_dataset)):
        for index, entry in enumerate(_list(data.get(kind))):
            name = entry.get("name") if isinstance(entry, dict) else entry
            if isinstance(name, str):
                problems += _complaint((kind, index, "name"), check, name)
    for index, recipe in enumerate(_list(data.get("recipe"))):
        if isinstance(recipe, dict):
            path: KeyPath = ("recipe", index) if isinstance(data["recipe"], list) else ("recipe",)
            try:
                Recipe.model_validate(recipe)
            except ValidationError as error:
                problems += [((*path, *item["loc"]), explain(Recipe, item)) for item in error.errors()]
    return None, problems


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _complaint(path: KeyPath, check: Callable[[str], Any], name: str) -> list[Problem]:
    try:
        check(name)
    except RequestError as error:
        return [(path, str(error))]
    return []


def _dump(document: Document, path: Path, assignments: tuple[str, ...]) -> str:
    how = "".join(f" --set {assignment}" for assignment in assignments)
    data = {key: value for key, value in document.data.items() if key != "base"}
    return f"# {path.name}{how}\n" + yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
