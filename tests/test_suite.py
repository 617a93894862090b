"""A suite file: all that is wrong with it at once, each at its line; bases, --set, and the frozen text."""

from pathlib import Path
from typing import Any

import pytest

from mixbench.errors import RequestError
from mixbench.suite.load import find_suite, load

GOOD = """\
name: good
models:
  - splitmixer_i_256_8
  - {name: convmixer_256_8, depth: 2}
datasets: [digits]
recipe: {epochs: 3}
"""
PLUGIN = """
from torch import nn
from mixbench.zoo.registry import register_model

@register_model(variants={"NAME": {}})
class Tiny(nn.Module):
    def __init__(self, image_size: int = 8, in_chans: int = 3, num_classes: int = 10):
        super().__init__()
"""


def write(folder: Path, text: str, name: str = "s.yaml") -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def refusal(path: str, *assignments: str) -> str:
    with pytest.raises(RequestError) as refused:
        load(path, assignments)
    return str(refused.value)


def ids(path: str, *assignments: str) -> list[str]:
    return [trial.id for trial in load(path, assignments)[1]]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        # names
        ("models: [splitmixr_i_256_8]", "no model is called 'splitmixr_i_256_8' (did you mean splitmixer_i_256_8"),
        ("datasets: [digts]", "no dataset is called 'digts' (did you mean digits?)"),
        ("sedes: [0]", "unknown key 'sedes' (did you mean seeds?)"),
        ("bsae: x", "unknown key 'bsae' (did you mean base?)"),
        ("name: My Suite", "name: only a–z, 0–9, _ and - are wanted"),
        ("name: 5", "name: text is wanted (in quotes), not 5"),
        # recipes, wherever they stand
        ("recipe: {epoch: 1}", "recipe: unknown key 'epoch' (did you mean epochs?)"),
        ("recipe: {optimizer: {lrr: 1}}", "recipe.optimizer: unknown key 'lrr' (did you mean lr?)"),
        ("recipe: [{name: a}, {name: b, epoch: 1}]", "recipe.1: unknown key 'epoch' (did you mean epochs?)"),
        ("datasets: {name: digits, recipe: {augment: {flp: true}}}", "datasets.recipe.augment: unknown key 'flp'"),
        ("models: [{name: convmixer_256_8, recipe: {schedule: {nam: x}}}]", "models.0.recipe.schedule: unknown key"),
        ("recipe: {epochs: 1.5}", "recipe.epochs: a whole number is wanted, not 1.5"),
        ("recipe: {epochs: 0}", "recipe.epochs: it must be at least 1, not 0"),
        ("recipe: {optimizer: {name: adm}}", 'recipe.optimizer.name: "adm" is not one of adamw, sgd'),
        ("recipe: {optimizer: {betas: [0.9, 1]}}", "recipe.optimizer.betas.1: it must be below 1, not 1"),
        ("recipe: {optimizer: {betas: [0.9]}}", "recipe.optimizer.betas: value 1 is missing"),
        ("recipe: {optimizer: {betas: [0.9, 1, 1]}}", "recipe.optimizer.betas: at most 2 are wanted"),
        ("recipe: 100", "recipe: a mapping (key: value) is wanted, not 100"),
        # lists and numbers
        ("seeds: []", "seeds: at least one is wanted"),
        ("seeds: null", "seeds: a list is wanted, not null"),
        ("models: []", "models: at least one is wanted"),
        ("seeds: [0, 1, 0]", "seeds: 0 is given more than once"),
        ("seeds: [x]", 'seeds.0: a whole number is wanted, not "x"'),
        ("seeds: true", "seeds: a whole number is wanted, not true"),
        ("seeds: -1", "seeds: it must be at least 0, not -1"),
        ("measure: accurcy", 'measure: "accurcy" is not one of complexity, throughput, accuracy'),
        ("precision: [fp32, fp8]", 'precision.1: "fp8" is not one of fp32, tf32, bf16, amp-bf16'),
        (
            "throughput: {batch_sizes: [0]}",
            "throughput.batch_sizes.0: a whole number from 1 to 1,000,000, or max, is wanted",
        ),
        (
            "throughput: {batch_sizes: 0}",
            "throughput.batch_sizes: a whole number from 1 to 1,000,000, or max, is wanted",
        ),
        ("resources: {nods: 1}", "resources: unknown key 'nods' (did you mean nodes?)"),
        # models
        ("models: [{label: x}]", "models.0: key 'name' is missing"),
        ("models: [[x]]", "models.0: a name, or a mapping that holds one, is wanted"),
        ("models: {name: convmixer_256_8, dept: 2}", "convmixer_256_8 has no argument 'dept' (did you mean depth?)"),
        ("models: {name: convmixer_256_8, lable: 2}", "has no argument 'lable' (did you mean label?)"),
        ("models: {name: convmixer_256_8, depth: two}", 'depth: "two" does not fit'),
        ("models: {name: convmixer_256_8, patch_size: 3}", "patch_size 3 does not divide image_size 8"),
        ("models: {name: convmixer_256_8, image_size: 8}", "image_size is given by the dataset"),
        ("models: {name: convmixer_256_8, num_classes: 5}", "num_classes is given by the dataset"),
        ("models: {name: splitmixer_i_256_8, ratio: 0.4}", "ratio is 2/5, it must be at least 1/2 and below 1"),
        ("models: {name: splitmixer_i_256_8, ratio: 1}", "ratio is 1, it must be at least 1/2 and below 1"),
        ("models: {name: splitmixer_i_256_8, ratio: x}", 'ratio: "x" does not fit'),
        ("models: {name: splitmixer_iii_256_8, num_segments: 3}", "num_segments 3 does not divide dim 256"),
    ],
)
def test_what_is_wrong_is_named_with_its_line_and_what_would_be_right(tmp_path: Path, line: str, said: str) -> None:
    key = line.split(":")[0]
    kept = [other for other in ("name: s", "models: convmixer_256_8", "datasets: digits") if other.split(":")[0] != key]
    path = write(tmp_path, "\n".join(["# a comment", *kept, line]) + "\n")
    message = refusal(path)
    assert message.startswith(f"{path}:{2 + len(kept)}: ")
    assert said in message
    assert "\n" not in message


