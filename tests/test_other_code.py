"""A model whose source has changed: old results are told, kept aside and never mixed with new ones."""

import csv
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixbench.errors import TrialError
from mixbench.launch.local import launch
from mixbench.measure.trials import code_of
from mixbench.results.collect import collect
from mixbench.run.folder import Run
from mixbench.system.content import content
from mixbench.train.distributed import World
from mixbench.zoo import registry, source
from mixbench.zoo.registry import find
from mixbench.zoo.source import code_hash
from tests.shell import Shell
from tests.trials import RECIPE, plan_trials

PLUGIN = '''
"""A net of one hidden layer."""

from mixbench import register_model
from torch import nn


@register_model(variants={"edited_net": {}})
class EditedNet(nn.Module):
    def __init__(self, image_size: int = 8, in_chans: int = 1, num_classes: int = 10):
        super().__init__()
        hidden = 32
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, hidden), nn.ReLU(), nn.Linear(hidden, 10))
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        return self.net(x)
'''


def hashed(folder: Path, model: str, others: dict[str, str] | None = None) -> str:
    """The hash of model.py, after it and these other files of its folder were written."""
    for name, text in {"model.py": model, **(others or {})}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return code_hash(folder / "model.py")


def test_the_hash_is_of_the_code_and_not_of_comments_docstrings_and_blank_lines(tmp_path: Path) -> None:
    code = 'class A:\n    """Doc."""\n\n    x = "a # b"  # why\n\n\ndef f(): "doc"; return 1\n'
    same = '"""Module."""\nclass A:\n    """Of\n    lines, ä."""  # here\n    x = "a # b"\ndef f(): "ä"; return 1\n'
    first = hashed(tmp_path, code)
    assert re.fullmatch("[0-9a-f]{16}", first)
    assert hashed(tmp_path, same) == first
    assert hashed(tmp_path, code.replace("a # b", "a # c")) != first
    assert hashed(tmp_path, code.replace("return 1", "return 2")) != first
    assert hashed(tmp_path, "def f(:\n") == ""
    text = 'x = """a\n\n  b\n"""\n'
    assert len({hashed(tmp_path, text.replace("\n\n", gap)) for gap in ("\n\n", "\n", "\n \n", "\n\n\n")}) == 4


@pytest.mark.parametrize(
    ("imported", "file"),
    [
        ("from part import X", "part.py"),
        ("import part.inner as inner", "part/inner.py"),
        ("def lazily():\n    from part import X", "part.py"),
        ("from between import Y", "part.py"),
        ("from .part import X", "part.py"),
        ("from . import part", "part/__init__.py"),
        ("import part.inner", "part/__init__.py"),
        ("import importlib\nimportlib.import_module('part')", "part.py"),
    ],
)
def test_the_hash_is_of_the_modules_beside_the_file_too(imported: str, file: str, tmp_path: Path) -> None:
    others = {"between.py": "from part import X as Y", "unrelated.py": "Z = 1", file: "X = 1"}
    first = hashed(tmp_path, imported, others)
    assert hashed(tmp_path, imported, others | {"unrelated.py": "Z = 2"}) == first
    assert hashed(tmp_path, imported, others | {file: "X = 2"}) != first


def test_the_hash_is_of_modules_in_a_folder_that_was_added_to_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(tmp_path / "elsewhere"))
    first = hashed(tmp_path / "nets", "import torch\nimport helper", {"../elsewhere/helper.py": "X = 1"})
    assert hashed(tmp_path / "nets", "import torch\nimport helper", {"../elsewhere/helper.py": "X = 2"}) != first
    broken = hashed(tmp_path / "nets", "import torch\nimport helper", {"../elsewhere/helper.py": "X = ("})
    assert broken and broken != hashed(tmp_path / "nets", "import helper", {"../elsewhere/helper.py": "X = (("})


def test_the_hash_of_a_file_in_a_package_is_of_the_packages_modules_and_of_no_other_packages(tmp_path: Path) -> None:
    files = dict.fromkeys(("../__init__.py", "__init__.py"), "") | {"../layers.py": "X = 1"}
    folder, model = tmp_path / "site-packages" / "mine" / "nets", "import torch\nfrom mine.layers import X\n"
    first = hashed(folder, model, files | {"../../torch/__init__.py": "Y = 1"})
    assert hashed(folder, model, {"../../torch/__init__.py": "Y = 2"}) == first
    assert hashed(folder, model, {"../layers.py": "X = 2"}) != first


def test_the_hash_of_a_family_is_of_the_shared_layers_too_and_each_models_class_has_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    family = content("models") / "convmixer.py"
    first = code_hash(family)
    assert find("convmixer_256_8").code == first != find("mixer_s4").code
    shutil.copy(source.FOLDER / "layers.py", tmp_path)
    monkeypatch.setattr(source, "FOLDER", tmp_path)
    source._read.cache_clear()
    assert code_hash(family) == first
    with (tmp_path / "layers.py").open("a") as file:
        file.write("MORE = 1\n")
    assert code_hash(family) != first
    source._read.cache_clear()


