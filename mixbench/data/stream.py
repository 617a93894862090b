"""Images of a dataset too large for memory: decoded, or read from a pixel cache, by a DataLoader's worker processes.

Training: the box drawn for each image, resized (RandomResizedCrop).  Testing, without a box: the image resized so that
the central square of `crop` times its shorter side has the image size (Resize and CenterCrop).
"""

import copy
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader

from mixbench.data.decode import DIED, cannot_start, end_with_parent, open_rgb, resized
from mixbench.data.pixel_cache import Pixels
from mixbench.data.shared_batch import SharedBatch
from mixbench.errors import RequestError

Box = Callable[[int, int, int], tuple[int, int, int, int] | None]
"""(sample index, height, width) → (top, left, height, width) of the crop of that image; None for the central crop.

Pickled with every batch: it should hold a seed and an epoch, not the draws of all samples.
"""
DEFAULT_CROP = 0.875
MOST_ELONGATED = 16
"""The longer side of a test image over the shorter, up to which it is resized whole, as torchvision does it."""
BATCHES_AHEAD = 2
"""Batches that each worker process decodes in advance."""


class StreamedImages:
    """A split whose images are read from files for each batch, with the interface of Images.

    labels: N, int64, on the device.  `pixels` is the cache of the decoded images, if there is one.
    """

    nbytes = 0

    def __init__(
        self,
        paths: Sequence[Path],
        labels: Tensor,
        image_size: int,
        crop: float,
        workers: int,
        resampling: str = "bilinear",
        pixels: Pixels | None = None,
        bits: int = 0,
    ):
        self.labels = labels
        self.workers = workers
        self._decoder = _Decoder(paths, pixels, image_size, crop, resampling, bits)
        self._requests = _Requests()
        self._loader: DataLoader[Any] | None = None

    def on(self, device: torch.device, with_images: bool) -> "StreamedImages":
        """The same split with its labels on the device; its images are never moved there as a whole."""
        moved = copy.copy(self)
        moved.labels = self.labels.to(device)
        return moved

    def batches(self, indices: Iterable[Tensor], device: torch.device, box: Box | None = None) -> Iterator[Tensor]:
        """Yield, for each tensor of sample indices (B, on the host), its images B C H W, uint8, on the device.

        One iteration at a time: starting another ends it.  Raises RequestError if a file cannot be decoded.
        """
        self._requests.batches, self._requests.box = indices, box
        for images in self._received(device):
            if isinstance(images, RequestError):
                raise images
            yield images.to(device, non_blocking=True)

    def _received(self, device: torch.device) -> Iterator[Tensor | RequestError]:
        """Yield what the worker processes send.  Raises RequestError if they cannot be started, or one of them dies.

        After an error, the next iteration starts new ones: a DataLoader would wait forever for those that have died.
        """
        if self._loader is None:
            self._loader = self._start(device)
        try:
            yield from _begun(self._loader)
        except (RequestError, RuntimeError, ConnectionError, EOFError) as error:
            self._loader = None
            if isinstance(error, ConnectionError | EOFError) or "exited unexpectedly" in str(error):
                raise RequestError(f"{DIED}: {error}") from None
            raise

    def _start(self, device: torch.device) -> "DataLoader[Any]":
        """Start worker processes, which are kept for all epochs.

        They use no random numbers.  A generator of their own keeps the DataLoader, which seeds them all the same, from
        drawing from torch's global one: a run's random numbers must not depend on streaming.
        """
        processes = get_context("forkserver")
        processes.set_forkserver_preload(["__main__", __name__])  # imports torch once, not in each worker
        return DataLoader(
            self._decoder,  # type: ignore[arg-type]
            batch_sampler=self._requests,  # type: ignore[arg-type]
            num_workers=self.workers,
            prefetch_factor=BATCHES_AHEAD,
            persistent_workers=True,
            worker_init_fn=end_with_parent,
            collate_fn=_unchanged,
            pin_memory=device.type == "cuda",
            multiprocessing_context=processes,
            generator=torch.Generator(),
        )


def _begun(loader: "DataLoader[Any]") -> Iterator[Any]:
    """Begin an iteration; the first one starts the worker processes."""
    try:
        return iter(loader)
    except ConnectionError:  # to a process that has died since the last one
        raise
    except OSError as error:
        raise cannot_start(error) from None


class _Requests:
    """The DataLoader's batch sampler: yields one request (box, sample indices) per batch, for _Decoder."""

    batches: Iterable[Tensor] = ()
    box: Box | None = None

    def __iter__(self) -> Iterator[tuple[Box | None, list[int]]]:
        return ((self.box, index.tolist()) for index in self.batches)


class _Decoder:
    """The DataLoader's dataset, in each worker.  Holds the paths in one array, which pickles far faster than a list."""

    def __init__(
        self, paths: Sequence[Path], pixels: Pixels | None, image_size: int, crop: float, resampling: str, bits: int
    ):
        self.paths, self.pixels = np.array([os.fsencode(path) for path in paths]), pixels
        self.image_size, self.crop, self.resampling, self.bits = image_size, crop, resampling, bits

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, batch: tuple[Box | None, list[int]]) -> SharedBatch | RequestError:
        """The images B C H W of a request.  Returns a RequestError: if raised, its text would include a traceback."""
        box, index = batch
        try:
            shared = SharedBatch(len(index), 3, self.image_size, self.image_size)
            for image, sample in zip(shared.array, index, strict=True):
                image[:] = self._decode(sample, box)
            return shared
        except RequestError as error:
            return error

    def _decode(self, sample: int, box: Box | None) -> np.ndarray:
        image = self.pixels.image(sample) if self.pixels else None
        image = image or open_rgb(os.fsdecode(self.paths[sample]), self.bits)
        drawn = box(sample, image.height, image.width) if box else None
        if drawn is None:
            return centre(image, self.image_size, self.crop, self.resampling)
        top, left, height, width = drawn
        return resized(image.crop((left, top, left + width, top + height)), self.image_size, self.image_size)


def centre(image: Image.Image, size: int, crop: float, resampling: str = "bilinear") -> np.ndarray:
    """The central crop of an image: torchvision's Resize(size / crop), then CenterCrop(size).   C H W"""
    image, shorter = _without_far_ends(image), int(size / crop)
    if image.height <= image.width:
        height, width = shorter, int(shorter * image.width / image.height)
    else:
        height, width = int(shorter * image.height / image.width), shorter
    top, left = round((height - size) / 2), round((width - size) / 2)
    return resized(image, height, width, resampling)[:, top : top + size, left : left + size]


def _without_far_ends(image: Image.Image) -> Image.Image:
    """Cut the ends, which no central crop shows, off a strip that would take gigabytes if it were resized whole."""
    height, width = (min(side, MOST_ELONGATED * min(image.size) + side % 2) for side in (image.height, image.width))
    if (height, width) == (image.height, image.width):
        return image
    top, left = (image.height - height) // 2, (image.width - width) // 2
    return image.crop((left, top, left + width, top + height))


def _unchanged(batch: Any) -> Any:
    return batch
