"""A run's results computed again from its predictions.npz files, by NumPy, scikit-learn and statsmodels alone.

Run with: python -m tests.recompute RUN.  Prints for each figure the largest difference to mixbench's, and how many were
compared.
"""

import json
import sys
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.calibration import calibration_curve
from sklearn.metrics import accuracy_score, confusion_matrix, recall_score
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.weightstats import DescrStatsW

from mixbench.report.evidence import evidence
from mixbench.results.mistakes import overlap
from mixbench.results.tables import tables
from mixbench.run.folder import Run
from mixbench.run.predictions import read_predictions

BINS = 15


def largest_differences(folder: Path) -> dict[str, tuple[float, int]]:
    """Return for each kind of figure the largest absolute difference to mixbench's, and the number of figures."""
    found: dict[str, list[float]] = defaultdict(list)
    of, run = tables(Run(folder)), Run(folder)
    shown = evidence(of)
    correct: dict[str, list[NDArray[np.bool_]]] = {}
    for group in of.groups:
        top1, losses, errors, confusion, recall = [], [], [], [], []
        for record in group.records:
            if record.status != "done":
                continue
            kept = np.load(folder / "trials" / record.trial_id / "predictions.npz")
            labels, predicted = kept["labels"].astype(int), kept["predicted"].astype(int)
            right, log = predicted == labels, kept["predicted_log_probability"].astype(np.float64)
            of_label = log.copy()
            of_label[~right] = kept["label_log_probability_where_wrong"]
            top1.append(100 * accuracy_score(labels, predicted))
            losses.append(-of_label.mean())
            errors.append(_calibration_error(right, np.exp(log)))
            classes = np.arange(record.details.trial.data.classes)
            confusion.append(100 * confusion_matrix(labels, predicted, labels=classes, normalize="true"))
            recall.append(100 * recall_score(labels, predicted, labels=classes, average=None, zero_division=np.nan))
            correct.setdefault(group.key, []).append(right)
            found["top-1 of a trial"].append(top1[-1] - (record.top1 or 0.0))
        row, page = group.row, shown.get(group.key)
        if not top1 or page is None:
            continue
        found["mean top-1"].append(float(np.mean(top1)) - (row.top1_mean or 0.0))
        if len(top1) > 1:
            low, high = DescrStatsW(top1).tconfint_mean()
            found["interval over seeds"].append((high - low) / 2 - (row.top1_ci95 or 0.0))
        found["calibration error"].append(float(np.mean(errors)) - page.calibration_error)
        found["likelihood"].append(float(np.mean(losses)) - page.likelihood)
        if page.confusion is not None:
            found["confusion matrix"] += list((np.mean(confusion, axis=0) - page.confusion).ravel())
        by_class = np.array(page.top1_by_class)
        found["top-1 of a class"] += list(np.nan_to_num(np.mean(recall, axis=0) - by_class).ravel())
    for one, other in combinations([group for group in of.groups if group.key in correct], 2):
        if one.row.images != other.row.images:
            continue
        verdict = of.comparisons.of(one, other).verdict
        means = [100 * float(np.mean(correct[group.key])) for group in (one, other)]
        found["difference of a pair"].append(means[0] - means[1] - (verdict.value or 0.0))
        a, b = correct[one.key][0], correct[other.key][0]
        table = [[np.sum(a & b), np.sum(a & ~b)], [np.sum(~a & b), np.sum(~a & ~b)]]
        first = [next(r for r in group.records if r.status == "done") for group in (one, other)]
        ours = overlap(*(read_predictions(run, record) for record in first))
        theirs = mcnemar(table, exact=True).statistic  # the smaller number of images that only one gets right
        found["images that one model alone gets right"].append(theirs - min(ours.only_a, ours.only_b))
    return {name: (float(np.max(np.abs(values))), len(values)) for name, values in found.items()}


def _calibration_error(right: NDArray[np.bool_], confidence: NDArray[np.float64]) -> float:
    """The expected calibration error, from scikit-learn's curve, each bin weighted by its number of images."""
    accuracy, sure = calibration_curve(right, confidence, n_bins=BINS)
    counts = np.histogram(confidence, np.linspace(0, 1, BINS + 1))[0]
    return float(np.sum(counts[counts > 0] * np.abs(accuracy - sure)) / len(right))


if __name__ == "__main__":
    print(json.dumps(largest_differences(Path(sys.argv[1])), indent=1))
