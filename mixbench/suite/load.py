"""Load a suite file as a Suite and its trials, or report all its problems at once, each with file:line.

suite, trials = load("quick")
"""

import os
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mixbench.errors import RequestError, nearest, refusal, shown
from mixbench.suite.assign import assign
from mixbench.suite.document import Document, KeyPath, parse, read
from mixbench.suite.fields import as_list
from mixbench.suite.plan import merge, plan
from mixbench.suite.resolve import Problem, fit
from mixbench.suite.schema import DatasetSpec, ModelSpec, Suite, as_entry, explain
from mixbench.suite.trial import Trial
from mixbench.system.content import content

BATCH_KEYS = {"recipe", "resources", "measure"}
"""Keys that limit the batch size."""


def load(
    name: str, assignments: tuple[str, ...] = (), resources: dict[str, int] | None = None
) -> tuple[Suite, list[Trial]]:
    """Load a suite by its path or a bundled name, apply `key=value` assignments, and return it with its trials.

    `resources` are a cluster's; they apply if the suite has none.

    Raises RequestError whose text lists every problem, one per line, each with file:line.
    """
    document = _with_base(_read(find_suite(name)))
    for key, value in (resources or {}).items():
        if "resources" not in document.data:
            assignments = (f"resources.{key}={value}", *assignments)
    for assignment in assignments:
        assign(document, assignment)
    _make_paths_absolute(document.data, Path())  # assigned paths are relative to the working directory
    try:
        suite = Suite.model_validate(document.data)
    except ValidationError as error:
        raise _refusal(document, _all_problems(document, error)) from None
    suite._text = _frozen(document, assignments)
    trials, problems = plan(suite)
    if problems:
        raise _refusal(document, problems)
    return suite, trials


def find_suite(name: str) -> Path:
    """Return the path of `suites/x.yaml` or `x`: an existing file first, then a bundled suite.  Raises RequestError."""
    path = Path(os.path.expanduser(name))
    bundled = content("suites") / f"{path.stem}.yaml"
    if not path.is_file() and bundled.is_file() and name in (path.stem, bundled.name, f"suites/{bundled.name}"):
        return bundled
    if path.exists():
        return path
    raise RequestError(f"no suite at {name}{nearest(path.stem, bundled_suites())}")


def bundled_suites() -> list[str]:
    return sorted(path.stem for path in content("suites").glob("*.yaml"))


def _read(path: Path) -> Document:
    """Read a suite file; paths in it are relative to its folder, and are made absolute."""
    document = read(path)
    _make_paths_absolute(document.data, path.parent)
    return document


def _make_paths_absolute(data: dict[str, Any], folder: Path) -> None:
    """Replace paths in a suite that are relative to a folder by absolute ones."""
    if plugins := as_list(data.get("plugins")):
        data["plugins"] = [_absolute(folder, each) for each in plugins]
    for key, file in (("datasets", "image_folder"), ("models", "weights")):
        for entry in as_list(data.get(key)) or []:
            if isinstance(entry, dict) and entry.get(file, "timm") != "timm":
                entry[file] = _absolute(folder, entry[file])


def _absolute(folder: Path, path: Any) -> Any:
    """Make a path relative to a folder absolute; a value that cannot be a path is left for the schema to report."""
    return os.path.realpath(folder / os.path.expanduser(path)) if isinstance(path, str) and path.strip() else path


def _with_base(document: Document) -> Document:
    """Merge the document over its base, if it has one; the base's path is relative to the document's folder."""
    if "base" not in document.data:
        return document
    where = document.place(("base",))
    name = document.data.pop("base")
    del document.places[("base",)]
    if not isinstance(name, str) or not name.strip():
        raise RequestError(f"{where}: base: the path of a suite file is wanted, not {shown(name)}")
    if "name" not in document.data:
        raise RequestError(f"{where}: a suite with a base needs a name of its own")
    try:
        base = _read(Path(document.source).parent / os.path.expanduser(name))
    except RequestError as error:
        raise RequestError(f"{where}: base: {error}") from None
    if "base" in base.data:
        raise RequestError(f"{base.place(('base',))}: a base may not have a base itself")
    replaced = [path for path in document.places if path and not isinstance(_at(document.data, path), dict)]
    kept = {
        path: place for path, place in base.places.items() if not any(path[: len(other)] == other for other in replaced)
    }
    return Document(document.source, merge(base.data, document.data), document.text, kept | document.places)


