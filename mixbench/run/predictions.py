"""What a trial's last evaluation predicted for each test image: predictions.npz beside the record, which names it.

The file is NumPy's (`numpy.load`), compressed, in the order of the dataset's test images, each once:
`labels` and `predicted`, the true and the predicted class, as the smallest unsigned integers that hold them;
`predicted_log_probability`, the natural logarithm of the probability of the predicted class; and
`label_log_probability_where_wrong`, that of the true class, only of images of which it is not the predicted one.
Probabilities are the softmax of the logits in float32 and stored as such, not rounded: the loss is that of the record.
10,000 images of 10 classes take some 50 kB, with 90 % of them right.
"""

import io
import zipfile
import zlib
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from mixbench.run.folder import Run
from mixbench.run.record import Record


@dataclass(frozen=True, eq=False)
class Predictions:
    """For each test image, in the dataset's order: its true and its predicted class, and what the model gives them.

    N each: classes are unsigned integers, log-probabilities float32 (natural logarithm).
    """

    labels: NDArray[np.unsignedinteger]
    predicted: NDArray[np.unsignedinteger]
    label_log_probability: NDArray[np.float32]
    predicted_log_probability: NDArray[np.float32]

    @property
    def right(self) -> NDArray[np.bool_]:
        return self.predicted == self.labels

    @property
    def label_probability(self) -> NDArray[np.float64]:
        return np.exp(self.label_log_probability, dtype=np.float64)

    @property
    def predicted_probability(self) -> NDArray[np.float64]:
        return np.exp(self.predicted_log_probability, dtype=np.float64)


class NoPredictions(Exception):
    """A trial's predictions cannot be had; the message says why: not kept, missing, or damaged."""


def packed(predictions: Predictions) -> bytes:
    """Return the contents of the file: the same bytes for the same predictions."""
    file = io.BytesIO()
    np.savez_compressed(
        file,
        labels=predictions.labels,
        predicted=predictions.predicted,
        predicted_log_probability=predictions.predicted_log_probability,
        label_log_probability_where_wrong=predictions.label_log_probability[~predictions.right],
    )
    return file.getvalue()


def read_predictions(run: Run, record: Record) -> Predictions:
    """Return the predictions that a record names.  Raises NoPredictions."""
    curve = record.details.curve
    if curve is None:
        raise NoPredictions(f"{record.trial_id}: its accuracy has not been measured")
    if curve.predictions is None:
        why = "its suite says keep_predictions: false, or an older mixbench evaluated it"
        raise NoPredictions(f"{record.trial_id} has no predictions: {why}")
    path = run.trial_folder(record.trial_id) / curve.predictions.name
    try:
        contents = path.read_bytes()
    except FileNotFoundError:
        raise NoPredictions(f"{path} is missing") from None
    except OSError as error:
        raise NoPredictions(f"{path} cannot be read: {error.strerror}") from None
    if sha256(contents).hexdigest() != curve.predictions.sha256:
        raise NoPredictions(f"{path} is damaged: it does not have the checksum that its record names")
    try:
        found = _unpacked(contents)
    except (ValueError, KeyError, TypeError, IndexError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise NoPredictions(f"{path} does not hold predictions: {error}") from None
    if len(found.labels) != curve.test_images:
        raise NoPredictions(f"{path} holds {len(found.labels)} predictions, its record says {curve.test_images}")
    return found


def predictions_if_kept(run: Run, record: Record) -> Predictions | None:
    """Return the predictions that a record names; None if they cannot be had."""
    try:
        return read_predictions(run, record)
    except NoPredictions:
        return None


def _unpacked(contents: bytes) -> Predictions:
    with np.load(io.BytesIO(contents), allow_pickle=False) as file:
        labels, predicted, of_predicted = (file[name] for name in ("labels", "predicted", "predicted_log_probability"))
        of_label = of_predicted.copy()
        of_label[predicted != labels] = file["label_log_probability_where_wrong"]
    return Predictions(labels, predicted, of_label, of_predicted)
