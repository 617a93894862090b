"""A suite's trials: which, in what order, by which recipe, under which id; and what does not go together."""

import json
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixbench.errors import RequestError
from mixbench.suite.load import load
from mixbench.suite.plan import merge
from mixbench.suite.trial import Trial
from mixbench.system.checksum import with_checksums
from mixbench.zoo.registry import create_model
from tests import small_sets
from tests.shell import Shell
from tests.trials import RECIPE, plan_trials, write_suite

SUITE: dict[str, Any] = {"name": "s", "models": ["splitmixer_i_256_8"], "datasets": ["digits"]}


def trials(folder: Path, *assignments: str, **changes: Any) -> list[Trial]:
    file = folder / "s.yaml"
    file.write_text(yaml.safe_dump(SUITE | changes, sort_keys=False), encoding="utf-8")
    return load(str(file), assignments)[1]


def refusal(folder: Path, **changes: Any) -> str:
    with pytest.raises(RequestError) as refused:
        trials(folder, **changes)
    return str(refused.value)


def ids(found: list[Trial]) -> list[str]:
    return [trial.id for trial in found]


def model(**overrides: Any) -> dict[str, Any]:
    return {"name": "splitmixer_i_256_8"} | overrides


def test_ids_of_real_trials_are_what_they_have_always_been(tmp_path: Path) -> None:
    models = ["splitmixer_i_256_8", model(ratio="3/5"), "convmixer_256_8"]
    found = trials(tmp_path, models=models, datasets=["digits", "fashion_mnist"], recipe={"epochs": 3})
    assert ids(found) == [
        "splitmixer_i_256_8-digits-s0-6751f59f",
        "splitmixer_i_256_8.ratio.3.5.-digits-s0-e6d54dcf",
        "convmixer_256_8-digits-s0-200d4d25",
        "splitmixer_i_256_8-fashion_mnist-s0-801b4fb9",
        "splitmixer_i_256_8.ratio.3.5.-fashion_mnist-s0-dbd5b6b7",
        "convmixer_256_8-fashion_mnist-s0-644b5479",
    ]


def test_seeds_are_outside_and_models_inside(tmp_path: Path) -> None:
    models = ["splitmixer_i_256_8", "convmixer_256_8"]
    recipe = [{"name": "a"}, {"name": "b", "epochs": 5}]
    datasets = ["digits", "fashion_mnist"]
    found = trials(tmp_path, models=models, datasets=datasets, seeds=[1, 0], recipe=recipe, precision=["fp32", "bf16"])
    points = [(trial.seed, trial.dataset, trial.recipe.name, trial.precision, trial.model) for trial in found]
    assert points == [
        (s, d, r, p, m) for s in (1, 0) for d in datasets for r in "ab" for p in ("fp32", "bf16") for m in models
    ]
    assert len(set(ids(found))) == 32


def test_a_model_is_measured_on_the_datasets_that_it_names(tmp_path: Path) -> None:
    models = [model(datasets="fashion_mnist"), "convmixer_256_8"]
    found = trials(tmp_path, models=models, datasets=["digits", "fashion_mnist"])
    assert [(trial.model, trial.dataset) for trial in found] == [
        ("convmixer_256_8", "digits"),
        ("splitmixer_i_256_8", "fashion_mnist"),
        ("convmixer_256_8", "fashion_mnist"),
    ]
    without = trials(tmp_path, models=model(), datasets="fashion_mnist")
    assert found[1].id == without[0].id, "the key tells nothing apart"
    assert "mnist: every model has other datasets" in refusal(
        tmp_path, models=models[0], datasets=["mnist", "fashion_mnist"]
    )


def test_the_plan_is_the_same_every_time(tmp_path: Path) -> None:
    changes = dict(seeds=[0, 1], models=["splitmixer_iv_256_8", "convmixer_256_8"])
    assert trials(tmp_path, **changes) == trials(tmp_path, **changes)


