"""Calibration: bins, ECE and NLL are those of scikit-learn and of a plain loop."""

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss

from mixbench.results.calibration import BINS, negative_log_likelihood, reliability
from mixbench.run.predictions import Predictions
from tests.fake_runs import drawn


def test_the_diagram_is_scikit_learns_and_its_error_that_of_a_loop() -> None:
    for seed, right in enumerate((0.95, 0.6, 0.1)):
        _, found = drawn(5000, 10, right, seed)
        sure, diagram = found.predicted_probability, reliability(found)
        assert len(diagram.images) == BINS == 15 and diagram.images.sum() == 5000
        some = diagram.images > 0
        accuracy, confidence = calibration_curve(found.right, sure, n_bins=15)
        assert diagram.accuracy[some] == pytest.approx(accuracy, abs=1e-9)
        assert diagram.confidence[some] == pytest.approx(confidence, abs=1e-9)
        error = 0.0
        for low, high in zip(diagram.edges, diagram.edges[1:], strict=False):
            inside = [at for at in range(5000) if low < sure[at] <= high]
            if inside:
                right_share = sum(bool(found.right[at]) for at in inside) / len(inside)
                error += len(inside) / 5000 * abs(right_share - sum(sure[at] for at in inside) / len(inside))
        assert diagram.expected_calibration_error == pytest.approx(error, abs=1e-9)


def of_probabilities(sure: list[float], right: list[bool]) -> Predictions:
    logs = np.log(np.array(sure, dtype=np.float64)).astype(np.float32)
    labels = np.zeros(len(sure), dtype=np.uint8)
    return Predictions(labels, np.array([not each for each in right], dtype=np.uint8), logs, logs)


def test_an_empty_bin_has_no_mean_and_counts_for_nothing() -> None:
    diagram = reliability(of_probabilities([0.5, 1.0, 1.0], [True, True, False]), bins=2)
    assert diagram.images.tolist() == [1, 2]
    assert diagram.confidence == pytest.approx([0.5, 1.0]) and diagram.accuracy.tolist() == [1.0, 0.5]
    assert diagram.expected_calibration_error == pytest.approx((0.5 + 2 * 0.5) / 3)
    lone = reliability(of_probabilities([0.9], [True]))
    assert lone.images.tolist() == [0] * 13 + [1, 0]
    assert np.isnan(lone.accuracy).sum() == np.isnan(lone.confidence).sum() == 14
    assert lone.expected_calibration_error == pytest.approx(0.1, abs=1e-7)


def test_the_likelihood_is_scikit_learns_loss() -> None:
    chances, found = drawn(3000, 10, right=0.8)
    assert negative_log_likelihood(found) == pytest.approx(log_loss(found.labels, chances), rel=1e-6)
    rest = (1 - found.label_probability)[:, None] / 9
    of_stored = np.where(np.arange(10) == found.labels[:, None], found.label_probability[:, None], rest)
    assert negative_log_likelihood(found) == pytest.approx(log_loss(found.labels, of_stored), abs=1e-9)


def test_a_probability_too_small_for_a_float_counts_in_full() -> None:
    logs = np.array([-2000.0, -2.0], dtype=np.float32)
    classes = np.zeros(2, dtype=np.uint8)
    assert negative_log_likelihood(Predictions(classes, classes + 1, logs, logs)) == 1001
