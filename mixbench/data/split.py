"""What is trained on and what is evaluated: the dataset's own split, or a tenth of its training set held out."""

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
class Part:
    """Some of a split's images, by their places in it.  Nothing is copied."""

    whole: "Images"
    places: "Tensor"

    @cached_property
    def labels(self) -> "Tensor":
        return self.whole.labels[self.places.to(self.whole.labels.device)]

    def batches(self, indices: "Iterable[Tensor]", device: "torch.device", **box: Any) -> "Iterator[Tensor]":
        """As the whole's, whose places a `box` of streamed images is asked for."""
        return self.whole.batches((self.places[index] for index in indices), device, **box)


def chosen(splits: "Splits", recipe: Recipe) -> "tuple[Images | Part, Images | Part]":
    """(what is trained on, what is evaluated).  What is held out depends on nothing but the labels.

    Raises RequestError where that would be nothing.
    """
    if recipe.split == "test":
        return splits.train, splits.test
    held_out = _a_tenth_of_each_class(splits.train.labels.cpu())
    if not held_out.any():
        raise RequestError("split: val holds out a tenth of each class, and no class has ten images")
    return Part(splits.train, (~held_out).nonzero()[:, 0]), Part(splits.train, held_out.nonzero()[:, 0])


def _a_tenth_of_each_class(labels: "Tensor") -> "Tensor":
    """A mask: the first tenth of each class in a fixed random order, rounded down."""
    import torch

    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(len(labels), dtype=torch.bool)
    by_class = order[labels[order].argsort(stable=True)]
    for of_class in by_class.split(labels.bincount().tolist()):
        mask[of_class[: len(of_class) // HELD_OUT]] = True
    return mask