def test_what_cannot_change_a_result_leaves_the_id_alone(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    plain = ids(trials(tmp_path, recipe={"epochs": 3}))
    assert plain == ids(trials(tmp_path / "elsewhere", recipe={"epochs": 3}))
    assert plain == ids(trials(tmp_path, recipe={"name": "short", "epochs": 3}))
    assert plain == ids(trials(tmp_path, models=[{"recipe": {"epochs": 3}, "label": "L"} | model()]))
    assert plain == ids(trials(tmp_path, name="other", measure=["accuracy"], recipe={"epochs": 3}))
    assert plain == ids(trials(tmp_path, recipe={"epochs": 3}, throughput={"repeats": 5}, description="x"))


@pytest.mark.parametrize("overrides", [dict(ratio="2/3"), dict(depth=8), dict(depth=8, kernel_size=5, act="gelu")])
def test_an_override_that_overrides_nothing_is_the_plain_model(tmp_path: Path, overrides: dict[str, Any]) -> None:
    (plain,), (same,) = trials(tmp_path), trials(tmp_path, models=[model(**overrides)])
    assert (same.id, same.label, same.overrides) == (plain.id, "splitmixer_i_256_8", {})


def test_a_fraction_is_the_same_however_it_is_written(tmp_path: Path) -> None:
    found = [trials(tmp_path, models=[model(ratio=ratio)])[0] for ratio in (0.6, "3/5", "6/10", "0.60")]
    assert len({trial.id for trial in found}) == 1
    assert found[0].overrides == {"ratio": "3/5"}
    assert found[0].label == "splitmixer_i_256_8[ratio=3/5]"


def test_a_model_s_recipe_wins_over_the_dataset_s_and_that_over_the_suite_s(tmp_path: Path) -> None:
    (trial,) = trials(
        tmp_path,
        models=[model(recipe={"epochs": 1, "optimizer": {"lr": 0.5}})],
        datasets=[{"name": "digits", "recipe": {"epochs": 2, "global_batch_size": 64, "optimizer": {"eps": 0.1}}}],
        recipe={"epochs": 3, "global_batch_size": 128, "optimizer": {"lr": 0.1, "weight_decay": 0.2}},
    )
    recipe = trial.recipe
    assert (recipe.epochs, recipe.global_batch_size) == (1, 64)
    assert (recipe.optimizer.lr, recipe.optimizer.eps, recipe.optimizer.weight_decay) == (0.5, 0.1, 0.2)


def test_each_named_recipe_is_a_trial(tmp_path: Path) -> None:
    found = trials(tmp_path, recipe=[{"name": "short", "epochs": 1}, {"name": "long", "epochs": 9}])
    assert [(trial.recipe.name, trial.recipe.epochs) for trial in found] == [("short", 1), ("long", 9)]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(recipe=[{"epochs": 1}, {"epochs": 2}]), "could not tell recipe.1 from recipe.0"),
        (dict(recipe=[{"name": "a"}, {"name": "b"}]), "recipe.1 gives the same trials as recipe.0"),
        (dict(models=[model(), model(label="L")]), "models.1 gives the same trials as models.0"),
        (dict(models=[model(ratio=0.6), model(ratio="3/5")]), "models.1 gives the same trials as models.0"),
        (dict(models=[model(), model(recipe={"epochs": 2})]), "could not tell models.1 from models.0"),
        (dict(models=[model(label="L"), model(label="L", depth=2)]), "could not tell models.1 from models.0"),
        (dict(datasets=["digits", "digits"]), "datasets.1 gives the same trials as datasets.0"),
        (dict(recipe={"global_batch_size": 1438}), "1438 is more than the 1437 training images of digits"),
        (dict(recipe={"global_batch_size": 9}, resources={"processes_per_node": 2}), "9 is not a multiple of 2"),
        (dict(recipe={"global_batch_size": 9, "gradient_accumulation": 2}), "9 is not a multiple of 2"),
        (dict(resources={"nodes": 3, "processes_per_node": 2}), "512 is not a multiple of 6"),
    ],
    ids=str,
)
def test_what_does_not_go_together_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    assert said in refusal(tmp_path, **changes)


def test_models_of_one_name_are_told_apart_by_their_labels(tmp_path: Path) -> None:
    found = trials(tmp_path, models=[model(), model(label="long", recipe={"epochs": 200})])
    assert [trial.label for trial in found] == ["splitmixer_i_256_8", "long"]


