"""Where each dataset's files lie on this machine, and what to do where they do not.  Needs neither torch nor numpy."""

import os
from collections.abc import Iterable
from pathlib import Path

from mixbench.errors import RequestError
from mixbench.suite.datasets import Dataset
from mixbench.system.files import nearest_existing

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
FILES = {
    "mnist": ("MNIST/raw", IDX_FILES),
    "fashion_mnist": ("FashionMNIST/raw", IDX_FILES),
    "cifar10": ("cifar-10-batches-py", (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta")),
    "cifar100": ("cifar-100-python", ("train", "test", "meta")),
    "flowers102": ("flowers-102", ("jpg", "imagelabels.mat", "setid.mat")),
    "food101": ("food-101", ("images", "meta/train.json", "meta/test.json")),
    "imagenet": ("imagenet", ("train", "val")),
}
"""By dataset the folder under the data root and what it holds, as torchvision lays it out."""
BUILT_IN = ("digits", "synthetic")


def data_root() -> Path:
    """Where data is kept: `$MIXBENCH_DATA`, else XDG's data folder."""
    if chosen := os.environ.get("MIXBENCH_DATA"):
        return Path(chosen)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "mixbench"


def cache_folders() -> list[Path]:
    """Where decoded images may lie, first the folder that new ones are written to.

    `$MIXBENCH_CACHE` alone where it is set; else `cache` in the data root and XDG's cache folder, the latter first
    where this user cannot write into the former, as on a read-only share, whose caches are used all the same.
    """
    if chosen := os.environ.get("MIXBENCH_CACHE"):
        return [Path(chosen)]
    usual = data_root() / "cache"
    own = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mixbench"
    return [usual, own] if _can_be_written(usual) else [own, usual]


def _can_be_written(folder: Path) -> bool:
    """Whether files can be made in a folder, or the folder itself where it is not there yet."""
    there = nearest_existing(folder)
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)


def folders(dataset: Dataset) -> list[Path]:
    """The folders in which a dataset may lie, the first choice first; none for one that is made from nothing."""
    if dataset.folder:
        return [Path(dataset.folder)]
    if dataset.name in BUILT_IN:
        return []
    usual = data_root() / FILES[dataset.name][0]
    return [DEBIAN_FASHION_MNIST, usual] if dataset.name == "fashion_mnist" else [usual]


def contents(dataset: Dataset) -> tuple[str, ...]:
    """The files and folders that a dataset's folder is to hold."""
    return ("train", "val") if dataset.folder else FILES[dataset.name][1]


def missing(dataset: Dataset) -> list[Path]:
    """What is not where the dataset would lie; empty where all is there."""
    gone: list[Path] = []
    for folder in folders(dataset):
        gone = [folder / name for name in contents(dataset) if not (folder / name).exists()]
        if not gone:
            break
    return gone


def find_folder(dataset: Dataset) -> Path:
    """The folder that holds all of a dataset's files.  Raises RequestError where none does."""
    require([dataset])
    return next(folder for folder in folders(dataset) if all((folder / name).exists() for name in contents(dataset)))


def require(datasets: Iterable[Dataset]) -> None:
    """Make sure, before any process is started, that each dataset's files are there.

    Raises RequestError that names, for each that is not, what is missing, where it was looked for and what brings it.
    """
    if lines := [line for dataset in datasets if (line := lack(dataset))]:
        raise RequestError("\n".join(lines))


def lack(dataset: Dataset) -> str:
    """What is missing of a dataset, where it was looked for, and what brings it; empty where nothing is."""
    gone = missing(dataset)
    if not gone:
        return ""
    first = gone[0] if len(gone) == 1 else f"{gone[0]} and {len(gone) - 1} more"
    looked = " and ".join(map(str, folders(dataset)))
    return f"{dataset.name} is not on this machine: no {first} (looked in {looked}). {remedy(dataset)}"


def remedy(dataset: Dataset) -> str:
    """How a person gets the dataset."""
    if dataset.folder:
        return "Put its images into train/CLASS/*.jpg and val/CLASS/*.jpg there"
    if dataset.name == "imagenet":
        return (
            f"It cannot be fetched: put ILSVRC 2012 into {folders(dataset)[0]} as train/<wnid>/*.JPEG and "
            "val/<wnid>/*.JPEG (a link to it will do), or name its parent folder in $MIXBENCH_DATA"
        )
    other = ", or apt-get install dataset-fashion-mnist on Debian" if dataset.name == "fashion_mnist" else ""
    return f"Where there is internet: mixbench data fetch {dataset.name}{other}; $MIXBENCH_DATA says where it is kept"
