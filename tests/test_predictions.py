"""What is predicted for each test image: kept whole at any size of the world, read back, checked, never in the way."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss
from torch import Tensor

from mixbench.data.loader import Normalize, evaluation_batches
from mixbench.data.split import select_splits
from mixbench.data.store import Splits, load
from mixbench.launch.local import launch
from mixbench.measure import accuracy
from mixbench.results import calibration, mistakes
from mixbench.results.collect import collect
from mixbench.run.flags import Flag, Kind
from mixbench.run.folder import Run
from mixbench.run.predictions import NoPredictions, Predictions, packed, read_predictions
from mixbench.run.record import Record
from mixbench.suite import load as suites
from mixbench.suite.trial import Trial
from mixbench.train.distributed import World
from mixbench.zoo import weights
from mixbench.zoo.registry import create_model
from tests.fake_runs import done, drawn, trial, with_predictions, write_run
from tests.shell import Shell
from tests.small_sets import write_tree
from tests.trials import RECIPE, SMALL, plan_trials, write_suite


@dataclass(frozen=True)
class Measured:
    """A run on the digits, and what it has come to."""

    run: Run
    records: list[Record]

    def predictions(self) -> list[Predictions]:
        return [read_predictions(self.run, record) for record in self.records]


def measured(folder: Path, cluster: str = "debug", **keys: object) -> Measured:
    suite, trials = suites.load(str(write_suite(folder, measure=["accuracy"], **keys)))
    run = Run(folder / "run")
    run.write_plan(suite.text, trials)
    by_id = {outcome.trial.id: outcome.record for outcome in launch(trials, cluster, run)}
    assert all(record.status == "done" for record in by_id.values()), [record.error for record in by_id.values()]
    return Measured(run, [by_id[trial.id] for trial in trials])


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Measured:
    """A model with BatchNorm and one without, evaluated by the averages of their weights, which are kept."""
    models, recipe = [SMALL["splitmixer"], SMALL["mixer"]], RECIPE | {"ema": 0.9}
    return measured(tmp_path_factory.mktemp("trained"), models=models, recipe=recipe, keep_weights=True)


def probabilities(trial: Trial, file: Path, data: Splits) -> tuple[Tensor, Tensor]:
    """Plain PyTorch: the softmax of these weights' logits for every test image, and the labels."""
    model = create_model(trial.model, **trial.arguments).eval()
    weights.load_file(file, model)
    batches = list(evaluation_batches(data.test, trial.data, 128, 0, 1))
    with torch.no_grad():
        logits = torch.cat([model(images) for images, _ in batches])
    return logits.double().softmax(1), torch.cat([labels for _, labels in batches])


def test_scikit_learn_finds_in_the_kept_weights_what_the_record_and_its_predictions_say(
    trained: Measured, digits: Splits
) -> None:
    for record, found in zip(trained.records, trained.predictions(), strict=True):
        file = trained.run.weights_file(record.trial_id)
        chances, labels = (each.numpy() for each in probabilities(record.details.trial, file, digits))
        best = chances.argmax(1)
        assert np.array_equal(found.labels, labels) and np.array_equal(found.predicted, best)
        assert found.label_probability == pytest.approx(chances[range(360), labels], rel=1e-5)
        assert found.predicted_probability == pytest.approx(chances[range(360), best], rel=1e-5)
        assert mistakes.top1(found) == record.top1 == pytest.approx(100 * accuracy_score(labels, best))
        assert np.array_equal(mistakes.confusion_matrix(found, 10), confusion_matrix(labels, best))
        loss = calibration.negative_log_likelihood(found)
        assert loss == pytest.approx(record.test_loss, rel=1e-12)
        assert loss == pytest.approx(log_loss(labels, chances), rel=1e-6)


def test_two_processes_that_evaluate_given_weights_keep_what_one_does(trained: Measured, tmp_path: Path) -> None:
    files = [trained.run.weights_file(record.trial_id) for record in trained.records]
    models = [
        model | {"weights": str(file)} for model, file in zip((SMALL["splitmixer"], SMALL["mixer"]), files, strict=True)
    ]
    by_two = measured(tmp_path, "local", models=models, resources={"processes_per_node": 2})
    for record, ours, theirs in zip(by_two.records, by_two.predictions(), trained.predictions(), strict=True):
        assert mistakes.top1(ours) == record.top1 and record.world_size == 2
        assert np.array_equal(ours.labels, theirs.labels) and np.array_equal(ours.predicted, theirs.predicted)
        assert ours.label_log_probability == pytest.approx(theirs.label_log_probability, abs=1e-5)
        assert ours.predicted_log_probability == pytest.approx(theirs.predicted_log_probability, abs=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "amp-bf16", "amp-fp16"])
