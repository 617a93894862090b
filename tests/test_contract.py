"""Models that cannot be measured are refused before anything runs, by the name of what is wrong with them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from mixbench.data.store import Splits
from mixbench.errors import RequestError, TrialError
from mixbench.measure import accuracy
from mixbench.measure.recorder import error_text
from mixbench.suite.load import load
from mixbench.train.distributed import World
from mixbench.zoo.contract import training_limits, wrong_forward, wrong_output
from mixbench.zoo.registry import create_model, find, list_models
from tests.trials import RECIPE, plan_trials, write_suite

ODD = str(Path(__file__).with_name("odd_models.py"))


def refused(folder: Path, model: str, **keys: Any) -> str:
    with pytest.raises(RequestError) as refusal:
        load(str(write_suite(folder, models=[model], plugins=[ODD], **keys)))
    place, _, message = str(refusal.value).partition(": ")
    assert Path(place.rpartition(":")[0]).name == "small.yaml"
    return message


@pytest.mark.parametrize(
    ("model", "returned"),
    [
        ("returns_more", "4 × 1000"),
        ("returns_tuple", "a tuple (4 × 10, 4 × 3)"),
        ("returns_dict", "a dict with the keys 'logits'"),
        ("returns_map", "4 × 10 × 1 × 1"),
        ("returns_sum", "a single number"),
        ("returns_int", "4 × 10 of type int64"),
    ],
)
def test_a_forward_that_returns_no_logits_is_refused(model: str, returned: str, tmp_path: Path) -> None:
    expected = f"forward must return B × num_classes (4 × 10); it returned {returned}"
    assert refused(tmp_path, model) == f"{model} on digits: {expected}"


@pytest.mark.parametrize(
    ("output", "returned"), [(None, "nothing"), ("text", "a str"), ([torch.ones(2)], "a list (2)")]
)
def test_what_is_no_tensor_is_named_by_its_type(output: object, returned: str) -> None:
    assert wrong_output(output, 2, 3).endswith(f"(2 × 3); it returned {returned}")


def test_a_lazy_parameter_is_refused_by_its_name(tmp_path: Path) -> None:
    assert refused(tmp_path, "lazy") == (
        "lazy on digits: head.weight (LazyLinear) has no shape before the first forward: give its sizes in the model"
    )


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("bad_expanded", "parameter 'scale' has several elements in one place of memory"),
        ("bad_shared", "'scale' and 'head.bias' share memory, yet are two tensors"),
        ("bad_overlapping", "'scale' and 'shift' share memory, yet are two tensors"),
        ("bad_complex", "parameter 'scale' is complex"),
        ("bad_none", "it has no parameter to train"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused_unless_it_is_only_counted(
    model: str, why: str, tmp_path: Path
) -> None:
    assert refused(tmp_path, model).startswith(f"{model} cannot be trained: {why}")
    load(str(write_suite(tmp_path, models=[model], plugins=[ODD], measure=["complexity"])))


@pytest.mark.parametrize(("model", "most"), [("double", 0), ("empty", 2)])
def test_what_only_some_stages_of_zero_train_is_refused_for_the_others(model: str, most: int, tmp_path: Path) -> None:
    for stage in range(4):
        recipe = RECIPE | {"zero_stage": stage}
        if stage > most:
            message = refused(tmp_path, model, recipe=recipe)
            assert message.startswith(f"{model} cannot be trained: parameter 'scale' is ")
            assert message.endswith(f": zero_stage: {most} at most")
        else:
            load(str(write_suite(tmp_path, models=[model], plugins=[ODD], recipe=recipe)))


def test_tied_layers_and_parts_of_one_memory_are_no_fault(tmp_path: Path) -> None:
    plan_trials(tmp_path, models=["unlike"], plugins=[ODD], recipe=RECIPE | {"zero_stage": 3})


def test_a_buffer_that_is_a_view_of_a_parameter_is_named() -> None:
    model = nn.Linear(3, 2)
    model.register_buffer("mean", model.weight.data[0])
    [(stage, why)] = training_limits(model)
    assert stage == 0 and why.startswith("'mean' and 'weight' share memory")


@pytest.mark.parametrize(
    ("model", "columns"), [("depends_more", "70 × 1000"), ("auxiliary", "a tuple (70 × 10, 70 × 10)")]
)
def test_an_output_that_validate_cannot_see_is_checked_in_training(
    model: str, columns: str, tmp_path: Path, world: World, digits: Splits
) -> None:
    [trial] = plan_trials(tmp_path, models=[model], plugins=[ODD])
    expected = f"forward must return B × num_classes (70 × 10); it returned {columns}"
    with pytest.raises(TrialError) as failure:
        accuracy.measure(trial, digits, world, lambda *_: None)
    assert str(failure.value) == expected


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("detached", "forward returned logits without a gradient (detached, or of torch.no_grad): nothing is learnt"),
        ("exits", "the model's code called sys.exit(0)"),
    ],
)
def test_a_forward_that_cannot_be_trained_says_why(
    model: str, said: str, tmp_path: Path, world: World, digits: Splits
) -> None:
    [trial] = plan_trials(tmp_path, models=[model], plugins=[ODD])
    with pytest.raises((TrialError, SystemExit)) as failure:
        accuracy.measure(trial, digits, world, lambda *_: None)
    assert error_text(failure.value)[0] == said


@pytest.mark.parametrize("name", list_models())
def test_every_model_of_the_zoo_keeps_the_contract(name: str) -> None:
    with torch.device("meta"):
        model = create_model(name)
    assert wrong_forward(model, find(name).arguments) == "" and list(training_limits(model)) == []


def test_a_model_that_is_nan_in_evaluation_alone_fails(tmp_path: Path, world: World, digits: Splits) -> None:
    [trial] = plan_trials(tmp_path, models=["not_a_number"], plugins=[ODD])
    images = (digits.test.images.float() / 255 - trial.data.mean[0]) / trial.data.std[0]
    bright = int((images.flatten(1).mean(1) > 0).sum())
    assert 100 < bright < 260
    with pytest.raises(TrialError) as failure:
        accuracy.measure(trial, digits, world, lambda *_: None)
    expected = f"the test loss is nan after epoch 1 of 1: {bright} of 360 images have no finite one"
    assert str(failure.value) == expected
