"""`--set key=value`: a value that is typed holds over all that stands in the file, also over the recipes of models."""

from collections.abc import Iterator
from typing import Any

from mixbench.errors import RequestError, cut, printable, shown
from mixbench.suite.document import Document, KeyPath, dotted, parse_value
from mixbench.suite.plan import BATCHES
from mixbench.suite.recipe import ONLY_FOR

TYPED = "--set "


def assign(document: Document, assignment: str) -> None:
    """Apply a `--set` such as `recipe.epochs=1`, as if it stood in the file.

    Raises RequestError if it cannot be, or if another recipe of the file would hold instead.
    """
    source = f"{TYPED}{printable(cut(assignment, 200))}"
    key, sign, text = assignment.partition("=")
    if not sign or not all(key.split(".")):
        raise RequestError(f"{source}: key=value is wanted, such as recipe.epochs=1")
    if key == "base":
        raise RequestError(f"{source}: a base is named in the file alone")
    value = parse_value(text, source)
    path: KeyPath = ()
    parent: Any = document.data
    *outer, last = key.split(".")
    for part in outer:
        step = _step(parent, part, path, source)
        path = (*path, step)
        if isinstance(parent, dict) and step not in parent:
            parent[step] = {}
            document.places[path] = source
        if path[:1] in (("models",), ("datasets",)) and len(path) == 2 and isinstance(parent[step], str):
            parent[step] = {"name": parent[step]}
        parent = parent[step]
    step = _step(parent, last, path, source)
    parent[step] = value
    path = (*path, step)
    _forget(document, path)
    document.places[path] = source
    _take_out_rivals(document, path, value, source)


def _step(parent: Any, part: str, path: KeyPath, source: str) -> str | int:
    """Return the key (in a mapping) or index (in a list) that a part of a dotted key stands for.

    Raises RequestError if `parent`, the value at `path`, has none such.
    """
    if isinstance(parent, dict):
        return part
    if not isinstance(parent, list):
        raise RequestError(f"{source}: {dotted(path)} has no keys, it is {shown(parent)}")
    if not parent:
        raise RequestError(f"{source}: {dotted(path)} is an empty list")
    if part not in map(str, range(len(parent))):
        raise RequestError(f"{source}: {dotted(path)} is a list: write {dotted((*path, 0))} to {len(parent) - 1}")
    return int(part)


def _take_out_rivals(document: Document, path: KeyPath, value: Any, source: str) -> None:
    """Delete what stands in the file and would hold instead of a typed part of a recipe, or be without effect by it.

    Raises RequestError where that would change trials that are not meant, as the typed recipe is one of several.
    """
    own = _recipe_of(path)
    if not own:
        return
    for key, typed in _leaves(value, path[len(own) :]):
        others = _useless_beside(key, typed)
        for rival in others:
            _delete(document, (*own, *rival))
        for above in _recipes_above(document, own):
            for rival in (key, *others):
                there = (*above, *rival)
                if _is_in_file(document, there) and not _is_for_all(document, own, key):
                    raise RequestError(
                        f"{source}: {dotted(there)} ({document.place(there)}) would hold instead: "
                        f"--set {dotted(there)}=… sets that"
                    )
                _delete(document, there)


def _recipe_of(path: KeyPath) -> KeyPath:
    """Return the path of the recipe that a key is in, ("models", 0, "recipe"); () if it is in none."""
    if path[0] == "recipe":
        return path[: 1 + (len(path) > 1 and isinstance(path[1], int))]
    at = path.index("recipe") + 1 if path[0] in ("models", "datasets") and "recipe" in path else 0
    return path[:at]


def _recipes_above(document: Document, own: KeyPath) -> Iterator[KeyPath]:
    """Yield the paths of the recipes that are merged over one: those of datasets and models, or of models."""
    for kind in {"recipe": ("datasets", "models"), "datasets": ("models",)}.get(str(own[0]), ()):
        entries = document.data.get(kind)
        if isinstance(entries, list):
            yield from ((kind, index, "recipe") for index in range(len(entries)))
        else:
            yield (kind, "recipe")


def _is_for_all(document: Document, own: KeyPath, key: KeyPath) -> bool:
    """Return True if the recipe at this path is of all trials, or each of the list of recipes there has the key."""
    if own == ("recipe",) and isinstance(document.data["recipe"], list):
        return all(key in dict(_leaves(each, ())) for each in document.data["recipe"])
    entries = document.data[str(own[0])]
    return not isinstance(entries, list) or len(entries) == 1


def _leaves(value: Any, inside: KeyPath) -> Iterator[tuple[KeyPath, Any]]:
    """Yield the path and value of each value in a typed one; of a list of recipes, those of each."""
    if isinstance(value, dict) and value:
        for key, each in value.items():
            yield from _leaves(each, (*inside, key))
    elif not inside and isinstance(value, list):
        for each in value:
            yield from _leaves(each, inside)
    else:
        yield inside, value


def _useless_beside(key: KeyPath, value: Any) -> list[KeyPath]:
    """Return the keys that a typed one leaves without effect: the other way to give the batch, another optimizer's."""
    if key and set(key) <= BATCHES:
        return [(other,) for other in BATCHES - set(key)]
    if len(key) == 2 and key[0] in ONLY_FOR and key[1] == "name":
        return [(key[0], option) for option, names in ONLY_FOR[str(key[0])].items() if value not in names]
    return []


def _is_in_file(document: Document, path: KeyPath) -> bool:
    """Return True if there is a value at this path that was not typed."""
    value: Any = document.data
    for step in path:
        inside = isinstance(value, dict) or (isinstance(value, list) and isinstance(step, int) and step < len(value))
        if not inside or (isinstance(value, dict) and step not in value):
            return False
        value = value[step]
    return not document.place(path).startswith(TYPED)


def _delete(document: Document, path: KeyPath) -> None:
    """Delete a value of the file, if there is one."""
    if _is_in_file(document, path):
        parent: Any = document.data
        for step in path[:-1]:
            parent = parent[step]
        del parent[path[-1]]
        _forget(document, path)


def _forget(document: Document, path: KeyPath) -> None:
    for stale in [place for place in document.places if place[: len(path)] == path]:
        del document.places[stale]
