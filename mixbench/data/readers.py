"""Readers of the datasets' official formats: each returns training and test split, without decoding image files."""

import gzip
import hashlib
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mixbench.data.locations import IDX_FILES, data_root, find_folder, remedy
from mixbench.errors import RequestError
from mixbench.suite.datasets import Dataset
from mixbench.suite.image_folder import identity, problems_of, scan

# SHA-256 of Fashion-MNIST's four files unpacked, in the order of IDX_FILES.  Not of the archives, as Debian compresses
# them again (with the authors' names and times in the gzip headers, Debian's have the MD5 sums that torchvision checks)
FASHION_MNIST_SHA256 = (
    "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
)
SYNTHETIC_SEED = 20220711


@dataclass(frozen=True)
class Raw:
    """One split as read: images N C H W, uint8, or the paths of image files; labels N, from 0."""

    images: np.ndarray | Sequence[Path]
    labels: np.ndarray


def read(dataset: Dataset) -> tuple[Raw, Raw]:
    """Read the training and test split.  Raises RequestError if files are missing, damaged, or wrong in number."""
    reader = _tree if dataset.folder else READERS[dataset.name]
    splits = reader(dataset)
    wanted = (dataset.train_images, dataset.test_images)
    for part, raw, count in zip(("training", "test"), splits, wanted, strict=True):
        if not len(raw.images) == len(raw.labels) == count:
            found = f"{len(raw.images)} {part} images and {len(raw.labels)} labels"
            raise RequestError(f"{dataset.name}: found {found}, where {count} belong; {_remedy(dataset)}")
    return splits


def _remedy(dataset: Dataset) -> str:
    if dataset.folder:
        return "the folder has changed since the suite was planned"
    return remedy(dataset)


def _digits(_: Dataset) -> tuple[Raw, Raw]:
    """scikit-learn's digits, split 80/20 by its train_test_split; grey levels 0–16 scaled to 0–255.

    Read from digits.npz, as importing scikit-learn takes 2 s.
    """
    with np.load(Path(__file__).with_name("digits.npz")) as arrays:
        train, test = (Raw(arrays[f"{part}_images"], arrays[f"{part}_labels"]) for part in ("train", "test"))
    return train, test


def _synthetic(dataset: Dataset) -> tuple[Raw, Raw]:
    """Random images of the requested size, and random labels."""

    def noise(stream: int, count: int) -> Raw:
        random = np.random.default_rng([SYNTHETIC_SEED, stream])
        labels = random.integers(dataset.classes, size=count)
        shape = (count, dataset.channels, dataset.image_size, dataset.image_size)
        return Raw(random.integers(256, size=shape, dtype=np.uint8), labels)

    return noise(0, dataset.train_images), noise(1, dataset.test_images)


def _mnist(dataset: Dataset) -> tuple[Raw, Raw]:
    """Read the archives directly: torchvision's class verifies downloads, but not the unpacked files it reads."""
    from torchvision.datasets import MNIST

    sums = dict(MNIST.resources)
    return _idx_splits(find_folder(dataset), lambda name, packed, _: hashlib.md5(packed).hexdigest() == sums[name])


def _fashion_mnist(dataset: Dataset) -> tuple[Raw, Raw]:
    sums = dict(zip(IDX_FILES, FASHION_MNIST_SHA256, strict=True))
    return _idx_splits(find_folder(dataset), lambda name, _, data: hashlib.sha256(data).hexdigest() == sums[name])


def _idx_splits(folder: Path, is_right: Callable[[str, bytes, bytes], bool]) -> tuple[Raw, Raw]:
    arrays = [idx(folder / name, is_right) for name in IDX_FILES]
    return Raw(arrays[0][:, None], arrays[1]), Raw(arrays[2][:, None], arrays[3])


