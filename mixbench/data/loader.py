"""Batches made on the device from uint8 images: an epoch is an order of its samples and the draws for each of them."""

from collections.abc import Iterator
from itertools import pairwise

import torch
from torch import Tensor

from mixbench.data.augment.draws import CropBox, Draws, Stream, generator
from mixbench.data.split import Part
from mixbench.data.store import Images
from mixbench.suite.datasets import Dataset
from mixbench.suite.recipe import Augment

LOT_VALUES = 512 * 3 * 32 * 32
"""How many of an image's values are augmented at once, where a batch has fewer: 512 images of CIFAR's size."""


def epoch_order(images: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch's samples: a function of seed and epoch only, never of the world size."""
    return torch.randperm(images, generator=generator(seed, epoch, Stream.ORDER))


class TrainLoader:
    """Training batches of one rank.  Each global batch is cut into consecutive shards in rank order.

    What is left at an epoch's end is dropped or, where `drop_last` is False, is a smaller batch, whose shards and
    pieces differ by at most one image; it is dropped all the same where some piece would have none.
    """

    def __init__(
        self,
        data: Images | Part,
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
        """Global batches of an epoch where each shard is cut into `pieces`."""
        whole, rest = divmod(len(self.data.labels), self.global_batch_size)
        return whole + (not self.drop_last and rest >= self.world_size * pieces)

    def images(self, pieces: int = 1) -> int:
        """How many an epoch trains on."""
        return min(len(self.data.labels), self.steps(pieces) * self.global_batch_size)

    def batch_size(self, step: int) -> int:
        """Images of an epoch's global batch `step`, over all ranks and pieces."""
        return min(self.global_batch_size, len(self.data.labels) - step * self.global_batch_size)

    def epoch(self, seed: int, epoch: int, pieces: int = 1, start: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """(images B C H W, float; labels B), each shard in `pieces` consecutive batches, from step `start` on.

        Where images are mixed, targets B classes (float, each row's sum is 1) stand in place of the labels.
        """
        return beside(self._batches(seed, epoch, pieces, start), self.device)

    def _batches(self, seed: int, epoch: int, pieces: int, start: int) -> Iterator[tuple[Tensor, Tensor]]:
        images = len(self.data.labels)
        order, draws = epoch_order(images, seed, epoch), Draws(images, self.on_device, seed, epoch)
        boxes = {"box": CropBox(self.cropped_when_read, seed, epoch)} if self.cropped_when_read else {}
        spans = [span for step in range(start, self.steps(pieces)) for span in self._spans(step, pieces)]
        loaded = [with_partners(span, images) if draws.mixes else span for span in spans]
        lots = self._lots([order[wide.start : wide.stop] for wide in loaded])
        read = self.data.batches((torch.cat(lot) for lot in lots), self.device, **boxes)
        made = (each for lot, batch in zip(lots, read, strict=True) for each in self._augmented(batch, lot, draws))
        for span, wide, (batch, labels, index) in zip(spans, loaded, made, strict=True):
            if draws.mixes:
                partner = partners(wide, images) - wide.start
                batch, labels = draws.mix(batch, labels, index, partner, self.dataset.classes)
            own = slice(span.start - wide.start, span.stop - wide.start)
            yield batch[own], labels[own]

    def _augmented(self, images: Tensor, lot: list[Tensor], draws: Draws) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Each of a lot's batches, normalised, with its labels and its samples' indices."""
        index, sizes = torch.cat(lot), [len(each) for each in lot]
        images = self.normalize(draws.apply(images, index, self.dataset.image_size))
        images, labels = draws.erase(images, index), self.data.labels[index.to(self.device)]
        return zip(images.split(sizes), labels.split(sizes), lot, strict=True)

    def _lots(self, batches: list[Tensor]) -> list[list[Tensor]]:
        """Batches that are augmented together: what is done to a few images alike costs nearly what one costs."""
        values = self.dataset.channels * self.dataset.image_size**2 * max(map(len, batches), default=1)
        size = max(1, LOT_VALUES // values)
        return [batches[at : at + size] for at in range(0, len(batches), size)]

    def _spans(self, step: int, pieces: int) -> list[range]:
        """Positions in the epoch's order of this rank's pieces of a global batch."""
        start = step * self.global_batch_size
        shard = cut(range(start, start + self.batch_size(step)), self.world_size)[self.rank]
        return cut(shard, pieces)


def beside(batches: Iterator[tuple[Tensor, Tensor]], device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
    """The same batches.  A GPU makes them on a stream of their own, while it still trains on those before.

    Augmenting copies numbers from the host and waits for them: on the training's stream it would wait for that too.
    """
    if device.type != "cuda":
        yield from batches
        return
    making, training = torch.cuda.Stream(device, priority=-1), torch.cuda.current_stream(device)
    making.wait_stream(training)  # images and labels may still be on their way
    while True:
        with torch.cuda.stream(making):
            batch = next(batches, None)
        if batch is None:
            return
        training.wait_stream(making)
        for part in batch:
            part.record_stream(training)
        yield batch


def cut(span: range, parts: int) -> list[range]:
    """Consecutive parts whose sizes differ by at most one."""
    edges = [span.start + len(span) * part // parts for part in range(parts + 1)]
    return [range(start, stop) for start, stop in pairwise(edges)]


def partners(span: range, images: int) -> Tensor:
    """The positions that those of a span are mixed with: 2k and 2k + 1 with each other, a last odd one with itself."""
    return (torch.arange(span.start, span.stop) ^ 1).clamp(max=images - 1)


def with_partners(span: range, images: int) -> range:
    """A span widened to whole pairs."""
    return range(span.start // 2 * 2, min((span.stop + 1) // 2 * 2, images))


class Normalize:
    """uint8 → float: scaled to [0, 1], less the mean, over the standard deviation."""

    def __init__(self, dataset: Dataset, device: torch.device):
        self.mean = 255 * torch.tensor(dataset.mean, device=device)[:, None, None]
        self.std = 255 * torch.tensor(dataset.std, device=device)[:, None, None]

    def __call__(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


def evaluation_batches(
    data: Images | Part, dataset: Dataset, batch_size: int, rank: int, world_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """This rank's share of the split, every world_size-th image: over all ranks each image exactly once."""
    device = data.labels.device
    normalize = Normalize(dataset, device)
    share = torch.arange(len(data.labels))[rank::world_size]
    shares = share.split(batch_size) if len(share) else ()
    for index, images in zip(shares, data.batches(shares, device), strict=True):
        yield normalize(images), data.labels[index.to(device)]
