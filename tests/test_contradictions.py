"""Settings of which one would leave the other without effect are refused, at their place; those that agree are not."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from mixbench.errors import RequestError
from mixbench.suite.load import load
from mixbench.suite.recipe import ONLY_FOR, Optimizer, Schedule
from tests import small_sets

SMALL = {"name": "resmlp_s12", "dim": 16, "depth": 1, "patch_size": 2}
BASE: dict[str, Any] = {"name": "s", "models": [SMALL], "datasets": ["digits"]}


def planned(folder: Path, recipe: Any, **changes: Any) -> int:
    (folder / "s.yaml").write_text(yaml.safe_dump(BASE | {"recipe": recipe} | changes), encoding="utf-8")
    return len(load(str(folder / "s.yaml"))[1])


def refusal(folder: Path, recipe: Any, **changes: Any) -> str:
    with pytest.raises(RequestError) as refused:
        planned(folder, recipe, **changes)
    return str(refused.value)


def cosine(warmup: float) -> dict[str, Any]:
    return {"name": "cosine", "warmup_epochs": warmup}


@pytest.mark.parametrize(
    ("recipe", "changes", "said"),
    [
        ({"epochs": 4, "schedule": cosine(20)}, {}, "a warm-up of 20 epochs does not end within epochs: 4"),
        ({"epochs": 4, "schedule": cosine(4)}, {}, "a warm-up of 4 epochs does not end"),
        ({"schedule": cosine(20)}, {"models": [SMALL | {"recipe": {"epochs": 4}}]}, "a warm-up of 20 epochs"),
        ({"augment": {"crop_padding": 8}}, {}, "crop_padding 8 is not less than the 8 pixels of an image of digits"),
        ({"global_batch_size": 4, "augment": {"mixup": 0.2}, "gradient_accumulation": 4}, {}, "mixup mixes the images"),
        (
            {"global_batch_size": 2, "augment": {"cutmix": 1.0}},
            {"resources": {"processes_per_node": 2}},
            "cutmix mixes the images that a process takes at a time, which is one",
        ),
        ({"drop_path": 0.1}, {"models": [SMALL | {"drop_path": 0.2}]}, "drop_path is 0.2 here and 0.1 in the recipe"),
    ],
    ids=str,
)
def test_a_pair_that_contradicts_itself_is_refused_with_its_line(
    recipe: dict[str, Any], changes: dict[str, Any], said: str, tmp_path: Path
) -> None:
    message = refusal(tmp_path, recipe, **changes)
    assert said in message and "s.yaml:" in message


@pytest.mark.parametrize(("part", "option"), [(part, option) for part in ONLY_FOR for option in ONLY_FOR[part]])
def test_an_option_of_another_optimizer_or_schedule_is_refused(part: str, option: str, tmp_path: Path) -> None:
    values: dict[str, Any] = {"momentum": 0.9, "nesterov": True, "betas": [0.9, 0.95], "eps": 1e-3, "warmup_epochs": 1}
    values |= {"final": 0.1, "rise": 0.2, "start_divisor": 10, "end_divisor": 10, "points": [[0, 1], [1, 0]]}
    names = ONLY_FOR[part][option]
    of_part: type[Any] = {"optimizer": Optimizer, "schedule": Schedule}[part]
    other = "sgd" if "adamw" in names else "constant" if part == "schedule" else "adamw"
    said = f"{option} is for {' and '.join(names)}, and has no effect on {other}: take it out"
    given = {option: values[option]} | ({"momentum": 0.9} if option == "nesterov" else {})
    assert said in refusal(tmp_path, {part: {"name": other} | given})
    assert said in refusal(tmp_path, {part: {"name": other}}, models=[SMALL | {"recipe": {part: given}}])
    assert planned(tmp_path, {part: {"name": names[0]} | given}) == 1
    replaced = [SMALL | {"recipe": {part: {"name": other}}}]
    assert planned(tmp_path, {part: {"name": names[0]} | given}, models=replaced) == 1, (
        "the suite's optimizer is another"
    )
    default = getattr(of_part(), option)
    default = [list(each) if isinstance(each, tuple) else each for each in default] if option == "points" else default
    default = list(default) if isinstance(default, tuple) else default
    assert planned(tmp_path, {part: {"name": other, option: default}}) == 1, "nothing is asked for"


def test_an_option_without_its_optimizer_or_schedule_is_refused(tmp_path: Path) -> None:
    assert "warmup_epochs is for cosine, and has no effect on piecewise_linear" in refusal(
        tmp_path, {"schedule": {"warmup_epochs": 2}}
    )
    assert "momentum is for sgd, and has no effect on adamw" in refusal(tmp_path, {"optimizer": {"momentum": 0.9}})


def test_given_weights_and_epochs_of_their_own_are_refused(tmp_path: Path) -> None:
    """They are evaluated, not trained on."""
    import torch

    from mixbench.zoo.registry import create_model

    model = create_model("resmlp_s12", image_size=8, in_chans=1, num_classes=10, dim=16, depth=1, patch_size=2)
    torch.save(model.state_dict(), tmp_path / "w.pt")
    given = SMALL | {"weights": "w.pt"}
    assert planned(tmp_path, {"epochs": 5}, models=[given]) == 1
    assert "weights are evaluated without training, so epochs has no effect" in refusal(
        tmp_path, {}, models=[given | {"recipe": {"epochs": 5}}]
    )


def test_a_held_out_tenth_of_classes_of_less_than_ten_images_is_refused_before_the_run(tmp_path: Path) -> None:
    small_sets.write_tree(tmp_path / "pets", {"cat": (9, 1), "dog": (3, 1)})
    pets = [{"name": "pets", "image_folder": "pets", "image_size": 8}]
    message = refusal(tmp_path, {"split": "val", "global_batch_size": 2}, datasets=pets)
    assert "no class has 10 images" in message
