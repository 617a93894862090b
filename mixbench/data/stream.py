"""Images of a set too large for memory: decoded, or read decoded, when asked for, by processes of torch's DataLoader.

A training image is what the box that is drawn for it shows, resized: RandomResizedCrop.  Without a box, as in testing,
it is resized so that the middle of its shorter side, `crop` of it, is the image: Resize and CenterCrop.
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

from mixbench.data.decode import end_with_parent, open_rgb, resized
from mixbench.data.pixel_cache import Pixels
from mixbench.errors import RequestError

Box = Callable[[int, int, int], tuple[int, int, int, int] | None]
"""(sample index, height, width) → (top, left, height, width) of what is seen of that image; None for its centre.

It is pickled with every batch: it should carry a seed and an epoch, not the numbers drawn for all samples.
"""
DEFAULT_CROP = 0.875
BATCHES_AHEAD = 2
"""Of each process."""


class StreamedImages:
    """Files in place of a tensor; labels: N, int64, on the device.  The same `batches` as Images.

    Where there are `pixels`, the files are decoded already.
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
    ):
        self.labels = labels
        self.workers = workers
        self._decoder = _Decoder(paths, pixels, image_size, crop, resampling)
        self._asked = _Asked()
        self._loader: DataLoader[Any] | None = None

    def on(self, device: torch.device, whole: bool) -> "StreamedImages":
        """With its labels on the device; the images never lie there whole."""
        moved = copy.copy(self)
        moved.labels = self.labels.to(device)
        return moved

    def batches(self, indices: Iterable[Tensor], device: torch.device, box: Box | None = None) -> Iterator[Tensor]:
        """For each tensor of sample indices (on the host) its images B C H W, uint8, on the device.

        One iteration at a time: a new one ends the last.  Raises RequestError where a file cannot be decoded.
        """
        self._asked.batches, self._asked.box = indices, box
        if self._loader is None:
            self._loader = self._start(device)
        for images in self._loader:
            if isinstance(images, RequestError):
                raise images
            yield images.to(device, non_blocking=True)

    def _start(self, device: torch.device) -> "DataLoader[Any]":
        """Processes that stay for all epochs.  Their seeds come from a generator of their own: none is used, and the
        run's random numbers are not to depend on whether images are streamed."""
        processes = get_context("forkserver")
        processes.set_forkserver_preload(["__main__", __name__])  # torch is imported once, not in each of them
        return DataLoader(
            self._decoder,  # type: ignore[arg-type]
            batch_sampler=self._asked,  # type: ignore[arg-type]
            num_workers=self.workers,
            prefetch_factor=BATCHES_AHEAD,
            persistent_workers=True,
            worker_init_fn=end_with_parent,
            collate_fn=_as_it_is,
            pin_memory=device.type == "cuda",
            multiprocessing_context=processes,
            generator=torch.Generator(),
        )


class _Asked:
    """What the loader is asked for next: its sampler, of which every item is one batch, as _Decoder takes it."""

    batches: Iterable[Tensor] = ()
    box: Box | None = None

    def __iter__(self) -> Iterator[tuple[Box | None, list[int]]]:
        return ((self.box, index.tolist()) for index in self.batches)


class _Decoder:
    """What each process has of the set: the paths as one array, which is sent to it far faster than a list."""

    def __init__(self, paths: Sequence[Path], pixels: Pixels | None, image_size: int, crop: float, resampling: str):
        self.paths, self.pixels = np.array([os.fsencode(path) for path in paths]), pixels
        self.image_size, self.crop, self.resampling = image_size, crop, resampling

    def __len__(self) -> int:
        return len(self.paths)

    def __getitems__(self, batch: tuple[Box | None, list[int]]) -> Tensor | RequestError:
        """An error is returned: one that is raised would come with the traceback of another process in its text."""
        box, index = batch
        try:
            return torch.from_numpy(np.stack([self._decode(sample, box) for sample in index]))
        except RequestError as error:
            return error

    def _decode(self, sample: int, box: Box | None) -> np.ndarray:
        image = self.pixels.image(sample) if self.pixels else None
        image = image or open_rgb(os.fsdecode(self.paths[sample]))
        seen = box(sample, image.height, image.width) if box else None
        if seen is None:
            return centre(image, self.image_size, self.crop, self.resampling)
        top, left, height, width = seen
        return resized(image.crop((left, top, left + width, top + height)), self.image_size, self.image_size)


def centre(image: Image.Image, size: int, crop: float, resampling: str = "bilinear") -> np.ndarray:
    """torchvision's Resize(size / crop), of the shorter side, and CenterCrop(size).   C H W"""
    shorter = int(size / crop)
    if image.height <= image.width:
        height, width = shorter, int(shorter * image.width / image.height)
    else:
        height, width = int(shorter * image.height / image.width), shorter
    top, left = round((height - size) / 2), round((width - size) / 2)
    return resized(image, height, width, resampling)[:, top : top + size, left : left + size]


def _as_it_is(batch: Any) -> Any:
    return batch
