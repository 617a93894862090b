"""Batches made on the device: the whole split lies there as uint8, an epoch is an order of its indices."""

from collections.abc import Iterator

import torch
from torch import Tensor

from mixbench.data.datasets import Dataset
from mixbench.data.store import Images
from mixbench.trial import Augment


def epoch_order(images: int, seed: int, epoch: int) -> Tensor:
    """The order of an epoch's samples: a function of seed and epoch only, never of the world size."""
    return torch.randperm(images, generator=_generator(seed, epoch, stream=0))


class TrainLoader:
    """Training batches of one rank.  Each global batch is cut into equal shards in rank order; the rest is dropped."""

    def __init__(
        self, data: Images, dataset: Dataset, augment: Augment, global_batch_size: int, rank: int, world_size: int
    ):
        self.data, self.augment = data, augment
        self.normalize = Normalize(dataset, data.images.device)
        self.global_batch_size = global_batch_size
        self.shard = global_batch_size // world_size
        self.rank = rank

    def __len__(self) -> int:
        return len(self.data.labels) // self.global_batch_size

    def epoch(self, seed: int, epoch: int, pieces: int = 1) -> Iterator[tuple[Tensor, Tensor]]:
        """(images B C H W, float; labels B), each shard in `pieces` consecutive batches of equal size."""
        device = self.data.images.device
        order = epoch_order(len(self.data.labels), seed, epoch)
        draws = Draws(len(order), self.augment, seed, epoch)
        for batch in range(len(self)):
            start = batch * self.global_batch_size + self.rank * self.shard
            for index in order[start : start + self.shard].chunk(pieces):
                images = self.data.images[index.to(device)]
                yield self.normalize(draws.apply(images, index)), self.data.labels[index.to(device)]


class Draws:
    """The random choices of one epoch, one per sample, so that they follow the sample wherever it is processed."""

    def __init__(self, images: int, augment: Augment, seed: int, epoch: int):
        generator = _generator(seed, epoch, stream=1)
        self.padding = augment.crop_padding
        self.flip = torch.rand(images, generator=generator) < 0.5 if augment.flip else None
        self.offset = torch.randint(2 * self.padding + 1, (images, 2), generator=generator) if self.padding else None

    def apply(self, images: Tensor, index: Tensor) -> Tensor:
        """Flip and crop uint8 images B C H W, the crop with zeros around, as drawn for the samples `index`."""
        if self.offset is not None:
            images = crop(images, self.offset[index].to(images.device), self.padding)
        if self.flip is not None:
            flipped = self.flip[index].to(images.device)[:, None, None, None]
            images = torch.where(flipped, images.flip(-1), images)
        return images


def crop(images: Tensor, offset: Tensor, padding: int) -> Tensor:
    """Each image padded with zeros on all sides and cut back to its size at offset (row, column) B 2."""
    size = images.shape[-1]
    padded = torch.nn.functional.pad(images, (padding,) * 4)
    steps = torch.arange(size, device=images.device)
    rows = (offset[:, 0, None] + steps)[:, None, :, None]  # B 1 H 1
    columns = (offset[:, 1, None] + steps)[:, None, None, :]  # B 1 1 W
    batch = torch.arange(len(images), device=images.device)[:, None, None, None]
    channel = torch.arange(images.shape[1], device=images.device)[None, :, None, None]
    return padded[batch, channel, rows, columns]


class Normalize:
    """uint8 → float: scaled to [0, 1], less the mean, over the standard deviation."""

    def __init__(self, dataset: Dataset, device: torch.device):
        self.mean = 255 * torch.tensor(dataset.mean, device=device)[:, None, None]
        self.std = 255 * torch.tensor(dataset.std, device=device)[:, None, None]

    def __call__(self, images: Tensor) -> Tensor:
        return (images - self.mean) / self.std


def evaluation_batches(
    data: Images, dataset: Dataset, batch_size: int, rank: int, world_size: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """This rank's share of the split, every world_size-th image: over all ranks each image exactly once."""
    normalize = Normalize(dataset, data.images.device)
    for index in torch.arange(rank, len(data.labels), world_size, device=data.images.device).split(batch_size):
        yield normalize(data.images[index]), data.labels[index]


def _generator(seed: int, epoch: int, stream: int) -> torch.Generator:
    """Streams of one epoch are independent; so are epochs and seeds."""
    import numpy as np

    state = np.random.SeedSequence([seed, epoch, stream]).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) >> 1)
