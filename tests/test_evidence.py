"""Predictions on the page: a row's figures are scikit-learn's, a pair's those of a loop over its seeds' images."""

import json
import re
import weakref
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, recall_score

from mixbench.report.compare_data import MOST_IMAGES, MOST_STEPS, compare_data
from mixbench.report.evidence import MOST_CLASSES, MOST_CONFUSIONS, MOST_PAIRED, evidence
from mixbench.report.formats.html import html
from mixbench.report.leaderboard import board
from mixbench.results.mistakes import mean_overlap
from mixbench.results.tables import Tables, tables
from mixbench.run.parts import Curve
from mixbench.run.predictions import Predictions
from mixbench.run.record import Record
from tests.fake_runs import CIFAR10, done, predicting_run, trial, with_predictions, write_run


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return tables(predicting_run(tmp_path_factory.mktemp("runs") / "cifar"))


def read(found: Tables, row: int) -> list[Predictions]:
    read = [found.predictions(record) for record in found.groups[row].records]
    return [each for each in read if each is not None]


def compared(found: Tables) -> dict[str, Any]:
    return compare_data(board(found), found.comparisons, evidence(found))


def small_run(folder: Path, models: int = 2, classes: int = 10, images: int = 50, **changes: Any) -> Tables:
    """Models of one seed each, tested on a few images."""
    data = replace(CIFAR10, classes=classes)
    trials = [trial(f"model_{number}", data=data, **changes) for number in range(models)]
    run = write_run(folder, trials, [])
    for number, each in enumerate(trials):
        record = done(each, 60.0)
        curve = record.details.curve
        assert isinstance(curve, Curve)
        details = record.details.model_copy(update={"curve": curve.model_copy(update={"test_images": images})})
        run.write_record(with_predictions(run, record.model_copy(update={"details": details}), seed=number))
    return tables(run)


def test_a_rows_figures_are_scikit_learns_over_its_seeds(nine: Tables) -> None:
    found, seeds, every = evidence(nine)[nine.groups[2].key], read(nine, 2), range(10)
    recalls = [recall_score(each.labels, each.predicted, labels=every, average=None) for each in seeds]
    assert found.seeds == 3 and found.images == 10_000
    assert found.top1_by_class == pytest.approx(100 * np.mean(recalls, axis=0), abs=1e-9)
    shares = [confusion_matrix(each.labels, each.predicted, labels=every, normalize="true") for each in seeds]
    assert found.confusion == pytest.approx(100 * np.mean(shares, axis=0), abs=1e-9)
    assert found.class_images.tolist() == np.bincount(seeds[0].labels).tolist()
    errors = []
    for each in seeds:
        sure = each.predicted_probability
        accuracy, confidence = calibration_curve(each.right, sure, n_bins=15)
        images = np.histogram(sure, np.linspace(0, 1, 16))[0]
        errors.append(np.average(np.abs(accuracy - confidence), weights=images[images > 0]))
    assert found.calibration_error == pytest.approx(np.mean(errors), abs=1e-9)
    losses = [-np.mean(np.log(each.label_probability)) for each in seeds]
    assert found.likelihood == pytest.approx(np.mean(losses), abs=1e-9)
    assert found.diagram.images.sum() == 30_000


def test_an_error_of_one_seed_does_not_make_up_for_that_of_another(nine: Tables) -> None:
    def half_sure(record: Record) -> Predictions:
        """Of two images each half sure: seed 0 gets both right, seed 1 none, seed 2 one of them."""
        labels, logs = np.zeros(2, dtype=np.uint8), np.log(np.full(2, 0.5, dtype=np.float32))
        wrong = {0: [0, 0], 1: [1, 1], 2: [0, 1]}[record.seed]
        return Predictions(labels, np.array(wrong, dtype=np.uint8), logs, logs)

    found = evidence(replace(nine, predictions=half_sure))[nine.groups[0].key]
    assert found.calibration_error == pytest.approx((0.5 + 0.5 + 0) / 3, abs=1e-6)
    assert found.diagram.expected_calibration_error == pytest.approx(0, abs=1e-6), "all seeds' images together"


def test_a_models_section_shows_them(nine: Tables) -> None:
    page, found = html(nine, []), evidence(nine)[nine.groups[0].key]
    section = page[page.index('id="model-1"') : page.index('id="model-2"')]
    assert found.confusion is not None
    rows = re.findall(r"<tr><th scope=.row. class=.stick.>(\d)</th>(.*?)</tr>", section)
    shown = [re.findall(r">([\d,.]+|·)</td>", cells) for _, cells in rows]
    expected = [
        [f"{images:,}", *(f"{share:.1f}" if share else "·" for share in shares)]
        for images, shares in zip(found.class_images, found.confusion, strict=True)
    ]
    assert shown == expected
    assert f"NLL {found.likelihood:.4f} nats. ECE {100 * found.calibration_error:.2f}&nbsp;%, in 15 bins" in section
    assert '<svg class="reliability"' in section and page.count('<svg class="reliability"') == 9


def test_of_many_classes_the_most_frequent_mistakes_are_shown(tmp_path: Path) -> None:
    found = small_run(tmp_path, models=1, classes=MOST_CLASSES + 1, images=3000)
    [seen], [each] = evidence(found).values(), read(found, 0)
    assert seen.confusion is None
    wrong = confusion_matrix(each.labels, each.predicted, labels=range(MOST_CLASSES + 1))
    np.fill_diagonal(wrong, 0)
    assert [of.images for of in seen.confusions] == sorted(wrong.ravel(), reverse=True)[:MOST_CONFUSIONS]
    assert all(wrong[int(of.true), int(of.predicted)] == of.images for of in seen.confusions)
    page = html(found, [])
    assert 'class="confusion"' not in page and page.count("of 21 classes") == 2