def test_the_scores_of_the_record_are_those_of_its_predictions_in_every_precision(
    precision: str, tmp_path: Path, world: World, digits: Splits
) -> None:
    recipe = RECIPE | {"epochs": 3, "evaluate_every": 2}
    [trial] = plan_trials(tmp_path, models=[SMALL["splitmixer"]], recipe=recipe, precision=precision)
    record, found = evaluated(trial, tmp_path, digits, world)
    assert record.top1 == mistakes.top1(found) and record.epochs == 3
    assert record.test_loss == pytest.approx(calibration.negative_log_likelihood(found), rel=1e-12)
    assert np.array_equal(found.labels, digits.test.labels)
    assert (found.label_log_probability <= found.predicted_log_probability).all()


def evaluated(trial: Trial, folder: Path, data: Splits, world: World) -> tuple[Record, Predictions]:
    run, record = Run(folder / "run"), Record.pending(trial)
    write = partial(run.write_predictions, trial.id)
    record.add_accuracy(accuracy.measure(trial, data, world, lambda *_: None, keep_predictions=write))
    return record, read_predictions(run, record)


def test_a_validation_split_keeps_the_images_that_were_held_out(tmp_path: Path, world: World, digits: Splits) -> None:
    [trial] = plan_trials(tmp_path, recipe=RECIPE | {"split": "val"})
    record, found = evaluated(trial, tmp_path, digits, world)
    assert np.array_equal(found.labels, select_splits(digits, trial.recipe)[1].labels)
    assert mistakes.top1(found) == record.top1


def test_streamed_images_are_kept_in_the_order_of_the_dataset(tmp_path: Path, world: World) -> None:
    tree = write_tree(tmp_path / "tree", {"n01": (4, 3), "n02": (4, 5), "n03": (4, 1)})
    pets = {"name": "pets", "image_folder": str(tree), "image_size": 16}
    [trial] = plan_trials(tmp_path, models=[SMALL["mixer"]], datasets=[pets], recipe=RECIPE | {"global_batch_size": 4})
    data, kept = load(trial.data), tmp_path / "kept.safetensors"
    run, record = Run(tmp_path / "run"), Record.pending(trial)
    write = partial(run.write_predictions, trial.id)
    record.add_accuracy(accuracy.measure(trial, data, world, lambda *_: None, kept, keep_predictions=write))
    found = read_predictions(run, record)
    assert found.labels.tolist() == [0] * 3 + [1] * 5 + [2]
    model = create_model(trial.model, **trial.arguments).eval()
    weights.load_file(kept, model)
    [images] = data.test.batches([torch.arange(9)], world.device)
    with torch.no_grad():
        logits = model(Normalize(trial.data, world.device)(images))
    assert found.predicted.tolist() == logits.argmax(1).tolist()


@pytest.mark.parametrize(
    ("classes", "images", "most"), [(10, 10_000, 53_000), (100, 10_000, 60_000), (1000, 10_000, 75_000)]
)
def test_a_file_is_small_and_the_same_for_the_same_predictions(classes: int, images: int, most: int) -> None:
    _, found = drawn(images, classes, right=0.9)
    assert 0.88 < found.right.mean() < 0.92
    assert len(packed(found)) < most and packed(found) == packed(drawn(images, classes, right=0.9)[1])
    assert found.labels.dtype == (np.uint8 if classes <= 256 else np.uint16)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Two trials that are done, the first with its predictions."""
    trials = [trial(seed=seed) for seed in range(2)]
    run = write_run(tmp_path / "run", trials, [])
    run.write_record(with_predictions(run, done(trials[0], 90.0)))
    run.write_record(done(trials[1], 91.0))
    return run


def records(run: Run) -> list[Record]:
    return collect(run).records


def flagged(run: Run) -> list[list[str]]:
    """What each trial's flags say of its predictions."""
    return [[flag.kind for flag in record.flags if "predictions" in flag.kind] for record in records(run)]


def test_predictions_are_read_as_they_were_written(run: Run) -> None:
    first, second = records(run)
    found, [_, written] = read_predictions(run, first), drawn(10_000, 10, right=0.9)
    for name in ("labels", "predicted", "label_log_probability", "predicted_log_probability"):
        ours, theirs = getattr(found, name), getattr(written, name)
        assert np.array_equal(ours, theirs) and ours.dtype == theirs.dtype
    assert first.flags == second.flags == []
    with pytest.raises(NoPredictions, match=f"^{second.trial_id} has no predictions: .* an older mixbench evaluated"):
        read_predictions(run, second)
    with pytest.raises(NoPredictions, match=r"its accuracy has not been measured$"):
        read_predictions(run, Record.pending(trial(seed=7)))


