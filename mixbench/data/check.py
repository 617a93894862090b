"""`mixbench data list | check`: what is on this machine, and whether it is whole."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import Any

from mixbench.data.locations import BUILT_IN, cache_folders, find_folder, folders, lack, missing, remedy
from mixbench.errors import RequestError
from mixbench.suite.datasets import DATASETS, Dataset, find_dataset
from mixbench.system.files import file_name


def chosen(names: Iterable[str]) -> list[Dataset]:
    """The datasets of these names, all of the table where none is named.  Raises RequestError."""
    return [find_dataset(name) for name in dict.fromkeys(names)] or list(DATASETS.values())


def list_data(names: Iterable[str]) -> list[dict[str, Any]]:
    """A row each: `here`, `missing` or `built in`, where it lies or would lie, its size decoded.  No file is opened."""
    return [
        {
            "name": dataset.name,
            "status": "built in" if dataset.name in BUILT_IN else "missing" if missing(dataset) else "here",
            "folder": _place(dataset),
            "decoded_bytes": dataset.decoded_bytes,
            "held": "streamed" if dataset.streamed else "in a cache" if dataset.train_side else "in memory",
            "remedy": remedy(dataset) if missing(dataset) else "",
        }
        for dataset in chosen(names)
    ]


def _place(dataset: Dataset) -> str:
    """Where a dataset lies or, where it is missing, would lie; empty for one that is built in."""
    choices = folders(dataset)
    return str((find_folder(dataset) if not missing(dataset) else choices[-1]) if choices else "")


def check_data(names: Iterable[str]) -> list[dict[str, Any]]:
    """A row each: `whole`, `missing` or `damaged`, why, and what it takes on disk, decoded, and in caches.

    An `image_folder` is known by the cache of its decoded images.  Raises RequestError.
    """
    wanted = list(dict.fromkeys(names))
    here = [(name, folder) for name, folder in _image_folders() if not wanted or name in wanted]
    rest = [name for name in wanted if name not in dict(here)]
    of_table = chosen(rest) if rest or not wanted else []
    return [check_one(dataset) for dataset in of_table] + [_check_folder(*each) for each in here]


def _check_folder(name: str, folder: str) -> dict[str, Any]:
    try:
        return check_one(find_dataset(name, image_folder=folder))
    except RequestError as error:
        return {"name": name, "status": "missing", "folder": folder, "why": str(error)}


def check_one(dataset: Dataset) -> dict[str, Any]:
    why = lack(dataset)
    here = not why
    caches = list(_caches(dataset))
    if here:
        why = damage(dataset) or next((said for _, _, said in caches if said), "")
    folder = find_folder(dataset) if here and folders(dataset) else None
    return {
        "name": dataset.name,
        "status": "damaged" if here and why else "whole" if here else "missing",
        "folder": str(folder or ""),
        "bytes_on_disk": _size(folder) if folder else 0,
        "decoded_bytes": dataset.decoded_bytes,
        "cache_bytes": sum(size for size, _, _ in caches),
        "caches": ", ".join(f"{count} {state}" for state, count in Counter(state for _, state, _ in caches).items()),
        "why": why,
    }


def _image_folders() -> list[tuple[str, str]]:
    """Name and folder of each `image_folder` whose decoded images are kept."""
    found: dict[tuple[str, str], None] = {}
    for file in (file for folder in cache_folders() for file in sorted(folder.glob("*-full-*.json"))):
        with suppress(OSError, ValueError, KeyError, TypeError):
            facts = json.loads(file.read_text(encoding="utf-8"))
            found[facts["dataset"], facts["folder"]] = None
    return [(name, folder) for name, folder in found if folder]


def _caches(dataset: Dataset) -> Iterator[tuple[int, str, str]]:
    """The bytes of each cache, its state, and what is to be said of it; all of them are read whole."""
    from mixbench.data.array_cache import caches_of, set_aside_of

    for cache in caches_of(dataset.name):
        whole = cache.is_good()
        size = cache.path.stat().st_size if cache.path.exists() else 0
        said = f"{cache.path} is damaged: delete it, or let a run set it aside and make it anew"
        yield size, "whole" if whole else "damaged", "" if whole else said
    for path in set_aside_of(dataset.name):
        yield path.stat().st_size, "set aside", ""
    if dataset.streamed:
        yield from _full_size_caches(dataset)


def _full_size_caches(dataset: Dataset) -> Iterator[tuple[int, str, str]]:
    """Likewise those of a streamed dataset's decoded images."""
    from mixbench.data.pixel_cache import DecodedCache, caches_of_splits

    known: dict[Path, DecodedCache] = {}
    with suppress(RequestError):  # what is wrong with the dataset's files is said of them
        known = {cache.path: cache for caches in caches_of_splits(dataset) for cache in caches}
    pattern = f"{escape(file_name(dataset.name))}-t*-full-*.pixels"
    for path in (path for folder in cache_folders() for path in sorted(folder.glob(pattern))):
        cache = known.get(path)
        if cache is None:
            yield path.stat().st_size, "of other images", f"{path} is of other images than are there now: delete it"
        elif cache.good(whole=True):
            yield cache.bytes, "whole", ""
        else:
            yield cache.bytes, "damaged", f"{path} is damaged, or its images have changed: a run makes it anew"
    for cache in known.values():
        if cache.part.path.exists():
            yield cache.part.bytes, "half built", ""


def damage(dataset: Dataset) -> str:
    """What is wrong with a dataset's own files: checksums where its authors give any, else names and numbers."""
    from mixbench.data.readers import read

    try:
        splits = read(dataset)
    except RequestError as error:
        return str(error)
    files = [path for raw in splits for path in raw.images if isinstance(path, Path)]
    if empty := [path for path in files if not path.is_file() or not path.stat().st_size]:
        number = f"{len(empty):,} of {len(files):,} images are missing or empty"
        return f"{number}, such as {empty[0]}; {remedy(dataset)}"
    return ""


def _size(folder: Path) -> int:
    """The bytes of all files under a folder, links to folders followed."""
    return sum(os.path.getsize(Path(at) / name) for at, _, names in os.walk(folder, followlinks=True) for name in names)
