"""`mixbench data fetch`: download and unpack the datasets that are missing; needs internet."""

from collections.abc import Iterable
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from tarfile import TarError

from mixbench.data.check import damage, datasets_named
from mixbench.data.download import Say, Show, WrongFile, download
from mixbench.data.locations import BUILT_IN, FILES, data_root, find_folder, remedy, why_missing
from mixbench.data.unpack import unpack
from mixbench.errors import RequestError
from mixbench.suite.datasets import Dataset
from mixbench.system.lock import locked


@dataclass(frozen=True)
class Download:
    """A file to fetch, from the first of its addresses that serves it with this checksum."""

    addresses: tuple[str, ...]
    folder: Path
    name: str
    md5: str
    unpack: bool


def fetch(names: Iterable[str], say: Say, show: Show = lambda what, done, total: None) -> None:
    """Download and unpack the datasets that are missing or damaged; one process at a time.

    Partial downloads are kept, so that the same call resumes after an interruption.
    Raises RequestError before any download if a dataset cannot be fetched, and if a download fails.
    """
    datasets = datasets_named(names)
    if by_hand := [dataset for dataset in datasets if dataset.name not in (*BUILT_IN, *FILES) or dataset.streamed]:
        raise RequestError("\n".join(f"{dataset.name}: {remedy(dataset)}" for dataset in by_hand))
    lock = data_root() / "fetch.lock"
    with locked(lock, lambda: say(f"another process is fetching (it holds {lock}); waiting for it to end")):
        for dataset in datasets:
            _fetch_one(dataset, say, show)


def _fetch_one(dataset: Dataset, say: Say, show: Show) -> None:
    if not why_missing(dataset) and not damage(dataset):
        say(f"{dataset.name}: is here and whole")
        return
    for wanted in downloads(dataset.name):
        _fetch_file(dataset, wanted, say, show)
    if why := damage(dataset):
        raise RequestError(f"{dataset.name} was fetched, and is not what it should be: {why}")
    say(f"{dataset.name}: fetched into {find_folder(dataset)}")


def downloads(name: str) -> list[Download]:
    """The files of a dataset, with the addresses and checksums that torchvision has; empty if it has none."""
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


def _fetch_file(dataset: Dataset, wanted: Download, say: Say, show: Show) -> None:
    """Download one file, unpack it if it is an archive.  Raises RequestError if either fails."""
    from torchvision.datasets.utils import check_integrity

    archive, errors = wanted.folder / wanted.name, []
    for address in wanted.addresses:
        if check_integrity(archive, wanted.md5):
            break
        say(f"{dataset.name}: {address}")
        try:
            download(address, archive, wanted.md5, say, show)
        except (OSError, HTTPException, WrongFile) as error:
            errors.append(f"{address}: {error}")
    else:
        if not check_integrity(archive, wanted.md5):
            tried = "; ".join(errors)
            raise RequestError(f"{dataset.name} could not be fetched ({tried}); the same command resumes")
    if wanted.unpack:
        say(f"{dataset.name}: unpacking {archive}")
        try:
            unpack(archive, wanted.folder, lambda done, size: show(f"{archive.name}: unpacking", done, size))
        except (OSError, TarError, EOFError) as error:
            raise RequestError(f"{archive} could not be unpacked into {wanted.folder}: {error}") from None