def test_a_batch_as_large_as_the_training_set_is_good_and_a_larger_one_where_nothing_is_trained(tmp_path: Path) -> None:
    assert trials(tmp_path, recipe={"global_batch_size": 1437})
    assert trials(tmp_path, recipe={"global_batch_size": 2000}, measure=["throughput"])


def test_ten_thousand_trials_are_planned_in_three_seconds(tmp_path: Path) -> None:
    import time

    trials(tmp_path)
    before = time.process_time()
    found = trials(tmp_path, models=[model(depth=depth) for depth in range(1, 11)], seeds=list(range(1000)))
    assert len(set(ids(found))) == 10_000
    assert time.process_time() - before < 3


PLUGIN = """
from torch import nn
from mixbench.zoo.registry import register_model

@register_model(variants={"NAME": dict(width=4, image_size=8)})
class Tiny(nn.Module):
    def __init__(self, width: int, image_size: int = 8, in_chans: int = 3, num_classes: int = 10):
        super().__init__()
        if width == 13:
            raise KeyError("thirteen")
        self.head = nn.Linear(in_chans * image_size**2, num_classes)
"""


def test_a_plugin_s_model_is_planned_wherever_the_suite_is_read_from(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "tiny.py").write_text(PLUGIN.replace("NAME", "tiny_a"), encoding="utf-8")
    monkeypatch.chdir("/")
    (trial,) = trials(tmp_path, models=["tiny_a"], plugins=["tiny.py"])
    assert trials(tmp_path, models=["tiny_a"], plugins="tiny.py") == [trial]
    assert (trial.family, trial.plugins) == ("Tiny", (str(tmp_path / "tiny.py"),))


LISTS = """
from torch import nn
from mixbench.zoo.registry import register_model

@register_model(variants={"stages": dict(depths=(2, 2), image_size=8)})
class Stages(nn.Module):
    def __init__(
        self, depths: tuple[int, ...], names: list[str] | None = None,
        image_size: int = 8, in_chans: int = 3, num_classes: int = 10,
    ):
        super().__init__()
        assert isinstance(depths, tuple), depths
        self.head = nn.Linear(sum(depths), num_classes)
"""


def test_arguments_may_be_lists(tmp_path: Path) -> None:
    (tmp_path / "stages.py").write_text(LISTS, encoding="utf-8")
    models = ["stages", {"name": "stages", "depths": [3, 4]}, {"name": "stages", "depths": [2, 2], "names": ["a"]}]
    found = trials(tmp_path, models=models, plugins=["stages.py"])
    assert [trial.arguments["depths"] for trial in found] == [[2, 2], [3, 4], [2, 2]]
    assert [trial.display_name for trial in found] == ["stages", "stages[depths=[3, 4]]", "stages[names=['a']]"]
    assert len(set(ids(found))) == 3
    for trial in found:
        again = Trial.model_validate_json(trial.model_dump_json())
        assert again == trial and str(create_model(again.model, **again.arguments)).count("in_features=7") == (
            again.arguments["depths"] == [3, 4]
        )
    said = refusal(tmp_path, models=[{"name": "stages", "depths": ["3"]}], plugins=["stages.py"])
    assert 'depths: ["3"] does not fit (a whole number is wanted)' in said
    twice = refusal(tmp_path, models=["stages", {"name": "stages", "depths": [2, 2]}], plugins=["stages.py"])
    assert "models.1 gives the same trials as models.0" in twice


def test_a_plugin_s_model_may_raise_anything(tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text(PLUGIN.replace("NAME", "tiny_b"), encoding="utf-8")
    said = refusal(tmp_path, models=[{"name": "tiny_b", "width": 13}], plugins=["tiny.py"])
    assert said.endswith("tiny_b on digits: cannot be built: KeyError: 'thirteen'")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1 / 0", "raises ZeroDivisionError"),
        ("import nothing_like_it", "raises ModuleNotFoundError"),
        (None, "no plugin file"),
    ],
)
def test_a_bad_plugin_is_named_with_its_line(tmp_path: Path, text: str | None, said: str) -> None:
    if text:
        (tmp_path / "bad.py").write_text(text, encoding="utf-8")
    message = refusal(tmp_path, plugins=["bad.py"])
    assert f"{tmp_path}/s.yaml:7: " in message
    assert said in message