def _at(data: Any, path: KeyPath) -> Any:
    for key in path:
        data = data[key]
    return data


def _refusal(document: Document, problems: list[Problem]) -> RequestError:
    return refusal((document.place(_as_written(path, document.data)), message) for path, message in problems)


def _as_written(path: KeyPath, data: Any) -> KeyPath:
    """Convert a path in a Suite to that in the file, where one value may stand for a list, and a name for a mapping."""
    written: KeyPath = ()
    for key in path:
        if isinstance(key, int) and not isinstance(data, list) and (len(written) == 1 or not isinstance(data, dict)):
            continue
        written = (*written, key)
        known = key in data if isinstance(data, dict) else isinstance(data, list) and int(key) < len(data)
        data = data[key] if known else None
    return written


def _all_problems(document: Document, error: ValidationError) -> list[Problem]:
    """Return the schema's problems, and those that planning finds in the valid part of the document."""
    errors = [item for item in error.errors() if not _is_consequence(item)]
    wrong = [item["loc"] for item in errors]
    problems = [(item["loc"], explain(item, _as_written(item["loc"], document.data))) for item in errors]
    suite, origin = _valid_part(document.data, wrong)
    incomplete = any(len(origin[kind]) < len(as_list(document.data.get(kind)) or []) for kind in origin)
    batch_limits_unknown = incomplete or any(BATCH_KEYS & set(path) for path in wrong)
    more = fit(suite)[1] if batch_limits_unknown else plan(suite)[1]
    return problems + [
        ((path[0], origin[str(path[0])][int(path[1])], *path[2:]) if path[0] in origin else path, message)
        for path, message in more
    ]


def _is_consequence(item: Any) -> bool:
    """True for a "too short" that pydantic reports of a long enough list because its items are invalid."""
    return item["type"] == "too_short" and len(item["input"]) >= item["ctx"]["min_length"]


def _valid_part(data: dict[str, Any], wrong: list[KeyPath]) -> tuple[Suite, dict[str, list[int]]]:
    """Return a suite of the valid values in the data, and the indices its models and datasets have in the data."""
    rest = {key: value for key, value in data.items() if key not in {path[0] for path in wrong}}
    rest = {"name": "any"} | rest | {"models": ["any"], "datasets": ["any"]}
    valid: dict[str, dict[int, Any]] = {"models": {}, "datasets": {}}
    for kind, spec in (("models", ModelSpec), ("datasets", DatasetSpec)):
        for index, entry in enumerate(map(as_entry, as_list(data.get(kind)) or [])):
            bad = {path[2:3] for path in wrong if path[:2] == (kind, index)}
            if not bad & {(), ("name",), ("image_folder",)}:
                good = {key: value for key, value in entry.items() if (key,) not in bad}
                valid[kind][index] = spec.model_validate(good)
    specs = {kind: tuple(found.values()) for kind, found in valid.items()}
    return Suite.model_validate(rest).model_copy(update=specs), {kind: list(found) for kind, found in valid.items()}


def _frozen(document: Document, assignments: tuple[str, ...]) -> str:
    """The text for the run's suite.yaml: the file's own, or, with a base or assignments, the merged data as YAML."""
    if parse(document.text, document.source).data == document.data:
        return document.text
    options = "".join(f" --set {assignment}" for assignment in assignments)
    header = " ".join(f"# {Path(document.source).name}{options}".split())
    return f"{header}\n" + yaml.safe_dump(document.data, sort_keys=False, allow_unicode=True)
