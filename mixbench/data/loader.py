"""Training and evaluation batches, made on the device from uint8 images.

An epoch is a permutation of the samples, and the random draws of each sample's augmentation.
"""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from mixbench.data.augment.draws import CropBox, Draws, Stream, generator
from mixbench.data.split import Subset
from mixbench.data.store import Images
from mixbench.suite.datasets import Dataset
from mixbench.suite.recipe import Augment

AUGMENTED_VALUES = 512 * 3 * 32 * 32
"""Values (pixels × channels) augmented at once, if a batch has fewer: those of 512 CIFAR images."""


def epoch_order(images: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch's samples; depends on seed and epoch only, never on the world size.   N"""
    return torch.randperm(images, generator=generator(seed, epoch, Stream.ORDER))


class TrainLoader:
    """Training batches of one rank.  A global batch is split into consecutive shards, one per rank, in rank order.

    A shard is split into `pieces`, the micro-batches of gradient accumulation.  An incomplete last batch is dropped;
    with `drop_last=False` it is kept, in shards and pieces that differ by at most one image, unless one would be empty.
    """

    def __init__(
        self,
        data: Images | Subset,
        dataset: Dataset,
        augment: Augment,
        global_batch_size: int,
        rank: int,
        world_size: int,
        drop_last: bool = True,
    ):
        self.data, self.dataset = data, dataset
        self.cropped_when_read = augment.resize_crop if dataset.streamed else None
        self.on_device = augment.model_copy(update={"resize_crop": None}) if dataset.streamed else augment
        self.device = data.labels.device  # images may lie on the host
        self.normalize = Normalize(dataset, self.device)
        self.global_batch_size = global_batch_size
        self.rank, self.world_size = rank, world_size
        self.drop_last = drop_last

    def steps(self, pieces: int = 1) -> int:
        """Global batches (optimizer steps) in an epoch, if each shard is split into `pieces`."""
        whole, rest = divmod(len(self.data.labels), self.global_batch_size)
        return whole + (not self.drop_last and rest >= self.world_size * pieces)

    def images(self, pieces: int = 1) -> int:
        """Images that an epoch trains on."""
        return min(len(self.data.labels), self.steps(pieces) * self.global_batch_size)

    def batch_size(self, step: int) -> int:
        """Images in an epoch's global batch number `step`, over all ranks and pieces."""
        return min(self.global_batch_size, len(self.data.labels) - step * self.global_batch_size)

    def epoch(self, seed: int, epoch: int, pieces: int = 1, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images B C H W, float; labels B) of this rank, `pieces` batches per step, from step `start` on.

        With mixup or CutMix, targets B classes (float, each row sums to 1) replace the labels.
        """
        return on_side_stream(self._batches(seed, epoch, pieces, start), self.device)

    def _batches(self, seed: int, epoch: int, pieces: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        images = len(self.data.labels)
        order, draws = epoch_order(images, seed, epoch), Draws(images, self.on_device, seed, epoch)
        boxes = {"box": CropBox(self.cropped_when_read, seed, epoch)} if self.cropped_when_read else {}
        spans = [span for step in range(start, self.steps(pieces)) for span in self._spans(step, pieces)]
        loaded = [with_partners(span, images) if draws.mixes else span for span in spans]
        groups = self._augmented_together([order[wide.start : wide.stop] for wide in loaded])
        read = self.data.batches((torch.cat(group) for group in groups), self.device, **boxes)
        made = (
            each for group, batch in zip(groups, read, strict=True) for each in self._augmented(batch, group, draws)
        )
        for span, wide, (batch, labels, index) in zip(spans, loaded, made, strict=True):
            if draws.mixes:
                partner = partners(wide, images) - wide.start
                batch, labels = draws.mix(batch, labels, index, partner, self.dataset.classes)
            own = slice(span.start - wide.start, span.stop - wide.start)
            yield batch[own], labels[own]

    def _augmented(self, images: Tensor, group: list[Tensor], draws: Draws) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Augment and normalise a group's images; return (images, labels, sample indices) of each of its batches."""
        index, sizes = torch.cat(group), [len(each) for each in group]
        images = self.normalize(draws.apply(images, index, self.dataset.image_size))
        images, labels = draws.erase(images, index), self.data.labels[index.to(self.device)]
        return zip(images.split(sizes), labels.split(sizes), group, strict=True)

    def _augmented_together(self, batches: list[Tensor]) -> list[list[Tensor]]:
        """Group small batches for augmentation: a kernel on a few images takes nearly as long as on one."""
        values = self.dataset.channels * self.dataset.image_size**2 * max(map(len, batches), default=1)
        size = max(1, AUGMENTED_VALUES // values)
        return [batches[at : at + size] for at in range(0, len(batches), size)]

    def _spans(self, step: int, pieces: int) -> list[range]:
        """Positions, in the epoch's order, of this rank's pieces of a global batch."""
        start = step * self.global_batch_size
        shard = split_evenly(range(start, start + self.batch_size(step)), self.world_size)[self.rank]
        return split_evenly(shard, pieces)


def on_side_stream(batches: Iterator[tuple[Tensor, Tensor]], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the same batches; a GPU makes them on a CUDA stream of their own, while it trains on the previous ones.

    Augmentation waits for copies from the host: on the training's stream it would wait for the training too.
    """
    if device.type != "cuda":
        yield from batches
        return
    making, training = torch.cuda.Stream(device, priority=-1), torch.cuda.current_stream(device)
    making.wait_stream(training)  # images and labels may still be being copied to the device
    while True:
        with torch.cuda.stream(making):
            batch = next(batches, None)
        if batch is None:
            return
        training.wait_stream(making)
        for part in batch:
            part.record_stream(training)
        yield batch


def split_evenly(span: range, parts: int) -> list[range]:
    """Split a range into consecutive parts whose sizes differ by at most one."""
    edges = [span.start + len(span) * part // parts for part in range(parts + 1)]
    return [range(start, stop) for start, stop in pairwise(edges)]


def partners(span: range, images: int) -> Tensor:
    """Position that each of a span is mixed with: 2k and 2k + 1 with each other, an odd last one with itself.   B"""
    return (torch.arange(span.start, span.stop) ^ 1).clamp(max=images - 1)


def with_partners(span: range, images: int) -> range:
    """A span widened to whole pairs (see `partners`)."""
    return range(span.start // 2 * 2, min((span.stop + 1) // 2 * 2, images))


class Normalize:
    """uint8 → float: scaled to [0, 1], minus the mean, divided by the standard deviation."""

    def __init__(self, dataset: Dataset, device: torch.device):
        self.mean = 255 * torch.tensor(dataset.mean, device=device)[:, None, None]
        self.std = 255 * torch.tensor(dataset.std, device=device)[:, None, None]

    def __call__(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


def evaluation_batches(
    data: Images | Subset, dataset: Dataset, batch_size: int, rank: int, world_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (images B C H W, float; labels B) of this rank's share: every world_size-th image of the split.

    Over all ranks, each image occurs exactly once.  All ranks get as many batches, as ZeRO's stage 3 exchanges weights
    in each forward: in place of one that a rank lacks it gets a single image, without a label.
    """
    device = data.labels.device
    normalize = Normalize(dataset, device)
    count = len(data.labels)
    batches = math.ceil(math.ceil(count / world_size) / batch_size)
    share = torch.arange(count)[rank::world_size]
    shares = [share[at * batch_size : (at + 1) * batch_size] for at in range(batches)]
    read = [index if len(index) else torch.zeros(1, dtype=torch.int64) for index in shares]
    for index, images in zip(shares, data.batches(read, device), strict=True):
        yield normalize(images), data.labels[index.to(device)]
