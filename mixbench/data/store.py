"""Load a dataset: both splits, verified, as uint8 tensors on the device or on the host."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import Tensor

from mixbench.data.array_cache import Cache, Say, cached
from mixbench.data.pixel_cache import decoded_pixels
from mixbench.data.readers import Raw, read
from mixbench.data.stream import DEFAULT_CROP, StreamedImages
from mixbench.suite.datasets import Dataset
from mixbench.system.host import usable_cores

BATCHES_AHEAD = 3
SHARE_OF_FREE_MEMORY = 0.5
"""A dataset is moved to the GPU if its images fit in this share of the free memory; the rest is for the model."""


@dataclass(frozen=True)
class Images:
    """One split.  images: N C H W, uint8, on the device or on the host; labels: N, int64, on the device."""

    images: Tensor
    labels: Tensor

    def batches(self, indices: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
        """Yield, for each tensor of sample indices (B, on the host), its images B C H W, uint8, on the device."""
        if self.images.device.type == device.type:
            return (self.images[index.to(self.images.device)] for index in indices)
        return gathered(self.images, indices, device)

    @property
    def nbytes(self) -> int:
        """Bytes that the images take on a device."""
        return self.images.nbytes

    def on(self, device: torch.device, with_images: bool) -> "Images":
        """The same split with its labels on the device, and its images too if `with_images`."""
        return Images(self.images.to(device) if with_images else self.images, self.labels.to(device))


def gathered(images: Tensor, indices: Iterable[Tensor], device: torch.device) -> Iterator[Tensor]:
    """Yield batches of images that stay on the host; a thread gathers them up to BATCHES_AHEAD batches in advance.

    Gathers into pinned memory for a GPU: only copies from there are asynchronous.  torch reuses a pinned buffer only
    after the copy from it has finished.
    """
    pinned = device.type == "cuda"
    waiting: deque[Future[Tensor]] = deque()
    with ThreadPoolExecutor(1, thread_name_prefix="gather") as thread:
        for index in indices:
            waiting.append(thread.submit(_gather, images, index, pinned))
            if len(waiting) > BATCHES_AHEAD:
                yield waiting.popleft().result().to(device, non_blocking=True)
        while waiting:
            yield waiting.popleft().result().to(device, non_blocking=True)


def _gather(images: Tensor, index: Tensor, pinned: bool) -> Tensor:
    batch = torch.empty((len(index), *images.shape[1:]), dtype=images.dtype, pin_memory=pinned)
    return torch.index_select(images, 0, index, out=batch)


@dataclass(frozen=True)
class Splits:
    """Both splits, of Images or of StreamedImages: loaders use only `labels` and `batches`, which both have."""

    train: Images
    test: Images

    def on(self, device: torch.device) -> "Splits":
        """Both splits with their labels on the device, and their images too if SHARE_OF_FREE_MEMORY holds them."""
        size = self.train.nbytes + self.test.nbytes
        fits = device.type != "cuda" or size <= SHARE_OF_FREE_MEMORY * torch.cuda.mem_get_info(device)[0]
        return Splits(self.train.on(device, fits), self.test.on(device, fits))


def load(
    dataset: Dataset,
    say: Say = lambda activity, done, total: None,
    test_crop: float | None = None,
    processes: int = 1,
) -> Splits:
    """Load both splits of a dataset onto the host.  `say` gets the progress of decoding, which is done once.

    Only streamed images use `test_crop` and `processes`, the number of processes that share this machine's cores.
    Raises RequestError if files are missing or damaged.
    """
    train, test = read(dataset)
    if dataset.streamed:
        parts, crop = {"train": train, "test": test}, test_crop or DEFAULT_CROP
        streams = (_streamed(dataset, part, raw, crop, processes, say) for part, raw in parts.items())
        return Splits(*cast(Iterable[Images], streams))
    train_side = dataset.train_side or dataset.image_size
    return Splits(
        _images(dataset, "train", train, train_side, say),
        _images(dataset, "test", test, dataset.image_size, say),
    )


def _streamed(dataset: Dataset, part: str, raw: Raw, crop: float, processes: int, say: Say) -> StreamedImages:
    assert not isinstance(raw.images, np.ndarray), "only files are streamed"
    pixels = decoded_pixels(dataset, part, raw.images, say) if dataset.decoded else None
    workers = max(1, usable_cores() // processes)
    size, resampling = dataset.image_size, dataset.resampling
    return StreamedImages(raw.images, _labels(raw), size, crop, workers, resampling, pixels, dataset.bits)


def _labels(raw: Raw) -> Tensor:
    return torch.from_numpy(np.asarray(raw.labels, dtype=np.int64))


def _images(dataset: Dataset, part: str, raw: Raw, side: int, say: Say) -> Images:
    """An array of the right size as it is; other arrays and image files from the cache."""
    labels = _labels(raw)
    if isinstance(raw.images, np.ndarray) and raw.images.shape[1:] == (dataset.channels, side, side):
        return Images(torch.from_numpy(np.ascontiguousarray(raw.images)), labels)
    return Images(_mapped(cached(f"{dataset.name}-{part}", raw.images, dataset.channels, side, say)), labels)


def _mapped(cache: Cache) -> Tensor:
    """The cache file as a memory-mapped tensor; writing to it changes this process's copy only."""
    return torch.from_file(str(cache.path), shared=False, size=cache.bytes, dtype=torch.uint8).view(cache.shape)