def test_nesterov_needs_the_momentum_of_some_recipe(tmp_path: Path) -> None:
    nesterov = {"optimizer": {"name": "sgd", "nesterov": True}}
    said = refusal(tmp_path, datasets=[{"name": "digits", "recipe": nesterov}])
    assert said.endswith("s.yaml:7: nesterov: true needs a momentum above 0, such as momentum: 0.9")
    assert trials(tmp_path, datasets=[{"name": "digits", "recipe": nesterov}], recipe={"optimizer": {"momentum": 0.9}})


@pytest.mark.parametrize(
    ("recipe", "changes", "said"),
    [
        ({"optimizer": {"name": "lamb"}, "zero_stage": 1}, {}, "LAMB's trust ratios need whole weights"),
        ({"ema": 0.9, "zero_stage": 3}, {}, "ema averages whole fp32 weights"),
        ({}, {"keep_weights": True, "measure": ["complexity"]}, "nothing is trained where accuracy is not measured"),
        ({"zero_stage": 3}, {"keep_weights": True}, "weights are kept and given whole"),
        ({"zero_stage": 1}, {"precision": ["fp32", "amp-fp16"]}, "DeepSpeed's ZeRO never lowers"),
        ({"test_crop": 0.9}, {}, "those of digits are squashed to size"),
        ({"ema": 0.9}, {"precision": ["fp32", "bf16"]}, "ema averages whole fp32 weights"),
        ({"drop_path": 0.1}, {}, "splitmixer_i_256_8 has no drop_path; give it to the models that have one"),
        (
            {"augment": {"randaugment": "rand-m9-mstd0.5-inc1"}},
            {},
            "'rand-m9-mstd0.5-inc1' cannot be reproduced exactly",
        ),
        ({"augment": {"resize_crop": {"scale": [1, 0.5]}}}, {}, "the lower bound comes first: [1.0, 0.5]"),
        ({"augment": {"resize_crop": {"scale": [0.5, 1.5]}}}, {}, "at most 1, not 1.5"),
        ({"augment": {"erasing": {"ratio": [3, 2]}}}, {}, "the lower bound comes first: [3.0, 2.0]"),
    ],
)
def test_recipes_that_cannot_be_are_refused(tmp_path: Path, recipe: Any, changes: Any, said: str) -> None:
    assert said in refusal(tmp_path, recipe=recipe, **changes)


def test_a_recipes_drop_path_is_the_models(tmp_path: Path) -> None:
    models = [
        {"name": "mixer_s4", "patch_size": 2, "recipe": {"drop_path": 0.25}},
        {"name": "mixer_s4", "patch_size": 2, "label": "own", "drop_path": 0.25},
        {"name": "mixer_s4", "patch_size": 2, "label": "none"},
    ]
    by_recipe, own, none = trials(tmp_path, models=models)
    assert [trial.arguments["drop_path"] for trial in (by_recipe, own, none)] == [0.25, 0.25, 0.0]
    assert len({by_recipe.id, own.id, none.id}) == 3


def test_merging_lays_mappings_over_mappings_and_replaces_the_rest() -> None:
    below = {"a": {"b": 1, "c": [1, 2]}, "d": {"e": 1}}
    assert merge(below, {"a": {"c": [3]}, "d": 5, "f": 6}) == {"a": {"b": 1, "c": [3]}, "d": 5, "f": 6}
    assert below == {"a": {"b": 1, "c": [1, 2]}, "d": {"e": 1}}


def test_each_entry_of_resources_is_a_trial_and_one_alone_keeps_its_id(tmp_path: Path) -> None:
    sizes = [{"processes_per_node": 1}, {"processes_per_node": 2}, {"nodes": 2, "processes_per_node": 2}]
    models = ["splitmixer_i_256_8", "convmixer_256_8"]
    found = trials(tmp_path, resources=sizes, models=models, seeds=[0, 1])
    points = [(trial.seed, trial.nodes, trial.world_size, trial.model) for trial in found]
    assert points == [(s, n, w, m) for s in (0, 1) for n, w in ((1, 1), (1, 2), (2, 4)) for m in models]
    alone = [ids(trials(tmp_path, resources=size, models=models, seeds=[0, 1])) for size in sizes]
    assert sorted(ids(found)) == sorted(chain.from_iterable(alone)) and len(set(ids(found))) == 12
    assert ids(trials(tmp_path, models=models, seeds=[0, 1])) == alone[0], "what is unsaid is one process"