def test_all_that_is_wrong_is_said_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """\
models:
  - splitmixr_i_256_8
  - {name: splitmixer_i_256_8, ratio: 0.4, lable: x}
  - name: splitmixer_i_256_8
    ratio: 1
    label: 5
  - {name: convmixer_256_8, patch_size: 3}
  - 5
  - {name: convmixer_256_8, recipe: {optimizer: {lrr: 0.1}}}
datasets: [digit, digits]
seeds: []
recipe: {epochs: 0}
mesure: [x]
""",
    )
    lines = refusal(path).splitlines()
    assert lines[0] == f"{len(lines) - 1} problems"
    assert [int(line.removeprefix(f"{path}:").split(":")[0]) for line in lines[1:]] == [
        1, 2, 3, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13
    ]  # fmt: skip
    for said in ("'name' is missing", "mean splitmixer_i_256_8", "lable", "2/5", "ratio is 1", "patch_size", "lrr"):
        assert any(said in line for line in lines), said


def test_a_batch_that_does_not_fit_is_named_beside_an_unknown_key(tmp_path: Path) -> None:
    recipe = "recipe: {epochs: 3, global_batch_size: 2000}"
    message = refusal(write(tmp_path, GOOD.replace("recipe: {epochs: 3}", recipe) + "sedes: 1\n"))
    assert "s.yaml:6: global_batch_size 2000 is more than the 1437 training images of digits" in message
    assert "s.yaml:7: unknown key 'sedes'" in message


def test_a_file_that_is_no_suite_is_refused(tmp_path: Path) -> None:
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00")
    for name, text in {"empty": "", "list": "- a\n", "words": "hello", "twice": "a: 1\na: 2"}.items():
        write(tmp_path, text, f"{name}.yaml")
    for path in [*tmp_path.glob("*.yaml"), tmp_path, tmp_path / "missing.yaml"]:
        message = refusal(str(path))
        assert str(path) in message
        assert "\n" not in message


def test_one_value_stands_for_a_list(tmp_path: Path) -> None:
    one = "name: s\nmodels: convmixer_256_8\ndatasets: {name: digits}\nseeds: 3\nmeasure: accuracy\nprecision: fp32\n"
    assert [trial.seed for trial in load(write(tmp_path, one))[1]] == [3]


# -- base


def test_a_suite_is_laid_over_its_base(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, GOOD + "seeds: [0, 1]\n", "sub/base.yaml")
    recipe = "recipe: {optimizer: {lr: 0.5}}"
    suite, trials = load(write(tmp_path, f"name: over\nbase: sub/base.yaml\nseeds: [5]\n{recipe}\n"))
    assert suite.name == "over"
    assert {trial.seed for trial in trials} == {5}
    assert {(trial.recipe.epochs, trial.recipe.optimizer.lr) for trial in trials} == {(3, 0.5)}
    assert len(trials) == 2


def test_an_error_in_the_base_is_named_with_the_base_s_line(tmp_path: Path) -> None:
    write(tmp_path, GOOD.replace("epochs: 3", "epoch: 3"), "base.yaml")
    message = refusal(write(tmp_path, "base: base.yaml\nname: over\nrecipe: {optimizer: {lrr: 1}}\n"))
    assert f"{tmp_path}/base.yaml:6: recipe: unknown key 'epoch'" in message
    assert f"{tmp_path}/s.yaml:3: recipe.optimizer: unknown key 'lrr'" in message


