"""`mixbench data list | check`: which datasets are on this machine, and whether their files and caches are intact."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixbench.data.locations import (
    BUILT_IN,
    cache_folders,
    can_be_fetched,
    find_folder,
    folders,
    incomplete,
    missing,
    remedy,
    why_missing,
)
from mixbench.errors import RequestError
from mixbench.suite.datasets import DATASETS, Dataset, find_dataset, folder_facts
from mixbench.system.files import file_name

if TYPE_CHECKING:
    from mixbench.data.array_cache import Say


def datasets_named(names: Iterable[str]) -> list[Dataset]:
    """The datasets of these names; without names, all of the table.  Raises RequestError for an unknown name."""
    return [find_dataset(name) for name in dict.fromkeys(names)] or list(DATASETS.values())


def list_data(names: Iterable[str]) -> list[dict[str, Any]]:
    """A row per dataset: `here`, `incomplete`, `missing` or `built in`, its folder, its size when decoded.

    Opens no file.
    """
    return [
        {
            "name": dataset.name,
            "status": _status(dataset),
            "folder": _expected_folder(dataset),
            "decoded_bytes": dataset.decoded_bytes,
            "held": "streamed" if dataset.streamed else "in a cache" if dataset.train_side else "in memory",
            "remedy": _remedy(dataset),
        }
        for dataset in datasets_named(names)
    ]


def remedies(names: Iterable[str]) -> list[str]:
    """How to get the datasets of these names that are missing or incomplete: one line for all that can be fetched,
    and one for each of the others.
    """
    absent = [dataset for dataset in datasets_named(names) if missing(dataset) or incomplete(dataset)]
    fetched = [dataset for dataset in absent if can_be_fetched(dataset)]
    lines = [f"{dataset.name}: {found}" for dataset in fetched if (found := incomplete(dataset))]
    lines += [remedy(*fetched)] if fetched else []
    return lines + [f"{dataset.name}: {_remedy(dataset)}" for dataset in absent if dataset not in fetched]


def _status(dataset: Dataset) -> str:
    if dataset.name in BUILT_IN:
        return "built in"
    return "missing" if missing(dataset) else "incomplete" if incomplete(dataset) else "here"


def _remedy(dataset: Dataset) -> str:
    if found := incomplete(dataset):
        return f"{found}. {remedy(dataset)}"
    return remedy(dataset) if missing(dataset) else ""


def _expected_folder(dataset: Dataset) -> str:
    """The folder of a dataset, also if it is missing; empty for a built-in one."""
    choices = folders(dataset)
    return str((find_folder(dataset) if not missing(dataset) else choices[-1]) if choices else "")


def check_data(names: Iterable[str], say: "Say" = lambda activity, done, total: None) -> list[dict[str, Any]]:
    """A row per dataset: `whole`, `missing` or `damaged`, why, what it holds, and its bytes on disk and in caches.

    A name may be the path of an `image_folder`, or the name of one that a suite has used: it is found by files in the
    cache folders.  Raises RequestError for an unknown name.
    """
    wanted = list(dict.fromkeys(names))
    known = _image_folders()
    used = [each for each in known if not wanted or each[0] in wanted]
    rest = [name for name in wanted if name not in {name for name, *_ in used}]
    paths = [name for name in rest if name not in DATASETS and Path(name).is_dir()]
    bits = {folder: bits for _, folder, bits in known}
    used += [(path, path, bits.get(os.path.abspath(path), 0)) for path in paths]
    rest = [name for name in rest if name not in paths]
    in_table = datasets_named(rest) if rest or not wanted else []
    return [check_one(dataset, say) for dataset in in_table] + [_check_folder(*each, say) for each in used]


def _check_folder(name: str, folder: str, bits: int, say: "Say") -> dict[str, Any]:
    try:
        return check_one(find_dataset(name, image_folder=folder, bits=bits), say)
    except RequestError as error:
        return {
            "name": name,
            "status": "damaged" if Path(folder).is_dir() else "missing",
            "folder": folder,
            "why": str(error),
        }


def check_one(dataset: Dataset, say: "Say" = lambda activity, done, total: None) -> dict[str, Any]:
    """One row of check_data: a dataset's files and all its caches, which are read whole."""
    why = why_missing(dataset)
    present = not why
    caches = list(_caches(dataset))
    if present:
        why = damage(dataset, say) or next((problem for _, _, problem in caches if problem), "")
    folder = find_folder(dataset) if present and folders(dataset) else None
    return {
        "name": dataset.name,
        "status": "damaged" if present and why else "whole" if present else "missing",
        "folder": str(folder or ""),
        "bytes_on_disk": _size(folder) if folder else 0,
        "decoded_bytes": dataset.decoded_bytes,
        "cache_bytes": sum(size for size, _, _ in caches),
        "caches": ", ".join(f"{count} {state}" for state, count in Counter(state for _, state, _ in caches).items()),
        "holds": folder_facts(dataset).partition(": ")[2],
        "why": why,
    }


