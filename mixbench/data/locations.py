"""Folders of the datasets and caches on this machine, and how to get missing data.  Imports neither torch nor numpy."""

import os
from collections.abc import Iterable
from pathlib import Path

from mixbench.errors import RequestError
from mixbench.suite.datasets import Dataset
from mixbench.system.environment import named_folder
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
"""Dataset → (folder under the data root, the files and folders in it), as torchvision lays them out."""
IMAGES = {"flowers102": ("jpg",), "food101": ("images/*",), "imagenet": ("train/*", "val/*")}
"""Dataset → the folders of its image files."""
BUILT_IN = ("digits", "synthetic")


def data_root() -> Path:
    """The folder of all datasets: `$MIXBENCH_DATA`, else `mixbench` in XDG's data folder."""
    return named_folder("MIXBENCH_DATA") or (named_folder("XDG_DATA_HOME") or Path.home() / ".local/share") / "mixbench"


def cache_folders() -> list[Path]:
    """Folders that are searched for decoded images; new ones are written to the first.

    `$MIXBENCH_CACHE` alone if it is set; else `cache` in the data root and `mixbench` in XDG's cache folder.  The
    latter comes first if the former is not writable, as on a read-only share, whose caches are still used.
    """
    if chosen := named_folder("MIXBENCH_CACHE"):
        return [chosen]
    shared = data_root() / "cache"
    own = (named_folder("XDG_CACHE_HOME") or Path.home() / ".cache") / "mixbench"
    return [shared, own] if _is_writable(shared) else [own, shared]


def _is_writable(folder: Path) -> bool:
    """Return True if files can be created in a folder; if it does not exist, if it can be created."""
    existing = nearest_existing(folder)
    return existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)


def folders(dataset: Dataset) -> list[Path]:
    """Folders that are searched for a dataset, in this order; none for a built-in one."""
    if dataset.folder:
        return [Path(dataset.folder)]
    if dataset.name in BUILT_IN:
        return []
    folder = data_root() / FILES[dataset.name][0]
    return [DEBIAN_FASHION_MNIST, folder] if dataset.name == "fashion_mnist" else [folder]


def contents(dataset: Dataset) -> tuple[str, ...]:
    """Names of the files and folders that a dataset's folder must hold."""
    return ("train", "val") if dataset.folder else FILES[dataset.name][1]


def missing(dataset: Dataset) -> list[Path]:
    """The missing files of a dataset, in the last of its folders; empty if one folder has them all."""
    gone: list[Path] = []
    for folder in folders(dataset):
        gone = [folder / name for name in contents(dataset) if not (folder / name).exists()]
        if not gone:
            break
    return gone


def find_folder(dataset: Dataset) -> Path:
    """The folder that holds all of a dataset's files.  Raises RequestError if none does."""
    require([dataset])
    return next(folder for folder in folders(dataset) if all((folder / name).exists() for name in contents(dataset)))


def require(datasets: Iterable[Dataset]) -> None:
    """Raise RequestError if a dataset's files are missing; call before any process is started.

    The message names, for each such dataset, what is missing, the folders searched, and how to get it.
    """
    if lines := [line for dataset in datasets if (line := why_missing(dataset))]:
        raise RequestError("\n".join(lines))


def incomplete(dataset: Dataset) -> str:
    """The number of image files of a dataset that is here, if it should have more; else empty.  Opens no file."""
    wanted = dataset.train_images + dataset.test_images
    if dataset.name not in IMAGES or missing(dataset):
        return ""
    places = [place for pattern in IMAGES[dataset.name] for place in find_folder(dataset).glob(pattern)]
    found = sum(not entry.name.startswith(".") for place in places if place.is_dir() for entry in os.scandir(place))
    return f"{found:,} of {wanted:,} images" if found < wanted else ""


def why_missing(dataset: Dataset) -> str:
    """A line on the missing files of a dataset, the folders searched, and how to get them; empty if none is missing."""
    gone = missing(dataset)
    if not gone:
        return ""
    first = gone[0] if len(gone) == 1 else f"{gone[0]} and {len(gone) - 1} more"
    searched = " and ".join(map(str, folders(dataset)))
    return f"{dataset.name} is not on this machine: no {first} (looked in {searched}). {remedy(dataset)}"


def can_be_fetched(dataset: Dataset) -> bool:
    """Return True if `mixbench data fetch` downloads it."""
    return not dataset.folder and dataset.name != "imagenet"


def remedy(dataset: Dataset, *others: Dataset) -> str:
    """Instructions for getting the dataset, and others that can be fetched too."""
    if dataset.folder:
        return "Put its images into train/CLASS/*.jpg and val/CLASS/*.jpg there"
    if dataset.name == "imagenet":
        return (
            f"It cannot be fetched: put ILSVRC 2012 into {folders(dataset)[0]} as train/<wnid>/*.JPEG and "
            "val/<wnid>/*.JPEG (a link to it will do), or name its parent folder in $MIXBENCH_DATA"
        )
    names = [each.name for each in (dataset, *others)]
    debian = ", or apt-get install dataset-fashion-mnist on Debian" if "fashion_mnist" in names else ""
    kept = "they are" if others else "it is"
    return (
        f"On a machine with internet: mixbench data fetch {' '.join(names)}{debian}; "
        f"$MIXBENCH_DATA says where {kept} kept"
    )