def test_a_value_that_replaces_the_base_s_is_named_with_its_own_line(tmp_path: Path) -> None:
    write(tmp_path, GOOD, "base.yaml")
    message = refusal(write(tmp_path, "name: over\nbase: base.yaml\nmodels:\n  - a\n  - b\n"))
    assert [line.split(": ")[0] for line in message.splitlines()[1:]] == [f"{tmp_path}/s.yaml:{n}" for n in (4, 5)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("base: other.yaml\n", "a suite with a base needs a name of its own"),
        ("name: s\nbase: missing.yaml\n", "no such file"),
        ("name: s\nbase: [a, b]\n", "the path of a suite file is wanted"),
        ("name: s\nbase: s.yaml\n", "a base may not have a base itself"),
        ("name: s\nbase: bad.yaml\n", "bad.yaml:3: not YAML"),
    ],
)
def test_a_base_that_cannot_be_one_is_refused(tmp_path: Path, text: str, said: str) -> None:
    write(tmp_path, "a: 1\nb: [\n", "bad.yaml")
    assert said in refusal(write(tmp_path, text))


def test_a_base_s_plugin_lies_beside_the_base(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    write(tmp_path, PLUGIN.replace("NAME", "beside_the_base"), "sub/tiny.py")
    write(tmp_path, GOOD + "plugins: [tiny.py]\n", "sub/base.yaml")
    suite, _ = load(write(tmp_path, "name: over\nbase: sub/base.yaml\n"))
    assert suite.plugins == (str(tmp_path / "sub/tiny.py"),)


# -- --set


@pytest.mark.parametrize(
    ("assignment", "values"),
    [
        ("recipe.epochs=1", {"epochs": 1}),
        ("recipe.optimizer.lr=1e-2", {"lr": 0.01}),
        ("recipe={epochs: 4}", {"epochs": 4}),
        ("models.0.depth=3", {"depth": 3}),
        ("models.1.depth=3", {"depth": 3}),
        ("seeds=[7]", {"seed": 7}),
        ("datasets.0.recipe.epochs=6", {"epochs": 6}),
        ("models=[convmixer_256_8]", {"model": "convmixer_256_8"}),
    ],
)
def test_set_is_the_same_as_writing_it_in_the_file(tmp_path: Path, assignment: str, values: dict[str, Any]) -> None:
    _, trials = load(write(tmp_path, GOOD), (assignment,))
    seen = [
        {"epochs": t.recipe.epochs, "lr": t.recipe.optimizer.lr, "seed": t.seed, "model": t.model} | t.arguments
        for t in trials
    ]
    assert any(values.items() <= each.items() for each in seen)


def test_a_ratio_is_set_in_a_bare_name_s_entry(tmp_path: Path) -> None:
    _, trials = load(write(tmp_path, GOOD), ("models.0.ratio=3/5",))
    assert trials[0].overrides == {"ratio": "3/5"}


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("recipe.epochs", "key=value is wanted"),
        ("=1", "key=value is wanted"),
        ("recipe..epochs=1", "key=value is wanted"),
        ("recipe.epochs=one", 'recipe.epochs: a whole number is wanted, not "one"'),
        ("recipe.epochs=", "recipe.epochs: a whole number is wanted, not null"),
        ("recipe.epoch=1", "recipe: unknown key 'epoch' (did you mean epochs?)"),
        ("sedes=[1]", "unknown key 'sedes' (did you mean seeds?)"),
        ("seeds=[1", "is not one value"),
        ("models.5.ratio=1/2", "models is a list: write models.0 to 1"),
        ("models.x.ratio=1/2", "models is a list: write models.0 to 1"),
        ("models.²=x", "models is a list: write models.0 to 1"),
        ("name.x=1", 'name has no keys, it is "good"'),
        ("models.1.rtaio=1", "convmixer_256_8 has no argument 'rtaio'"),
        ("base=other.yaml", "a base is named in the file alone"),
    ],
)
def test_a_bad_set_is_refused_under_its_own_name(tmp_path: Path, assignment: str, said: str) -> None:
    message = refusal(write(tmp_path, GOOD), assignment)
    assert message.startswith(f"--set {assignment}: ")
    assert said in message


# -- the frozen text


def test_a_suite_that_stands_alone_is_frozen_as_it_was_written(tmp_path: Path) -> None:
    text = "# a comment\n" + GOOD
    assert load(write(tmp_path, text))[0].text == text


@pytest.mark.parametrize("assignments", [(), ("recipe.epochs=1", "models.0.ratio=3/5"), ("description=a\\nb # c",)])
@pytest.mark.parametrize("text", [GOOD, "name: over\nbase: base.yaml\nseeds: [5]\n", GOOD + "plugins: [plugin.py]\n"])
def test_the_frozen_text_alone_gives_the_same_trials(tmp_path: Path, text: str, assignments: tuple[str, ...]) -> None:
    (tmp_path / "run").mkdir()
    write(tmp_path, PLUGIN.replace("NAME", tmp_path.name), "plugin.py")
    write(tmp_path, GOOD, "base.yaml")
    suite, trials = load(write(tmp_path, text), assignments)
    again, same = load(write(tmp_path, suite.text, "run/suite.yaml"))
    assert same == trials
    assert again.text == suite.text


# -- bundled suites


def test_a_folder_does_not_hide_the_bundled_suite_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quick").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_suite("quick").is_file()


def test_an_unknown_suite_is_refused_with_the_nearest_name() -> None:
    assert refusal("quik") == "no suite at quik (did you mean quick or zoo_quick?)"
