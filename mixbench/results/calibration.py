"""Calibration of a model's probabilities: of the images of which it is 80 % sure, 80 % should be right."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixbench.run.predictions import Predictions

BINS = 15
"""Bins of equal width from 0 to 1, as Guo et al. use them (arXiv:1706.04599)."""


@dataclass(frozen=True, eq=False)
class Reliability:
    """The data of a reliability diagram: images in bins by the probability of the class that the model predicts.

    Bin i holds probabilities above `edges[i]` up to and with `edges[i + 1]`; the first one also holds 0.
    `images`: their number; `confidence`: their mean probability; `accuracy`: the share of them that is right, from 0 to
    1.  Both are NaN where a bin has no image.
    """

    edges: NDArray[np.float64]
    images: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]

    @property
    def expected_calibration_error(self) -> float:
        """The difference of confidence and accuracy, averaged over all images (ECE), from 0 to 1."""
        some = self.images > 0
        return float(np.average(np.abs(self.confidence - self.accuracy)[some], weights=self.images[some]))


def reliability(predictions: Predictions, bins: int = BINS) -> Reliability:
    """Return the data of a reliability diagram with so many bins of equal width."""
    edges, probability = np.linspace(0, 1, bins + 1), predictions.predicted_probability
    place = np.searchsorted(edges[1:-1], probability)
    images = np.bincount(place, minlength=bins)
    sums = (np.bincount(place, weights=each, minlength=bins) for each in (probability, predictions.right))
    confidence, accuracy = (np.divide(each, images, out=np.full(bins, np.nan), where=images > 0) for each in sums)
    return Reliability(edges, images, confidence, accuracy)


def negative_log_likelihood(predictions: Predictions) -> float:
    """Return the mean cross entropy (NLL), in nats: the test loss of the record."""
    return -float(predictions.label_log_probability.mean(dtype=np.float64))