@pytest.fixture
def edit(tmp_path: Path) -> Any:
    """Write the plugin, with a text in it replaced, as the next process would load it."""
    plugin = tmp_path / "net.py"

    def forget() -> None:
        registry._entries.pop("edited_net", None)
        sys.modules.pop("mixbench_plugin_" + str(plugin.resolve()).encode().hex(), None)

    def write(old: str = "", new: str = "") -> None:
        forget()
        assert old in PLUGIN
        plugin.write_text(PLUGIN.replace(old, new) if old else PLUGIN, encoding="utf-8")

    yield write
    forget()


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    keys: dict[str, Any] = dict(
        name="s", models="edited_net", datasets="digits", measure=["complexity", "accuracy"], seeds=[0, 1]
    )
    path = tmp_path / "s.yaml"
    keys |= {"plugins": ["net.py"], "recipe": RECIPE | {"epochs": 2}, "checkpoint": {"epochs": 1}}
    path.write_text(yaml.safe_dump(keys), encoding="utf-8")
    return path


def rows(folder: Path) -> list[tuple[str, str, str]]:
    with (folder / "summary.csv").open(newline="", encoding="utf-8") as file:
        return [(row["params"], row["n_seeds"], row["settings"]) for row in csv.DictReader(file)]


def test_a_plugin_edited_after_a_run_is_measured_anew_and_never_in_a_row_with_the_old(
    edit: Callable[..., None], suite: Path, mixbench: Shell, tmp_path: Path
) -> None:
    run, out = ("run", suite, "--out", tmp_path / "run", "--cluster", "debug"), tmp_path / "run"
    edit()
    assert mixbench(*run)[0] == 0
    assert rows(out) == [("2410", "2", "")]
    edit("self.calls += 1", "self.calls += 1  # counted")
    assert "2 are done already" in mixbench(*run)[1]

    edit("hidden = 32", "hidden = 8")
    planned = mixbench(*run, "--dry-run")[1]
    assert planned.count("source changed") == 2
    code, said, _ = mixbench(*run, "--only", "seed=0")
    assert code == 0 and "edited_net: its source has changed since 1 trial of this run; run anew" in said
    split = sorted(rows(out))
    assert [row[:2] for row in split] == [("2410", "1"), ("610", "1")]
    assert len({row[2] for row in split}) == 2 and all("model source " in row[2] for row in split)
    assert re.findall(r"([\d,]+) +[\d,]+\s*$", mixbench("status", out)[1], re.MULTILINE) == ["610", "2,410"]
    for name in ("record.json", "predictions.npz"):
        assert len(list(out.glob(f"trials/*/{name}.other-code-1"))) == 1, "nothing is lost"

    code, said, _ = mixbench(*run)
    assert code == 0 and "1 trial to run (1 is done already" in said
    assert rows(out) == [("610", "2", "")]


def test_a_training_never_goes_on_with_other_code(
    edit: Callable[..., None], suite: Path, mixbench: Shell, tmp_path: Path
) -> None:
    """It failed in its second epoch; with the plugin mended it begins anew, and ends as if that was its first time."""
    run = ("run", suite, "--only", "seed=0", "--cluster", "debug", "--set", "measure=accuracy", "--out")
    edit("self.calls += 1", "self.calls += 1\n        if self.calls > 30: raise ValueError('too often')")
    code, said, _ = mixbench(*run, tmp_path / "run")
    assert code == 1 and "too often" in said and len(list(tmp_path.glob("run/trials/*/checkpoint/step-*-ended"))) == 1
    edit("hidden, 10))", "hidden, 10), nn.Tanh())")
    code, said, _ = mixbench(*run, tmp_path / "run")
    assert code == 0 and "its source has changed since 1 trial" in said and "from a checkpoint" not in said
    assert mixbench(*run, tmp_path / "fresh")[0] == 0
    again, fresh = (collect(Run(tmp_path / name)).records[0] for name in ("run", "fresh"))
    assert again.test_loss == fresh.test_loss is not None


def test_a_source_that_changes_between_plan_and_job_fails_the_trial_instead_of_being_measured(
    world: World, tmp_path: Path
) -> None:
    [trial] = plan_trials(tmp_path, measure=["complexity"])
    assert code_of(trial, world) == trial.model_code == find(trial.model).code
    assert code_of(trial.model_copy(update={"model_code": ""}), world) == trial.model_code, "of an older plan"
    planned = trial.model_copy(update={"model_code": "0123456789abcdef"})
    with pytest.raises(TrialError, match="the source of mixer_s4 has changed since"):
        code_of(planned, world)
    run = Run(tmp_path / "run")
    run.write_plan("name: small\n", [planned])
    [outcome] = launch([planned], "debug", run)
    assert outcome.record.status == "failed" and "the same command plans it anew" in outcome.record.error
    assert outcome.record.params is None
