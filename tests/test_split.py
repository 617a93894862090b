"""A validation split: a tenth of each class, kept out of training, the same for every seed and world size."""

from pathlib import Path

import pytest
import torch

from mixbench.data.split import Subset, select_splits
from mixbench.data.store import Images, Splits
from mixbench.errors import RequestError
from mixbench.run.flags import Flag, Kind
from mixbench.run.record import Record
from mixbench.suite.datasets import training_images
from mixbench.suite.recipe import Recipe
from tests.trials import RECIPE, plan_trials

LABELS = torch.tensor([0] * 40 + [1] * 25 + [2] * 9)
IMAGES = torch.arange(len(LABELS), dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2)
SPLITS = Splits(Images(IMAGES, LABELS), Images(IMAGES[:5], LABELS[:5]))


def places(part: Images | Subset) -> list[int]:
    batches = part.batches(torch.arange(len(part.labels)).split(7), torch.device("cpu"))
    return [int(value) for batch in batches for value in batch[:, 0, 0, 0]]


def test_the_test_split_is_the_datasets_own() -> None:
    assert select_splits(SPLITS, Recipe()) == (SPLITS.train, SPLITS.test)


def test_a_tenth_of_each_class_is_held_out_and_not_trained_on() -> None:
    train, held_out = select_splits(SPLITS, Recipe(split="val"))
    assert held_out.labels.bincount().tolist() == [4, 2]
    assert sorted(places(train) + places(held_out)) == list(range(len(LABELS)))
    assert LABELS[places(train)].equal(train.labels) and LABELS[places(held_out)].equal(held_out.labels)
    assert places(held_out) == places(select_splits(SPLITS, Recipe(split="val"))[1])
    assert places(held_out)[:4] != [0, 1, 2, 3], "held out at random, not the first ones"


def test_holding_out_is_refused_if_no_class_has_ten_images() -> None:
    few = Images(IMAGES[:9], torch.tensor([0, 1, 2] * 3))
    with pytest.raises(RequestError, match="no class has ten images"):
        select_splits(Splits(few, few), Recipe(split="val"))


def test_records_are_flagged_and_a_batch_larger_than_the_remaining_images_is_refused(tmp_path: Path) -> None:
    recipe = RECIPE | {"split": "val", "global_batch_size": 1294}
    [trial] = plan_trials(tmp_path, recipe=recipe)
    assert Record.pending(trial).flags == [Flag(Kind.VALIDATION_SPLIT)]
    assert training_images(trial.data, trial.recipe) == 1437 - 143 == 1294
    with pytest.raises(RequestError, match="global_batch_size 1295 is more than the 1294 training images of digits"):
        plan_trials(tmp_path, recipe=recipe | {"global_batch_size": 1295})
