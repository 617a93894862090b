"""Which images are wrong, by class and of two models together: as scikit-learn and plain loops count them."""

from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score

from mixbench.results.mistakes import Overlap, overlap, top1, top1_by_class
from mixbench.results.mistakes import confusion_matrix as ours
from tests.fake_runs import drawn


@pytest.mark.parametrize(("images", "classes", "right"), [(360, 10, 0.9), (5000, 300, 0.4), (7, 2, 0.5)])
def test_accuracies_and_the_confusion_matrix_are_scikit_learns(images: int, classes: int, right: float) -> None:
    _, found = drawn(images, classes, right)
    assert top1(found) == pytest.approx(100 * accuracy_score(found.labels, found.predicted), abs=1e-9)
    every = range(classes)
    expected = confusion_matrix(found.labels, found.predicted, labels=every)
    assert np.array_equal(ours(found, classes), expected)
    recall = recall_score(found.labels, found.predicted, labels=every, average=None, zero_division=np.nan)
    assert top1_by_class(found, classes) == pytest.approx(100 * recall, abs=1e-9, nan_ok=True)


def test_a_class_without_test_images_has_no_accuracy() -> None:
    _, found = drawn(50, 3, right=0.9)
    by_class = top1_by_class(found, 5)
    assert np.isfinite(by_class[:3]).all() and np.isnan(by_class[3:]).all()
    assert not ours(found, 5)[3:].any()


def test_two_models_overlap_as_a_loop_over_the_images_counts() -> None:
    a, b = (drawn(2000, 10, right, seed)[1] for seed, right in enumerate((0.9, 0.7)))
    counts = Counter(
        (int(one) == label, int(other) == label)
        for label, one, other in zip(a.labels.tolist(), a.predicted, b.predicted, strict=True)
    )
    found = overlap(a, b)
    assert found.both_right == counts[True, True] and found.both_wrong == counts[False, False]
    assert found.only_a == counts[True, False] and found.only_b == counts[False, True]
    assert found.images == 2000 and found.same_share == pytest.approx(accuracy_score(a.predicted, b.predicted))
    assert found.both_right < found.same < found.both_right + found.both_wrong, "some mistakes are the same"


def test_a_model_agrees_with_itself_and_with_none_on_other_images() -> None:
    _, a = drawn(100, 10, right=0.5)
    right = int(a.right.sum())
    assert overlap(a, a) == Overlap(right, 0, 0, 100 - right, 100)
    with pytest.raises(ValueError, match="only on the same images, in the same order"):
        overlap(a, drawn(99, 10, right=0.5)[1])
    with pytest.raises(ValueError, match="only on the same images, in the same order"):
        overlap(a, drawn(100, 9, right=0.5)[1])