def test_a_record_that_gets_a_part_more_still_names_its_predictions(run: Run) -> None:
    first, _ = records(run)
    resumed = run.resumed(first.details.trial)
    assert resumed.details.curve == first.details.curve and read_predictions(run, resumed)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def turned(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[5000] ^= 1
    path.write_bytes(whole)


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def a_folder(path: Path) -> None:
    path.unlink()
    (path / "inside").mkdir(parents=True)


def a_circle(path: Path) -> None:
    path.unlink()
    path.symlink_to(path)  # it can't be opened, whoever asks


@pytest.mark.parametrize(
    ("harm", "kind", "said"),
    [
        (Path.unlink, Kind.MISSING_PREDICTIONS, "is missing"),
        (a_circle, Kind.MISSING_PREDICTIONS, "cannot be read: Too many levels of symbolic links"),
        (a_folder, Kind.DAMAGED_PREDICTIONS, "cannot be read: Is a directory"),
        (cut, Kind.DAMAGED_PREDICTIONS, "is damaged: it does not have the checksum that its record names"),
        (turned, Kind.DAMAGED_PREDICTIONS, "is damaged: it does not have the checksum that its record names"),
        (emptied, Kind.DAMAGED_PREDICTIONS, "is damaged: it does not have the checksum that its record names"),
    ],
)
def test_a_file_that_is_lost_or_damaged_is_flagged_and_everything_else_goes_on(
    harm: Callable[[Path], None], kind: Kind, said: str, run: Run, mixbench: Shell
) -> None:
    first, _ = records(run)
    path = run.predictions_file(first.trial_id)
    harm(path)
    with pytest.raises(NoPredictions) as caught:
        read_predictions(run, first)
    assert str(caught.value) == f"{path} {said}"
    found = collect(run)
    assert [record.flags for record in found.records] == [[Flag(kind)], []]
    assert [record.top1 for record in found.records] == [90.0, 91.0]
    assert len(found.damaged) == (kind == Kind.DAMAGED_PREDICTIONS)
    assert mixbench("status", run.folder)[0] == mixbench("report", run.folder)[0] == 0
    with open(run.folder / "results.csv", encoding="utf-8", newline="") as file:
        assert [row["flags"] for row in csv.DictReader(file)] == [str(kind), ""]
    assert kind in (run.folder / "report.html").read_text(encoding="utf-8")


def test_a_file_of_other_predictions_than_the_record_says_is_refused(run: Run) -> None:
    first, _ = records(run)
    _, few = drawn(90, 10, right=0.9)
    junk = [
        (packed(few), "holds 90 predictions, its record says 10000"),
        (b"PK\x03\x04", "does not hold predictions: "),
    ]
    junk += [(b"no zip", "does not hold predictions: "), (b"", "does not hold predictions: ")]
    for contents, said in junk:
        named = run.write_predictions(first.trial_id, contents)
        curve = first.details.curve.model_copy(update={"predictions": named}) if first.details.curve else None
        record = first.model_copy(update={"details": first.details.model_copy(update={"curve": curve})})
        with pytest.raises(NoPredictions, match=said):
            read_predictions(run, record)


def test_a_run_again_measures_nothing_anew_for_predictions_that_are_not_there(mixbench: Shell, tmp_path: Path) -> None:
    suite, run = write_suite(tmp_path, measure=["accuracy"], keep_predictions=False), Run(tmp_path / "run")
    command = ["run", suite, "--out", run.folder, "--cluster", "debug"]
    keep = ("--set", "keep_predictions=true", "--set", "seeds=[0, 1]")
    assert mixbench(*command)[0] == 0
    first, [alone] = run.planned(), run.planned()
    without = run.record_file(alone).read_bytes()
    assert not run.predictions_file(alone).exists() and json.loads(without)["details"]["curve"]["predictions"] is None

    assert mixbench(*command, *keep)[0] == 0
    assert run.planned()[:1] == first, "keeping them changes no id"
    other = run.planned()[1]
    assert run.predictions_file(other).exists() and not run.predictions_file(alone).exists()
    before = [run.record_file(each).read_bytes() for each in (alone, other)]
    assert before[0] == without and flagged(run) == [[], []]

    cut(run.predictions_file(other))
    code, out, err = mixbench(*command, *keep)
    assert code == 0 and "predictions.npz.damaged-1" in out, err
    assert [run.record_file(each).read_bytes() for each in (alone, other)] == before
    assert flagged(run) == [[], [Kind.MISSING_PREDICTIONS]] and collect(run).set_aside == 1
    assert mixbench(*command, *keep)[0] == 0
    assert [run.record_file(each).read_bytes() for each in (alone, other)] == before


def test_a_run_of_before_predictions_has_none_and_no_flag_for_it() -> None:
    run = Run(Path(__file__).parent / "golden" / "old_run")
    found = collect(run)
    assert found.counts["done"] == 4 and not found.damaged
    for record in found.records:
        with pytest.raises(NoPredictions):
            read_predictions(run, record)
    assert not any(flagged(run))


def test_a_run_folder_that_was_moved_keeps_its_predictions(run: Run, tmp_path: Path) -> None:
    shutil.move(run.folder, tmp_path / "elsewhere")
    moved = Run(tmp_path / "elsewhere")
    assert read_predictions(moved, records(moved)[0]).right.mean() == pytest.approx(0.9, abs=0.01)