def test_a_batch_for_each_process_is_the_same_trial_as_the_batch_that_it_makes(tmp_path: Path) -> None:
    sizes = [{"processes_per_node": n} for n in (1, 2, 4)]
    measure = ["throughput"]
    weak = trials(tmp_path, recipe={"batch_size_per_process": 32}, resources=sizes, measure=measure)
    assert [trial.recipe.global_batch_size for trial in weak] == [32, 64, 128]
    assert {trial.recipe.batch_size_per_process for trial in weak} == {None}
    assert {trial.recipe.optimizer.lr for trial in weak} == {0.001}, "no learning rate is scaled"
    said = [
        trials(tmp_path, recipe={"global_batch_size": 32 * n}, resources={"processes_per_node": n}, measure=measure)[0]
        for n in (1, 2, 4)
    ]
    assert ids(weak) == ids(said)


def test_strong_and_weak_scaling_share_the_trial_in_which_their_batches_meet(tmp_path: Path) -> None:
    recipe = [{"name": "strong", "global_batch_size": 128}, {"name": "weak", "batch_size_per_process": 64}]
    changes = dict(recipe=recipe, resources=[{}, {"processes_per_node": 2}], measure=["throughput"])
    found = trials(tmp_path, **changes)
    points = [(trial.recipe.name, trial.world_size, trial.recipe.global_batch_size) for trial in found]
    assert sorted(points) == [("strong", 1, 128), ("strong", 2, 128), ("weak", 1, 64)]
    assert "recipe.1 gives the same trials as recipe.0" in refusal(
        tmp_path, **changes | {"resources": {"processes_per_node": 2}}
    )


def test_the_uppermost_recipe_says_the_batch_in_either_way(tmp_path: Path) -> None:
    def batches(below: dict[str, Any], above: dict[str, Any]) -> list[int]:
        found = trials(
            tmp_path,
            models=[model(recipe=above)],
            recipe=below,
            resources=[{}, {"processes_per_node": 2}],
            measure=["throughput"],
        )
        return [trial.recipe.global_batch_size for trial in found]

    assert batches({"global_batch_size": 512}, {"batch_size_per_process": 8}) == [8, 16]
    assert batches({"batch_size_per_process": 8}, {"global_batch_size": 512}) == [512, 512]
    assert batches({"batch_size_per_process": 8}, {"epochs": 3}) == [8, 16]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (dict(), "batch_size_per_process lets the batch grow with the processes while the learning rate stays"),
        (
            dict(recipe={"batch_size_per_process": 9, "gradient_accumulation": 2}, measure="throughput"),
            "9 is not a multiple of 2 (accumulation steps)",
        ),
        (
            dict(recipe={"batch_size_per_process": 8}, measure="throughput", resources={"nodes": 500_000}),
            "makes a batch of 4,000,000; at most 1,000,000 are trained",
        ),
    ],
    ids=str,
)
def test_a_batch_for_each_process_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    message = refusal(tmp_path, **{"recipe": {"batch_size_per_process": 8}} | changes)
    assert said in message and message.startswith(f"{tmp_path}/s.yaml:7: ") and "\n" not in message


def test_a_cluster_s_resources_are_those_of_a_suite_that_says_nothing(tmp_path: Path) -> None:
    def sizes(**changes: Any) -> list[tuple[int, int]]:
        trials(tmp_path, **changes)
        found = load(str(tmp_path / "s.yaml"), (), {"nodes": 2, "processes_per_node": 4})[1]
        return [(trial.nodes, trial.processes_per_node) for trial in found]

    assert sizes() == [(2, 4)]
    assert sizes(resources=[{}, {"processes_per_node": 2}]) == [(1, 1), (1, 2)]


def test_one_of_several_resources_is_set_by_its_place(tmp_path: Path) -> None:
    sizes = [{}, {"processes_per_node": 2}]
    found = trials(tmp_path, "resources.1.processes_per_node=8", resources=sizes)
    assert [trial.world_size for trial in found] == [1, 8]
    with pytest.raises(RequestError, match=r"resources is a list: write resources\.0 to 1"):
        trials(tmp_path, "resources.processes_per_node=8", resources=sizes)


