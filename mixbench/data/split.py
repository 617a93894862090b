"""Training and evaluation data: the dataset's own splits, or its training set with a tenth of it held out."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from mixbench.errors import RequestError
from mixbench.suite.datasets import HELD_OUT
from mixbench.suite.recipe import Recipe

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from mixbench.data.store import Images, Splits


@dataclass(frozen=True)
class Subset:
    """Some images of a split, given by their indices (N, on the host).  Copies no image."""

    source: "Images"
    indices: "Tensor"

    @cached_property
    def labels(self) -> "Tensor":
        return self.source.labels[self.indices.to(self.source.labels.device)]

    def batches(self, indices: "Iterable[Tensor]", device: "torch.device", **box: Any) -> "Iterator[Tensor]":
        """As Images.batches.  A `box` of streamed images is called with indices into the whole split."""
        return self.source.batches((self.indices[index] for index in indices), device, **box)


def select_splits(splits: "Splits", recipe: Recipe) -> "tuple[Images | Subset, Images | Subset]":
    """(training images, evaluation images) of a recipe.  The held-out images depend on the labels only.

    Raises RequestError if none would be held out.
    """
    if recipe.split == "test":
        return splits.train, splits.test
    held_out = _a_tenth_of_each_class(splits.train.labels.cpu())
    if not held_out.any():
        raise RequestError("split: val holds out a tenth of each class, and no class has ten images")
    return Subset(splits.train, (~held_out).nonzero()[:, 0]), Subset(splits.train, held_out.nonzero()[:, 0])


def _a_tenth_of_each_class(labels: "Tensor") -> "Tensor":
    """Mask of the held-out images: the first tenth (rounded down) of each class in a fixed random order.   N, bool"""
    import torch

    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(len(labels), dtype=torch.bool)
    by_class = order[labels[order].argsort(stable=True)]
    for of_class in by_class.split(labels.bincount().tolist()):
        mask[of_class[: len(of_class) // HELD_OUT]] = True
    return mask
