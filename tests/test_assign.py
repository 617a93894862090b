"""--set: what is typed holds over all that stands in the file, or is refused."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from mixbench.errors import RequestError
from mixbench.suite.load import load
from mixbench.suite.recipe import Recipe

SGD = {"name": "sgd", "lr": 0.5, "momentum": 0.9}
SUITE: dict[str, Any] = {
    "name": "s",
    "models": [
        {"name": "mixer_s4", "recipe": {"epochs": 14, "global_batch_size": 64, "optimizer": SGD, "ema": 0.9}},
        "convmixer_256_8",
    ],
    "datasets": [{"name": "digits", "recipe": {"epochs": 7, "schedule": {"name": "cosine", "warmup_epochs": 1}}}],
    "recipe": {"epochs": 9, "augment": {"flip": True}},
}


def recipes(folder: Path, *typed: str, **changes: Any) -> list[Recipe]:
    (folder / "s.yaml").write_text(yaml.safe_dump(SUITE | changes), encoding="utf-8")
    suite, trials = load(str(folder / "s.yaml"), typed)
    (folder / "kept.yaml").write_text(suite.text, encoding="utf-8")
    again = load(str(folder / "kept.yaml"))[1]
    assert [trial.id for trial in again] == [trial.id for trial in trials]
    return [trial.recipe for trial in trials]


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("recipe.epochs=2", {"epochs": 2}),
        ("recipe={epochs: 2}", {"epochs": 2}),
        ("recipe=[{epochs: 2}]", {"epochs": 2}),
        ("datasets.0.recipe.epochs=2", {"epochs": 2}),
        ("recipe.global_batch_size=32", {"global_batch_size": 32}),
        ("recipe.ema=0", {"ema": 0}),
        ("recipe.optimizer.lr=0.25", {"optimizer.lr": 0.25}),
        ("recipe.optimizer.name=adamw", {"optimizer.name": "adamw", "optimizer.momentum": 0}),
        ("recipe.schedule.name=constant", {"schedule.name": "constant", "schedule.warmup_epochs": 0}),
        ("recipe.augment={}", {"augment.flip": False}),
    ],
)
def test_a_typed_recipe_holds_for_models_and_datasets_with_a_recipe_of_their_own(
    typed: str, found: dict[str, Any], tmp_path: Path
) -> None:
    planned = recipes(tmp_path, typed)
    assert len(planned) == 2
    for recipe in planned:
        for key, value in found.items():
            got: Any = recipe
            for part in key.split("."):
                got = getattr(got, part)
            assert got == value
    untouched = planned[0].optimizer.lr == 0.5 or "optimizer" in typed
    assert untouched and planned[1].optimizer.lr in (0.001, 0.25), "the rest of their recipes stays"


def test_the_batch_of_each_process_is_typed_over_the_files_whole_batch_and_the_other_way_round(tmp_path: Path) -> None:
    speed: dict[str, Any] = dict(measure="throughput", resources={"processes_per_node": 2})
    whole = recipes(tmp_path, "recipe.batch_size_per_process=8", recipe={"global_batch_size": 64}, **speed)
    assert {recipe.global_batch_size for recipe in whole} == {16}
    each = recipes(tmp_path, "recipe.global_batch_size=64", recipe={"batch_size_per_process": 4}, **speed)
    assert {recipe.global_batch_size for recipe in each} == {64}


def test_what_is_typed_for_one_model_holds_over_what_is_typed_for_all_in_either_order(tmp_path: Path) -> None:
    both = ("recipe.epochs=2", "models.0.recipe.epochs=3")
    for typed in (both, both[::-1]):
        assert [recipe.epochs for recipe in recipes(tmp_path, *typed)] == [3, 2]


TWO = [{"name": "a", "epochs": 3}, {"name": "b", "epochs": 5}]


@pytest.mark.parametrize(
    ("typed", "changes"),
    [
        ("recipe.0.epochs=2", {"recipe": TWO}),
        ("recipe=[{name: a, epochs: 2}, {name: b}]", {}),
        ("datasets.0.recipe.epochs=2", {"datasets": ["digits", "mnist"]}),
    ],
)
def test_what_is_typed_for_some_trials_and_a_models_recipe_would_win_over_is_refused(
    typed: str, changes: dict[str, Any], tmp_path: Path
) -> None:
    """Taking out the model's own would change its other trials too."""
    with pytest.raises(RequestError, match=r"models\.0\.recipe\.epochs \(.*s\.yaml:\d+\) would hold") as refused:
        recipes(tmp_path, typed, **({"datasets": ["digits"]} | changes))
    assert str(refused.value).startswith(f"--set {typed}: ") and "--set models.0.recipe.epochs=…" in str(refused.value)


def test_of_two_recipes_one_is_typed_where_no_model_has_its_own(tmp_path: Path) -> None:
    found = recipes(tmp_path, "recipe.0.epochs=2", models="mixer_s4", datasets="digits", recipe=TWO)
    assert [recipe.epochs for recipe in found] == [2, 5]