def _image_folders() -> list[tuple[str, str, int]]:
    """Name, folder and bits of each `image_folder` dataset that was decoded, as files in the cache folders say."""
    found: dict[tuple[str, str, int], None] = {}
    files = (file for folder in cache_folders() for file in sorted(folder.glob("*.json")))
    for file in (file for file in files if "-full-" in file.name or file.name.startswith("readable-")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            facts = json.loads(file.read_text(encoding="utf-8"))
            found[facts["dataset"], facts["folder"], facts.get("bits", 0)] = None
    return [each for each in found if each[1]]


def _caches(dataset: Dataset) -> Iterator[tuple[int, str, str]]:
    """(bytes, state, problem or empty) of each cache of a dataset; each is read whole."""
    from mixbench.data.array_cache import caches_of, set_aside_of

    for cache in caches_of(dataset.name):
        whole = cache.is_good()
        size = cache.path.stat().st_size if cache.path.exists() else 0
        problem = f"{cache.path} is damaged: delete it, or let a run set it aside and make it anew"
        yield size, "whole" if whole else "damaged", "" if whole else problem
    for path in set_aside_of(dataset.name):
        yield path.stat().st_size, "set aside", ""
    if dataset.streamed:
        yield from _full_size_caches(dataset)


def _full_size_caches(dataset: Dataset) -> Iterator[tuple[int, str, str]]:
    """(bytes, state, problem or empty) of each cache of a streamed dataset's full-size images."""
    from mixbench.data.pixel_cache import DecodedCache, caches_of_splits

    known: dict[Path, DecodedCache] = {}
    with suppress(RequestError):  # damage() reports problems with the dataset's own files
        known = {cache.path: cache for caches in caches_of_splits(dataset) for cache in caches}
    pattern = f"{escape(file_name(dataset.name))}-t*-full-*.pixels"
    for path in (path for folder in cache_folders() for path in sorted(folder.glob(pattern))):
        cache = known.get(path)
        if cache is None:
            yield (
                path.stat().st_size,
                "of other images",
                f"{path} holds other images than the dataset has now: delete it",
            )
        elif cache.good(whole=True):
            yield cache.bytes, "whole", ""
        else:
            yield cache.bytes, "damaged", f"{path} is damaged, or its images have changed: a run makes it anew"
    for cache in known.values():
        if cache.part.path.exists():
            yield cache.part.bytes, "half built", ""


def damage(dataset: Dataset, say: "Say" = lambda activity, done, total: None) -> str:
    """The problems with a dataset's own files, empty if none; by checksum if published; decodes all images."""
    from mixbench.data.verify import problems

    try:
        found = problems(dataset, say)
    except RequestError as error:
        return str(error)
    return "\n".join(found) + ("" if dataset.folder or not found else f"; {remedy(dataset)}")


def _size(folder: Path) -> int:
    """Bytes of all files under a folder, following links to folders."""
    files = (Path(at) / name for at, _, names in os.walk(folder, followlinks=True) for name in names)
    return sum(file.stat().st_size for file in files if file.exists())