def idx(path: Path, is_right: Callable[[str, bytes, bytes], bool]) -> np.ndarray:
    """Read a gzipped file in MNIST's idx format: two zero bytes, type (8: uint8), rank, sizes, values.

    `is_right` gets (name, compressed bytes, decompressed bytes) and verifies a checksum.  Raises RequestError if it
    returns False, or the file cannot be decompressed.
    """
    packed = path.read_bytes()
    remedy_text = "delete it, then fetch it again"
    try:
        data = gzip.decompress(packed)
    except (OSError, EOFError, zlib.error) as error:
        raise RequestError(f"{path} cannot be unpacked ({error}); {remedy_text}") from None
    if not is_right(path.name, packed, data):
        raise RequestError(f"{path} is damaged: its contents have another checksum; {remedy_text}")
    rank = data[3]
    shape = np.frombuffer(data, dtype=">u4", count=rank, offset=4).astype(int)
    return np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * rank).reshape(shape).copy()


def _cifar(dataset: Dataset) -> tuple[Raw, Raw]:
    from torchvision.datasets import CIFAR10, CIFAR100

    reader = {"cifar10": CIFAR10, "cifar100": CIFAR100}[dataset.name]
    train, test = (_torchvision(dataset, reader, train=train) for train in (True, False))
    of_train, of_test = (Raw(part.data.transpose(0, 3, 1, 2), np.array(part.targets)) for part in (train, test))
    return of_train, of_test


def _flowers102(dataset: Dataset) -> tuple[Raw, Raw]:
    from torchvision.datasets import Flowers102

    train, val, test = (_torchvision(dataset, Flowers102, split=split) for split in ("train", "val", "test"))
    return _files([train, val]), _files([test])


def _food101(dataset: Dataset) -> tuple[Raw, Raw]:
    from torchvision.datasets import Food101

    train, test = (_torchvision(dataset, Food101, split=split) for split in ("train", "test"))
    return _files([train]), _files([test])


def _files(parts: list[Any]) -> Raw:
    """Concatenate the private lists of files and labels: iterating torchvision's datasets would decode the images."""
    return Raw([path for part in parts for path in part._image_files], np.concatenate([part._labels for part in parts]))


def _torchvision(dataset: Dataset, reader: Callable[..., Any], **split: Any) -> Any:
    folder = find_folder(dataset)
    try:
        return reader(data_root(), **split)
    except (RuntimeError, ValueError, EOFError) as error:
        why = "a checksum is wrong" if "corrupted" in str(error) else str(error)
        repair = f"`mixbench data fetch {dataset.name}` mends it"
        raise RequestError(f"{dataset.name}: the files in {folder} are damaged: {why}; {repair}") from None


def _tree(dataset: Dataset) -> tuple[Raw, Raw]:
    """Read train/CLASS/image and val/CLASS/image; classes are numbered in the order of their folders in train/.

    Raises RequestError if the images of an `image_folder` are not those of the plan.
    """
    folder = find_folder(dataset)
    parts = train, val = scan(folder, "train"), scan(folder, "val")
    if problems := problems_of(parts):
        raise RequestError(f"{dataset.name}: {problems}")
    planned = dataset.contents.partition(",")[0]
    if ":" in planned and identity(parts) != planned:  # plans of older versions hold a hash of the names alone
        raise RequestError(f"{dataset.name}: the images in {folder} have changed since the suite was planned")
    numbers = {name: number for number, name in enumerate(train.classes)}

    def labelled(classes: dict[str, list[Path]]) -> Raw:
        labels = [numbers[name] for name, files in classes.items() for _ in files]
        return Raw([file for files in classes.values() for file in files], np.array(labels, dtype=np.int64))

    return labelled(train.classes), labelled(val.classes)


READERS: dict[str, Callable[[Dataset], tuple[Raw, Raw]]] = {
    "digits": _digits,
    "mnist": _mnist,
    "fashion_mnist": _fashion_mnist,
    "cifar10": _cifar,
    "cifar100": _cifar,
    "flowers102": _flowers102,
    "food101": _food101,
    "imagenet": _tree,
    "synthetic": _synthetic,
}
