"""Which images a model gets wrong, by the predictions of one trial, and which ones two models get wrong together."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixbench.run.predictions import Predictions

Classes = NDArray[np.unsignedinteger]


@dataclass(frozen=True)
class Overlap:
    """Two models on the same images, in numbers of images; `same`: those of which both predict the same class.

    Over several seeds each is a mean, so not a whole number.
    """

    both_right: float
    only_a: float
    only_b: float
    both_wrong: float
    same: float

    @property
    def images(self) -> float:
        return self.both_right + self.only_a + self.only_b + self.both_wrong

    @property
    def same_share(self) -> float:
        """The share of the images of which both predict the same class, from 0 to 1."""
        return self.same / self.images


def top1(predictions: Predictions) -> float:
    """Return the percentage of images that are right: to the last bit that of the record."""
    return 100 / len(predictions.labels) * int(predictions.right.sum())


def confusion_matrix(predictions: Predictions, classes: int) -> NDArray[np.int64]:
    """Return the numbers of images: a row for each true class, a column for each predicted one.   K K"""
    pairs = predictions.labels.astype(np.int64) * classes + predictions.predicted
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def top1_by_class(predictions: Predictions, classes: int) -> NDArray[np.float64]:
    """Return the percentage of each true class's images that are right; NaN for a class without images.   K"""
    images = np.bincount(predictions.labels, minlength=classes)
    right = np.bincount(predictions.labels[predictions.right], minlength=classes)
    return 100 * np.divide(right, images, out=np.full(classes, np.nan), where=images > 0)


def overlap(a: Predictions, b: Predictions) -> Overlap:
    """Count the images that both models, only one, or neither gets right.

    Raises ValueError if the two were not evaluated on the same images: their true classes differ.
    """
    if not np.array_equal(a.labels, b.labels):
        raise ValueError("two models can be compared image by image only on the same images, in the same order")
    return mean_overlap(a.labels, a.predicted[None], b.predicted[None])


def mean_overlap(labels: Classes, a: Classes, b: Classes) -> Overlap:
    """Count the images as `overlap` does, averaged over all pairs of a seed of a and a seed of b.

    `labels`: the true classes, N; `a`, `b`: what each seed's network predicts, seeds × N.
    """
    pairs = len(a) * len(b)
    right_a, right_b = ((each == labels).sum(axis=0) for each in (a, b))
    both = int(right_a @ right_b) / pairs
    only_a, only_b = int(right_a.sum()) / len(a) - both, int(right_b.sum()) / len(b) - both
    same = sum(np.count_nonzero(one == other) for one in a for other in b) / pairs
    return Overlap(both, only_a, only_b, len(labels) - both - only_a - only_b, same)
