"""Small files in the datasets' official formats, written where the real ones would lie, with checksums to match."""

import gzip
import hashlib
import json
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torchvision.datasets as official
from PIL import Image
from scipy.io import savemat

from mixbench.data import locations, readers
from mixbench.suite.datasets import Dataset, find_dataset

SIZES = ((40, 60), (33, 25), (64, 64))
"""Heights and widths of the photographs, in turn."""


@dataclass(frozen=True)
class Small:
    """A dataset as the table has it but for its counts; what was written: arrays N C H W or files, and the labels."""

    dataset: Dataset
    train: Any
    train_labels: list[int]
    test: Any
    test_labels: list[int]


def need_fashion_mnist() -> None:
    """The real one, whole, from Debian's package."""
    if not locations.DEBIAN_FASHION_MNIST.is_dir():
        pytest.skip("Fashion-MNIST is not here: apt-get install dataset-fashion-mnist")


def write(name: str, root: Path, patch: pytest.MonkeyPatch) -> Small:
    """The files of the dataset `name` under this data root, which becomes `$MIXBENCH_DATA`; caches lie there alone."""
    patch.setenv("MIXBENCH_DATA", str(root))
    patch.setenv("XDG_CACHE_HOME", str(root / "home"))
    patch.delenv("MIXBENCH_CACHE", raising=False)
    random = np.random.default_rng(7)
    small = WRITERS[name](name, root / locations.FILES[name][0], random, patch)
    train_images, test_images = len(small.train_labels), len(small.test_labels)
    return replace(small, dataset=replace(small.dataset, train_images=train_images, test_images=test_images))


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def _cifar(name: str, folder: Path, random: np.random.Generator, patch: pytest.MonkeyPatch) -> Small:
    dataset = find_dataset(name)
    reader = {"cifar10": official.CIFAR10, "cifar100": official.CIFAR100}[name]
    folder.mkdir(parents=True)
    images: dict[str, list[np.ndarray]] = {}
    labels: dict[str, list[int]] = {}
    for kind in ("train_list", "test_list"):
        written = []
        for file, _ in getattr(reader, kind):
            data = random.integers(256, size=(4, 3072), dtype=np.uint8)
            numbers = random.integers(dataset.classes, size=4).tolist()
            fine = {"labels": numbers} if name == "cifar10" else {"fine_labels": numbers, "coarse_labels": [0] * 4}
            (folder / file).write_bytes(pickle.dumps({"data": data} | fine))
            written.append([file, md5(folder / file)])
            images.setdefault(kind, []).append(data.reshape(-1, 3, 32, 32))
            labels.setdefault(kind, []).extend(numbers)
        patch.setattr(reader, kind, written)
    meta = folder / reader.meta["filename"]
    meta.write_bytes(pickle.dumps({reader.meta["key"]: [f"class {n}" for n in range(dataset.classes)]}))
    patch.setattr(reader, "meta", reader.meta | {"md5": md5(meta)})
    train, test = (np.concatenate(images[kind]) for kind in ("train_list", "test_list"))
    return Small(dataset, train, labels["train_list"], test, labels["test_list"])


def _idx(name: str, folder: Path, random: np.random.Generator, patch: pytest.MonkeyPatch) -> Small:
    folder.mkdir(parents=True)
    arrays = []
    for file, count in zip(locations.IDX_FILES, (9, 9, 5, 5), strict=True):
        shape = (count, 28, 28) if "images" in file else (count,)
        arrays.append(random.integers(256 if "images" in file else 10, size=shape, dtype=np.uint8))
        head = bytes([0, 0, 8, len(shape)]) + np.array(shape, dtype=">u4").tobytes()
        (folder / file).write_bytes(gzip.compress(head + arrays[-1].tobytes()))
    if name == "mnist":
        patch.setattr(official.MNIST, "resources", [(file, md5(folder / file)) for file in locations.IDX_FILES])
    else:
        unpacked = (gzip.decompress((folder / file).read_bytes()) for file in locations.IDX_FILES)
        patch.setattr(readers, "FASHION_MNIST_SHA256", tuple(hashlib.sha256(data).hexdigest() for data in unpacked))
        patch.setattr(locations, "DEBIAN_FASHION_MNIST", folder / "not here")
    train, train_labels, test, test_labels = arrays
    return Small(find_dataset(name), train[:, None], train_labels.tolist(), test[:, None], test_labels.tolist())


def photograph(path: Path, number: int, random: np.random.Generator) -> Path:
    """A JPEG with smooth contents, so that it survives compression, of one of three sizes."""
    height, width = SIZES[number % len(SIZES)]
    coarse = Image.fromarray(random.integers(256, size=(4, 4, 3), dtype=np.uint8))
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(path, "JPEG", quality=95)
    return path


def _flowers(name: str, folder: Path, random: np.random.Generator, patch: pytest.MonkeyPatch) -> Small:
    paths = [photograph(folder / f"jpg/image_{n:05d}.jpg", n, random) for n in range(1, 16)]
    labels = random.integers(1, 103, size=15)
    ids = {"trnid": [3, 1, 9], "valid": [2, 8, 15], "tstid": [4, 5, 6, 7, 10, 11, 12, 13, 14]}
    savemat(folder / "imagelabels.mat", {"labels": labels[None]})
    savemat(folder / "setid.mat", {key: np.array(value)[None] for key, value in ids.items()})
    patch.setattr(
        official.Flowers102,
        "_file_dict",
        {
            "image": ("102flowers.tgz", "0" * 32),
            "label": ("imagelabels.mat", md5(folder / "imagelabels.mat")),
            "setid": ("setid.mat", md5(folder / "setid.mat")),
        },
    )
    train, test = [n - 1 for n in ids["trnid"] + ids["valid"]], [n - 1 for n in ids["tstid"]]
    train_labels, test_labels = ([int(labels[n]) - 1 for n in part] for part in (train, test))
    return Small(find_dataset(name), [paths[n] for n in train], train_labels, [paths[n] for n in test], test_labels)


def _food(name: str, folder: Path, random: np.random.Generator, patch: pytest.MonkeyPatch) -> Small:
    (folder / "meta").mkdir(parents=True)
    parts: dict[str, tuple[list[Path], list[int]]] = {}
    for part, each in (("train", 3), ("test", 2)):
        lists = {
            dish: [f"{dish}/{part}{n}" for n in range(each)] for dish in ("waffles", "apple_pie")
        }  # not in the alphabet's order: labels are
        (folder / f"meta/{part}.json").write_text(json.dumps(lists), encoding="utf-8")
        names = [name for some in lists.values() for name in some]
        paths = [photograph(folder / f"images/{name}.jpg", n, random) for n, name in enumerate(names)]
        parts[part] = paths, [sorted(lists).index(name.split("/")[0]) for name in names]
    return Small(find_dataset(name), *parts["train"], *parts["test"])


def write_tree(folder: Path, classes: dict[str, tuple[int, int]], suffix: str = ".JPEG") -> Path:
    """train/CLASS/* and val/CLASS/*, so many photographs of each class in either."""
    random = np.random.default_rng(8)
    for label, counts in classes.items():
        for part, count in zip(("train", "val"), counts, strict=True):
            for n in range(count):
                photograph(folder / part / label / f"{label}_{n}{suffix}", n, random)
    return folder


WRITERS = {
    "mnist": _idx,
    "fashion_mnist": _idx,
    "cifar10": _cifar,
    "cifar100": _cifar,
    "flowers102": _flowers,
    "food101": _food,
}
