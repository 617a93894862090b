"""Data of the page's figure: numbers of every column, as results.csv and the trainings have them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from mixbench.data.loader import TrainLoader
from mixbench.data.store import Images
from mixbench.report.evidence import evidence
from mixbench.report.leaderboard import board
from mixbench.report.plot_data import plot_data
from mixbench.results.tables import tables
from mixbench.run.record import Record
from tests.fake_runs import done, predicting_run, trial, write_run


def told(folder: Path, *records: Record) -> dict[str, Any]:
    found = tables(write_run(folder, [record.details.trial for record in records], list(records)))
    return plot_data(board(found), evidence(found))


def columns(found: dict[str, Any]) -> dict[str, list[float | None]]:
    return {column["key"]: column["values"] for column in found["columns"]}


def test_arguments_settings_and_keys_of_the_recipe_that_are_numbers_and_vary_are_columns(tmp_path: Path) -> None:
    common = {"image_size": 32, "act": "gelu", "serial": False}
    one = trial("a", arguments=common | {"ratio": "2/3", "dim": 64})
    recipe = one.recipe.model_copy(update={"clip_grad_norm": 0.5, "global_batch_size": 64})
    other = trial("b", arguments=common | {"ratio": "1/2", "serial": True}, recipe=recipe, infer_batch_size=32)
    found = columns(told(tmp_path, done(one, 92.0), done(other, 91.0)))
    assert found["arguments.ratio"] == [0.666667, 0.5]
    assert found["recipe.clip_grad_norm"] == [0.0, 0.5]
    assert found["settings.Batch (training)"] == [one.recipe.global_batch_size, 64]
    assert found["settings.Batch (inference)"] == [256, 32]
    absent = {"arguments.act", "arguments.serial", "arguments.image_size", "arguments.dim", "settings.Nodes"}
    assert not absent & set(found), "texts, yes and no, what does not vary, what only one row has"


def test_metrics_are_medians_over_seeds_and_those_that_no_row_has_are_left_out(tmp_path: Path) -> None:
    losses = [0.3, 0.21234567, 0.25]
    found = told(tmp_path, *(done(trial(seed=seed), 90.0 + seed, test_loss=loss) for seed, loss in enumerate(losses)))
    assert columns(found)["test_loss"] == [0.25]
    assert "infer_joules_per_image" not in columns(found)
    assert found["ofSeeds"][0]["top1"] == [90.0, 91.0, 92.0]
    assert found["ofSeeds"][0]["test_loss"] == [0.3, 0.212346, 0.25]
    assert "params" not in found["ofSeeds"][0], "what is the same for all seeds"


def test_calibration_is_a_column_where_predictions_were_kept(tmp_path: Path) -> None:
    nine = tables(predicting_run(tmp_path / "cifar"))
    rows, by_row = board(nine), evidence(nine)
    found = columns(plot_data(rows, by_row))
    assert found["ece"] == pytest.approx([100 * by_row[line.key].calibration_error for line in rows.lines], rel=1e-5)
    assert found["nll"] == pytest.approx([by_row[line.key].likelihood for line in rows.lines], rel=1e-5)


@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize(("batch", "accumulation"), [(512, 1), (49_999, 1), (49_999, 2), (50_000, 1), (64, 4)])
def test_steps_of_an_epoch_are_the_loaders(tmp_path: Path, drop_last: bool, batch: int, accumulation: int) -> None:
    changes = {"drop_last": drop_last, "global_batch_size": batch, "gradient_accumulation": accumulation}
    one = trial()
    one = trial(recipe=one.recipe.model_copy(update=changes))
    images = Images(torch.zeros(50_000, 1, 1, 1, dtype=torch.uint8), torch.zeros(50_000, dtype=torch.int64))
    loader = TrainLoader(images, one.data, one.recipe.augment, batch, 0, 1, drop_last)
    assert told(tmp_path, done(one, 90.0))["stepsPerEpoch"] == [loader.steps(accumulation)]


def test_steps_of_a_training_on_a_part_of_the_images_are_not_guessed(tmp_path: Path) -> None:
    recipe = trial().recipe.model_copy(update={"split": "val"})
    assert told(tmp_path, done(trial(recipe=recipe), 90.0))["stepsPerEpoch"] == [None]
