"""A trial's id: what it says, what it hashes, and that it never changes by accident."""

from typing import Any

import pytest

from mixbench.suite.recipe import Augment, Optimizer, Recipe
from mixbench.suite.trial import Trial, display_name, trial_digest, trial_name
from mixbench.system.files import file_name

ARGUMENTS = {"dim": 256, "ratio": "2/3", "image_size": 32, "in_chans": 3, "num_classes": 10}
POINT = dict(
    precision="fp32", memory_format="contiguous", compile=False, infer_batch_size=256, nodes=1, processes_per_node=1
)


def identify(**changes: Any) -> str:
    given: dict[str, Any] = dict(model="m", overrides={}, arguments=ARGUMENTS, dataset="d", seed=0, recipe=Recipe())
    given |= POINT | changes
    name = trial_name(given["model"], given.pop("overrides"), given["dataset"], given["seed"])
    return f"{name}-{trial_digest(**given)[:8]}"


GOLDEN: list[tuple[dict[str, Any], str]] = [
    ({}, "m-d-s0-b70a2bfc"),
    ({"seed": 7}, "m-d-s7-02db9daa"),
    ({"recipe": Recipe(epochs=3, optimizer=Optimizer(lr=0.1), augment=Augment(flip=True))}, "m-d-s0-cffc5fa3"),
    ({"overrides": {"ratio": "3/5"}, "arguments": ARGUMENTS | {"ratio": "3/5"}}, "m.ratio.3.5.-d-s0-ba3d1e14"),
    ({"precision": "bf16", "nodes": 2, "processes_per_node": 4}, "m-d-s0-dfeab43f"),
]


@pytest.mark.parametrize(("changes", "golden"), GOLDEN)
def test_ids_are_what_they_have_always_been(changes: dict[str, Any], golden: str) -> None:
    assert identify(**changes) == golden


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "n"},
        {"arguments": ARGUMENTS | {"dim": 128}},
        {"dataset": "e"},
        {"seed": 1},
        {"recipe": Recipe(epochs=99)},
        {"recipe": Recipe(optimizer=Optimizer(lr=0.002))},
        {"recipe": Recipe(augment=Augment(crop_padding=1))},
        {"precision": "bf16"},
        {"memory_format": "channels_last"},
        {"compile": True},
        {"infer_batch_size": 128},
        {"nodes": 2},
        {"processes_per_node": 2},
    ],
    ids=str,
)
def test_all_that_can_change_a_result_changes_the_hash(changes: dict[str, Any]) -> None:
    assert identify(**changes)[-8:] != identify()[-8:]


@pytest.mark.parametrize(
    "changes",
    [
        {"recipe": Recipe(name="another")},
        {"recipe": Recipe(epochs=100, optimizer=Optimizer(name="adamw", lr=1e-3))},
        {"arguments": dict(reversed(ARGUMENTS.items()))},
    ],
    ids=str,
)
def test_a_recipe_s_name_a_default_written_out_and_the_order_of_keys_change_nothing(changes: dict[str, Any]) -> None:
    assert identify(**changes) == identify()


def test_a_field_of_a_trial_that_has_a_default_changes_no_id_at_it() -> None:
    """So a new axis leaves every trial that was measured before at its id."""
    assert Trial.model_fields["keep_weights"].default is False
    assert Trial.model_fields["keep_predictions"].default is True
    ids = [identify(**more) for more in ({}, {"keep_weights": False}, {"keep_weights": True})]
    assert ids[0] == ids[1] != ids[2]


def test_names_are_safe_as_file_names() -> None:
    overrides = {"ratio": "3/5", "act": "../x y"}
    assert display_name("m", overrides) == "m[act=../x y,ratio=3/5]"
    assert file_name("m[act=../x y,ratio=3/5]") == "m.act....x.y.ratio.3.5."
    assert len(identify(overrides={"x": "y" * 1000})) < 200


@pytest.mark.parametrize(("written", "value"), [(1, 1.0), ("1e-3", 0.001), ("5E+2", 500.0), (0.25, 0.25)])
def test_numbers_as_people_write_them(written: object, value: float) -> None:
    assert Recipe.model_validate({"optimizer": {"lr": written}}).optimizer.lr == value


@pytest.mark.parametrize("written", ["fast", "1e", True, [1], 0, -1, float("nan"), float("inf"), None])
def test_what_is_no_learning_rate_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="lr"):
        Recipe.model_validate({"optimizer": {"lr": written}})