def test_classes_have_their_folders_names(tmp_path: Path) -> None:
    names = ["ant", "<b>bee", "cat"]
    data = replace(CIFAR10, classes=3, class_images=dict.fromkeys(names, (9, 9)))
    record = done(trial(data=data), 60.0)
    run = write_run(tmp_path, [record.details.trial], [])
    run.write_record(with_predictions(run, record))
    found = tables(run)
    assert [each.classes for each in evidence(found).values()] == [names]
    assert compared(found)["classes"] == {"cifar10": names}
    assert "<b>bee" not in html(found, [])


def test_one_rows_predictions_are_held_at_a_time(nine: Tables) -> None:
    alive: list[weakref.ref[Predictions]] = []
    most = 0

    def reading(record: Record) -> Predictions | None:
        nonlocal most
        found = nine.predictions(record)
        assert found is not None
        alive.append(weakref.ref(found))
        most = max(most, sum(each() is not None for each in alive))
        return found

    evidence(replace(nine, predictions=reading))
    assert len(alive) == 27 and most <= 6, "of three seeds, while the next row's are read"


def test_a_pairs_counts_are_those_of_a_loop_over_seeds(nine: Tables) -> None:
    lines, found = board(nine).lines, compared(nine)
    assert len(found["pairs"]) == 36
    places = {group.key: number for number, group in enumerate(nine.groups)}
    for i, j in ((0, 1), (2, 7)):
        pair = found["pairs"][f"{i} {j}"]
        verdict = nine.comparisons.of(lines[i].group, lines[j].group).verdict
        assert (pair["note"], pair["basis"]) == (verdict.note, verdict.basis)
        a, b = (read(nine, places[lines[place].key]) for place in (i, j))
        both = [
            ((x.right & y.right).sum(), (x.right & ~y.right).sum(), (~x.right & y.right).sum())
            for x, y in product(a, b)
        ]
        overlap = pair["overlap"]
        assert [overlap[name] for name in ("both_right", "only_a", "only_b")] == pytest.approx(
            np.mean(both, axis=0), abs=0.05
        )
        same = np.mean([np.mean(x.predicted == y.predicted) for x, y in product(a, b)])
        assert overlap["same"] == pytest.approx(10_000 * same, abs=0.05)
        chances = [np.mean([each.label_probability for each in side], axis=0) for side in (a, b)]
        apart = np.abs(chances[0] - chances[1])
        assert [each[0] for each in pair["images"]] == np.argsort(-apart)[:MOST_IMAGES].tolist()
        for at, label, *given in pair["images"]:
            assert label == a[0].labels[at] and given == pytest.approx([side[at] for side in chances], abs=5e-4)


def test_the_mean_overlap_is_that_of_every_pair_of_seeds() -> None:
    labels = np.array([0, 0, 1, 1], dtype=np.uint8)
    a = np.array([[0, 0, 1, 1], [0, 1, 0, 1]], dtype=np.uint8)
    b = np.array([[0, 1, 1, 0]], dtype=np.uint8)
    found = mean_overlap(labels, a, b)
    assert (found.both_right, found.only_a, found.only_b, found.both_wrong) == (1.5, 1.5, 0.5, 0.5)
    assert found.same == 2.0 and found.images == 4


def test_a_rows_facts_are_short_and_its_steps_quantiles(nine: Tables) -> None:
    found = compared(nine)
    side, row = found["sides"][0], evidence(nine)[board(nine).lines[0].key]
    assert side["byClass"] == pytest.approx(row.top1_by_class.tolist(), abs=0.005)
    assert side["ece"] == pytest.approx(100 * row.calibration_error, abs=1e-4) and side["predicted"] == 3
    assert set(side["steps"]) == {"inference step", "training step"}
    assert side["steps"]["inference step"] == [10.0] * 54 + [12.0] * 6 and MOST_STEPS == 60
    assert side["recipe"] == {}, "no two rows differ in it"
    assert len(json.dumps(found)) < 1500 * 36


def test_keys_of_the_recipe_in_which_rows_differ_are_told(tmp_path: Path) -> None:
    one = trial()
    slower = one.recipe.model_copy(update={"clip_grad_norm": 0.5, "name": "clipped"})
    trials = [one, trial(recipe=slower, id="another")]
    found = compared(tables(write_run(tmp_path, trials, [done(each, 90.0) for each in trials])))
    assert [each["recipe"] for each in found["sides"]] == [{"clip_grad_norm": "0.0"}, {"clip_grad_norm": "0.5"}]
    assert "overlap" not in found["pairs"]["0 1"] and found["pairs"]["0 1"]["basis"] == "none"


def test_rows_of_different_images_are_no_pair(tmp_path: Path) -> None:
    other = replace(CIFAR10, name="other")
    trials = [trial(), trial(dataset="other", data=other)]
    found = compared(tables(write_run(tmp_path, trials, [done(each, 90.0) for each in trials])))
    assert found["pairs"] == {} and len(found["sides"]) == 2


def test_too_many_rows_have_no_pairs_and_no_matrices(tmp_path: Path) -> None:
    few = small_run(tmp_path / "few", models=MOST_PAIRED)
    assert len(compared(few)["pairs"]) == MOST_PAIRED * (MOST_PAIRED - 1) / 2
    many = small_run(tmp_path / "many", models=MOST_PAIRED + 1)
    assert compared(many)["pairs"] == {}
    assert all(set(each) == {"recipe"} for each in compared(many)["sides"])
    seen = evidence(many).values()
    assert len(seen) == 41 and all(each.confusion is None and each.of_images is None for each in seen)
