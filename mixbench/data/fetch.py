"""`mixbench data`: what is on this machine, whether it is whole, and how it is fetched, on a machine with internet."""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixbench.data.datasets import DATASETS, Dataset, find_dataset
from mixbench.data.files import BUILT_IN, FILES, data_root, find_folder, folders, lack, missing, remedy
from mixbench.data.lock import locked
from mixbench.errors import RequestError

Say = Callable[[str], None]


@dataclass(frozen=True)
class Download:
    """A file to fetch from the first address that gives it with this checksum."""

    addresses: tuple[str, ...]
    folder: Path
    name: str
    md5: str
    unpack: bool


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
    """A row each: `whole`, `missing` or `damaged`, why, and what it takes on disk, decoded, and in caches."""
    return [check_one(dataset) for dataset in chosen(names)]


def check_one(dataset: Dataset) -> dict[str, Any]:
    from mixbench.data.cache import caches_of

    caches, why = caches_of(dataset.name), lack(dataset)
    here = not why
    if here:
        spoilt = (f"{cache.path} is damaged: delete it" for cache in caches if not cache.is_good(whole=True))
        why = _damage(dataset) or next(spoilt, "")
    folder = find_folder(dataset) if here and folders(dataset) else None
    return {
        "name": dataset.name,
        "status": "damaged" if here and why else "whole" if here else "missing",
        "folder": str(folder or ""),
        "bytes_on_disk": _size(folder) if folder else 0,
        "decoded_bytes": dataset.decoded_bytes,
        "cache_bytes": sum(cache.path.stat().st_size for cache in caches if cache.path.exists()),
        "why": why,
    }


def _damage(dataset: Dataset) -> str:
    """What is wrong with a dataset's own files: checksums where its authors give any, else names and numbers."""
    from mixbench.data.formats import read

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


def fetch(names: Iterable[str], say: Say) -> None:
    """Download and unpack what is not here or not whole; one process at a time does so.

    What is whole is kept, so that after a break the same call goes on, with the file it was at from its beginning.
    Raises RequestError for what cannot be fetched, before anything is.
    """
    datasets = chosen(names)
    if by_hand := [dataset for dataset in datasets if dataset.name not in (*BUILT_IN, *FILES) or dataset.streamed]:
        raise RequestError("\n".join(f"{dataset.name}: {remedy(dataset)}" for dataset in by_hand))
    lock = data_root() / "fetch.lock"
    with locked(lock, lambda: say(f"another process is fetching (it holds {lock}); waiting for it to end")):
        for dataset in datasets:
            _fetch_one(dataset, say)


def _fetch_one(dataset: Dataset, say: Say) -> None:
    if check_one(dataset)["status"] == "whole":
        say(f"{dataset.name}: is here and whole")
        return
    for download in downloads(dataset.name):
        _download(dataset, download, say)
    if why := _damage(dataset):
        raise RequestError(f"{dataset.name} was fetched, and is not what it should be: {why}")
    say(f"{dataset.name}: fetched into {find_folder(dataset)}")


def downloads(name: str) -> list[Download]:
    """The files of a dataset with torchvision's addresses and checksums."""
    from torchvision.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST, Flowers102, Food101

    root = data_root()
    if name in ("mnist", "fashion_mnist"):
        reader, folder = {"mnist": MNIST, "fashion_mnist": FashionMNIST}[name], root / FILES[name][0]
        return [
            Download(tuple(mirror + file for mirror in reader.mirrors), folder, file, md5, False)
            for file, md5 in reader.resources
        ]
    if name in ("cifar10", "cifar100"):
        reader = {"cifar10": CIFAR10, "cifar100": CIFAR100}[name]
        return [Download((reader.url,), root, reader.filename, reader.tgz_md5, True)]
    if name == "flowers102":
        return [
            Download((Flowers102._download_url_prefix + file,), root / FILES[name][0], file, md5, file.endswith(".tgz"))
            for file, md5 in Flowers102._file_dict.values()
        ]
    if name == "food101":
        return [Download((Food101._URL,), root, Food101._URL.rpartition("/")[2], Food101._MD5, True)]
    return []


def _download(dataset: Dataset, wanted: Download, say: Say) -> None:
    """Raises RequestError where no address gives the file."""
    from torchvision.datasets.utils import check_integrity, download_url, extract_archive

    archive, errors = wanted.folder / wanted.name, []
    for address in wanted.addresses:
        if check_integrity(archive, wanted.md5):
            break
        say(f"{dataset.name}: {address}")
        try:
            download_url(address, wanted.folder, wanted.name, wanted.md5)
        except (OSError, RuntimeError) as error:  # RuntimeError: the checksum is wrong
            errors.append(f"{address}: {' '.join(str(error).split())}")
    else:
        if not check_integrity(archive, wanted.md5):
            tried = "; ".join(errors)
            raise RequestError(f"{dataset.name} could not be fetched ({tried}); what came is kept, try again")
    if wanted.unpack:
        say(f"{dataset.name}: unpacking {archive}")
        try:
            extract_archive(archive, wanted.folder)
        except OSError as error:
            raise RequestError(
                f"{archive} could not be unpacked into {wanted.folder}: {error.strerror or error}"
            ) from None