def test_resources_are_counted_among_the_axes(tmp_path: Path) -> None:
    sizes = [{"processes_per_node": n} for n in range(1, 301)]
    assert "120,000 trials (400 seeds × 300 resources) are planned" in refusal(
        tmp_path, seeds=list(range(400)), resources=sizes
    )


def test_two_image_folders_of_one_name_are_refused(tmp_path: Path) -> None:
    folders = [str(small_sets.write_tree(tmp_path / name, {"cat": (80, 1)})) for name in "ab"]
    suite = write_suite(tmp_path, datasets=[{"name": "pets", "image_folder": folder} for folder in folders])
    with pytest.raises(RequestError, match=f"'pets' is datasets.0 already, of the images in {folders[0]}"):
        load(str(suite))


def test_an_image_folder_starts_at_the_suite_file(tmp_path: Path) -> None:
    small_sets.write_tree(tmp_path / "photos", {"cat": (80, 1), "dog": (1, 1)})
    suite = write_suite(tmp_path, datasets=[{"name": "pets", "image_folder": "photos", "image_size": 16}])
    [trial] = load(str(suite))[1]
    assert (trial.data.folder, trial.data.classes, trial.data.image_size) == (str(tmp_path / "photos"), 2, 16)
    again = tmp_path / "elsewhere.yaml"
    again.write_text(load(str(suite))[0].text, encoding="utf-8")
    assert load(str(again))[1][0].id == trial.id


COLLIDING = (0.014341, 0.020975)
"""Learning rates of `small` trials whose hashes begin with the same 8 digits."""


def of_rates(*rates: float) -> dict[str, Any]:
    recipes = [RECIPE | {"name": str(lr), "optimizer": {"name": "sgd", "lr": lr}} for lr in rates]
    return dict(recipe=recipes, measure=["accuracy"])


def test_two_trials_whose_ids_would_be_equal_are_told_apart(tmp_path: Path) -> None:
    alone = [plan_trials(tmp_path, **of_rates(lr))[0] for lr in COLLIDING]
    assert alone[0].id == alone[1].id and alone[0].digest != alone[1].digest
    first, second, third = plan_trials(tmp_path, **of_rates(*COLLIDING, 0.5))
    assert first.id == alone[0].id and second.id == f"{first.id}{second.digest[8:16]}"
    assert third.id.endswith(third.digest[:8])


def test_a_folder_that_holds_another_trial_under_an_id_is_refused(tmp_path: Path, mixbench: Shell) -> None:
    """Its figures would stand for those of the other learning rate, as done already."""
    run, out = ["--out", tmp_path / "run", "--cluster", "debug"], tmp_path / "run"
    assert mixbench("run", write_suite(tmp_path, **of_rates(COLLIDING[0])), *run)[0] == 0
    other = write_suite(tmp_path, **of_rates(COLLIDING[1]))
    for verb in (["--dry-run"], []):
        code, _, said = mixbench("run", other, *run, *verb)
        assert code == 2 and "another trial under the id mixer_s4" in said
        assert "recipe.optimizer.lr 0.014341, not 0.020975" in said
    assert mixbench("run", other, "--out", tmp_path / "b", "--cluster", "debug")[0] == 0
    code, _, said = mixbench("compare", out, tmp_path / "b")
    assert code == 2 and "another trial in A than in B" in said
    for name in ("record", "trial"):  # as an older mixbench wrote them, without a digest
        [path] = out.glob(f"trials/*/{name}.json")
        found = json.loads(path.read_text(encoding="utf-8"))
        (found["details"]["trial"] if name == "record" else found)["digest"] = ""
        for key in ("sha256", "sha256_of_text"):
            found.pop(key, None)
        path.write_text(with_checksums(json.dumps(found)), encoding="utf-8")
    assert mixbench("run", other, *run)[0] == 2
    code, said, _ = mixbench("run", write_suite(tmp_path, **of_rates(COLLIDING[0])), *run)
    assert code == 0 and "1 is done already" in said.replace("1 are", "1 is")
