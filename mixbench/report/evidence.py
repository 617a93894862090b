"""Results of a row image by image, from its trials' predictions: accuracy by class, confusions, calibration."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray

from mixbench.report import numbers, sparklines
from mixbench.results.calibration import Reliability, negative_log_likelihood, reliability
from mixbench.results.mistakes import confusion_matrix, top1_by_class
from mixbench.results.summary import Group
from mixbench.results.tables import Tables
from mixbench.run.predictions import Predictions
from mixbench.run.record import Record

MOST_PAIRED = 40  # rows on the same images, at most, of each two of which the page holds the images they differ in
MOST_CLASSES = 20  # of a confusion matrix that is shown whole
MOST_CONFUSIONS = 10
NAME_LENGTH = 24


@dataclass(frozen=True)
class Confusion:
    """Images of one class that are taken for another: their mean number over the seeds, and % of the true class's."""

    true: str
    predicted: str
    images: float
    share: float


@dataclass(frozen=True, eq=False)
class OfImages:
    """A row's predictions, kept to compare it with another one: N test images, a network for each of S seeds."""

    labels: NDArray[np.unsignedinteger]  # N
    predicted: NDArray[np.unsignedinteger]  # S N
    label_probability: NDArray[np.float32]  # N, mean over the seeds


@dataclass(frozen=True, eq=False)
class Evidence:
    """A row's predictions summed up over its seeds, each of which weighs the same.

    `class_images` and `top1_by_class`: test images, and % of them that are right, in the order of `classes`, the names.
    `confusion`: % of each true class's images (rows) by predicted class; None above MOST_CLASSES, or where so many rows
    share the images that the page would grow too long.  `confusions`: the most frequent mistakes.
    `calibration_error`: mean of the seeds' ECE, from 0 to 1; `likelihood`: of their NLL, in nats; `diagram`: all seeds'
    images together.  `of_images`: None where too many rows share the images to compare each two, or where seeds were
    tested on different images.
    """

    seeds: int
    planned: int
    images: int
    classes: list[str]
    class_images: NDArray[np.int64]
    top1_by_class: NDArray[np.float64]
    confusion: NDArray[np.float64] | None
    confusions: list[Confusion]
    calibration_error: float
    likelihood: float
    diagram: Reliability
    of_images: OfImages | None

    @property
    def drawing(self) -> Markup:
        """The reliability diagram as SVG."""
        points = zip(self.diagram.confidence, self.diagram.accuracy, self.diagram.images, strict=True)
        name = f"Reliability diagram, ECE {numbers.percent(100 * self.calibration_error)} %"
        return Markup(sparklines.accuracy_by_confidence([(x, y, n) for x, y, n in points if n], name))

    @property
    def heat(self) -> list[list[int]]:
        """The confusion matrix's mistakes in percent of its most frequent one; 0 on the diagonal."""
        assert self.confusion is not None
        wrong = np.nan_to_num(self.confusion * (1 - np.eye(len(self.confusion))))
        return np.rint(100 * wrong / max(wrong.max(), 1e-9)).astype(int).tolist()


def evidence(tables: Tables) -> dict[str, Evidence]:
    """Return what the predictions say of each row that has any, by the row's key.

    A row's predictions are read and summed up before those of the next: hundreds of trials are never held at once.
    """
    rows = Counter(group.row.images for group in tables.groups)
    found = {}
    for group in tables.groups:
        known = [each for record in group.records if (each := _predictions(record, tables.predictions)) is not None]
        if known:
            found[group.key] = _evidence(group, known, rows[group.row.images] <= MOST_PAIRED)
    return found


def _predictions(record: Record, read: Callable[[Record], Predictions | None]) -> Predictions | None:
    return read(record) if record.status == "done" and record.details.curve is not None else None


def _evidence(group: Group, trials: Sequence[Predictions], compared: bool) -> Evidence:
    together = Predictions(
        np.concatenate([each.labels for each in trials]),
        np.concatenate([each.predicted for each in trials]),
        np.concatenate([each.label_log_probability for each in trials]),
        np.concatenate([each.predicted_log_probability for each in trials]),
    )
    data = group.records[0].details.trial.data
    count = max(data.classes, 1 + int(together.labels.max()), 1 + int(together.predicted.max()))
    classes = [numbers.short(name, NAME_LENGTH) for name in data.class_images]
    classes += [str(number) for number in range(len(classes), count)]
    counts = confusion_matrix(together, count)
    images = counts.sum(axis=1)
    shares = 100 * np.divide(counts, images[:, None], out=np.zeros(counts.shape), where=images[:, None] > 0)
    same = all(np.array_equal(each.labels, trials[0].labels) for each in trials)
    return Evidence(
        seeds=len(trials),
        planned=len(group.records),
        images=len(trials[0].labels),
        classes=classes,
        class_images=images // len(trials),
        top1_by_class=top1_by_class(together, count),
        confusion=shares if compared and count <= MOST_CLASSES else None,
        confusions=_most_frequent(counts / len(trials), shares, classes),
        calibration_error=float(np.mean([reliability(each).expected_calibration_error for each in trials])),
        likelihood=float(np.mean([negative_log_likelihood(each) for each in trials])),
        diagram=reliability(together),
        of_images=_of_images(trials) if compared and same else None,
    )


def _of_images(trials: Sequence[Predictions]) -> OfImages:
    chances = np.mean([each.label_probability for each in trials], axis=0).astype(np.float32)
    return OfImages(trials[0].labels, np.stack([each.predicted for each in trials]), chances)


def _most_frequent(counts: NDArray[np.float64], shares: NDArray[np.float64], classes: Sequence[str]) -> list[Confusion]:
    wrong = counts * (1 - np.eye(len(counts)))
    order = np.argsort(-wrong, axis=None, kind="stable")[:MOST_CONFUSIONS]
    pairs = [divmod(int(place), len(counts)) for place in order]
    return [
        Confusion(classes[true], classes[other], float(counts[true, other]), float(shares[true, other]))
        for true, other in pairs
        if counts[true, other]
    ]
