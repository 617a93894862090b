"""From files to arrays: where a dataset lies on this machine, verified, as one uint8 tensor."""

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mixbench.data.datasets import Dataset, find_dataset
from mixbench.errors import RequestError

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
# the four files of Fashion-MNIST with the SHA-256 sums of their unpacked contents (Debian packs them anew; with the
# authors' names and times put back into the gzip headers, its files have the MD5 sums that torchvision checks)
FASHION_MNIST_FILES = {
    "train-images-idx3-ubyte.gz": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte.gz": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte.gz": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte.gz": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}


@dataclass(frozen=True)
class Images:
    """images: N C H W, uint8, on the device or on the host; labels: N, int64, on the device."""

    images: Tensor
    labels: Tensor

    def batches(self, indices: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """For each tensor of sample indices (on the host) its images B C H W, uint8, on the device."""
        for index in indices:
            yield self.images[index.to(self.images.device)].to(device)


@dataclass(frozen=True)
class Splits:
    train: Images
    test: Images


def data_root() -> Path:
    """Where downloads are kept: `$MIXBENCH_DATA`, else XDG's data folder."""
    if chosen := os.environ.get("MIXBENCH_DATA"):
        return Path(chosen)
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "mixbench"


def load(name: str) -> Splits:
    """Both splits of a dataset.  Raises RequestError where its files are missing or are not what they should be."""
    dataset = find_dataset(name)
    splits = {"digits": _digits, "fashion_mnist": _fashion_mnist}[name]()
    _verify(dataset, splits)
    return splits


def require(name: str) -> None:
    """Make sure, before any process is started, that a dataset can be loaded; fetch it where that is possible.

    Raises RequestError where it is neither there nor to be fetched.
    """
    if name == "fashion_mnist":
        _fashion_mnist_folder()


def _verify(dataset: Dataset, splits: Splits) -> None:
    shape = (dataset.channels, dataset.image_size, dataset.image_size)
    for part, count in ((splits.train, dataset.train_images), (splits.test, dataset.test_images)):
        if tuple(part.images.shape) != (count, *shape) or len(part.labels) != count:
            raise RequestError(
                f"{dataset.name}: found images of shape {tuple(part.images.shape)}, not {(count, *shape)}"
            )


def _digits() -> Splits:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]  # grey levels 0..16
    parts = train_test_split(images, digits.target, test_size=0.2, stratify=digits.target, random_state=0)
    train, test, train_labels, test_labels = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
    return Splits(Images(train, train_labels.long()), Images(test, test_labels.long()))


def _fashion_mnist() -> Splits:
    folder = _fashion_mnist_folder()
    train_images, train_labels, test_images, test_labels = (
        _idx(folder / file, checksum) for file, checksum in FASHION_MNIST_FILES.items()
    )
    train = Images(train_images[:, None], train_labels.long())
    return Splits(train, Images(test_images[:, None], test_labels.long()))


def find_fashion_mnist() -> Path | None:
    """The folder with the four files, Debian's or torchvision's; None where neither is here."""
    for folder in (DEBIAN_FASHION_MNIST, _downloaded()):
        if all((folder / file).is_file() for file in FASHION_MNIST_FILES):
            return folder
    return None


def _downloaded() -> Path:
    return data_root() / "FashionMNIST" / "raw"


def _fashion_mnist_folder() -> Path:
    """The folder with the four files, downloaded by torchvision if need be."""
    if folder := find_fashion_mnist():
        return folder
    from torchvision.datasets import FashionMNIST

    try:
        FashionMNIST(data_root(), train=True, download=True)
    except (OSError, RuntimeError) as error:
        raise RequestError(
            f"fashion_mnist is not on this machine (looked in {DEBIAN_FASHION_MNIST} and {_downloaded()}) and could "
            f"not be downloaded: {' '.join(str(error).split())}. On Debian: apt-get install dataset-fashion-mnist"
        ) from None
    return _downloaded()


def _idx(path: Path, checksum: str) -> Tensor:
    """A gzipped file in the MNIST authors' idx format: two zero bytes, type (8: uint8), rank, sizes, values.

    Raises RequestError where the contents are not what the checksum says.
    """
    try:
        data = gzip.decompress(path.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise RequestError(f"{path} cannot be unpacked ({error}); delete it, and it is fetched again") from None
    if hashlib.sha256(data).hexdigest() != checksum:
        raise RequestError(f"{path} is damaged: its contents have another checksum; delete it, and it is fetched again")
    rank = data[3]
    shape = np.frombuffer(data, dtype=">u4", count=rank, offset=4).astype(int)
    values = np.frombuffer(data, dtype=np.uint8, offset=4 + 4 * rank).reshape(shape)
    return torch.from_numpy(values.copy())
