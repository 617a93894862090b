"""`mixbench data fetch`: what is not on this machine, downloaded and unpacked, on a machine with internet."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from mixbench.data.check import check_one, chosen, damage
from mixbench.data.datasets import Dataset
from mixbench.data.files import BUILT_IN, FILES, data_root, find_folder, remedy
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
    if why := damage(dataset):
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
