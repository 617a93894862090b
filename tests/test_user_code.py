"""Model files, installed packages and plugins that raise, exit, clash or import modules beside them."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import mixbench.zoo
from mixbench.errors import RequestError
from mixbench.system.content import content
from mixbench.zoo import registry
from tests.fake_runs import done, trial, write_run
from tests.shell import Shell

MODEL = """
from mixbench import register_model
from torch import nn

@register_model(variants={"NAME": {}})
class Mine(nn.Module):
    def __init__(self, image_size: int = 8, in_chans: int = 1, num_classes: int = 10) -> None:
        super().__init__()
        self.head = nn.Linear(in_chans * image_size**2, num_classes)
    def forward(self, x):
        return self.head(x.flatten(1))
"""
SUITE = "name: s\nmodels: mine\ndatasets: digits\nmeasure: complexity\n"
BROKEN = {
    "import sys\nsys.exit(0)": "raises SystemExit: 0 (line 2)",
    "raise KeyError('x')": "raises KeyError: 'x' (line 1)",
    "def (": "raises SyntaxError: invalid syntax (broken.py, line 1)",
    "import torch\nimport not_there": "raises ModuleNotFoundError: No module named 'not_there' (line 2)",
    MODEL.replace("NAME", "mixer_b16"): "raises ValueError: model 'mixer_b16' is registered twice: MLPMixer in ",
}


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An empty folder `models` beside the real other content, and a registry that has not read it yet."""
    registry.list_models()
    entries, modules = dict(registry._entries), set(sys.modules)
    root = tmp_path / "content"
    root.mkdir()
    for name in ("suites", "slurm", "reports"):
        (root / name).symlink_to(content(name))
    (root / "models").mkdir()
    for table in content("models").glob("*.[cj]s*"):
        (root / "models" / table.name).symlink_to(table)
    monkeypatch.setenv("MIXBENCH_CONTENT", str(root))
    monkeypatch.setattr(mixbench.zoo, "__path__", [*mixbench.zoo.__path__, str(root / "models")])
    monkeypatch.setattr(registry, "_problems", None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s.yaml").write_text(SUITE)
    yield root / "models"
    registry._entries.clear()
    registry._entries.update(entries)
    for name in set(sys.modules) - modules:
        if name.startswith(("mixbench_plugin_", "mixbench.zoo.")):
            del sys.modules[name]


def install(folder: Path, name: str, code: str) -> None:
    """An installed package of one module, which has an entry point for models."""
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: the-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[mixbench.models]\nmine = {name}\n")


@pytest.mark.parametrize(("code", "said"), BROKEN.items(), ids=["exits", "raises", "syntax", "import", "clash"])
def test_a_broken_model_file_is_named_with_its_line_by_every_verb_that_needs_models(
    models: Path, mixbench: Shell, code: str, said: str
) -> None:
    (models / "broken.py").write_text(code)
    for words in (["validate", "s.yaml"], ["run", "s.yaml"], ["run", "s.yaml", "--dry-run"], ["profile", "mixer_b16"]):
        status, out, err = mixbench(*words)
        assert (status, out) == (2, "")
        assert err.startswith(f"mixbench: model file {models}/broken.py {said}") and err.count("\n") == 1
    assert not Path("runs").exists()


def test_list_status_and_report_work_beside_broken_models(models: Path, mixbench: Shell, tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [trial()], [done(trial(), 90.0)])
    (models / "broken.py").write_text("import sys; sys.exit(0)\nregister_model(variants=names)")
    (models / "registry.py").write_text("")
    for words in (["list", "models"], ["list", "suites"], ["status", run.folder], ["report", run.folder]):
        status, out, err = mixbench(*words)
        assert status == 0 and out
    _, out, err = mixbench("list", "models", "mixer_*")
    assert "mixer_b16" in out and "raises SystemExit: 0 (line 1)" in err
    assert f"{models}/registry.py raises ImportError: mixbench has a module mixbench.zoo.registry of its own" in err


@pytest.mark.parametrize(
    ("code", "said"),
    [("import sys\nsys.exit(0)", "raises SystemExit: 0 (line 2)"), ("import not_there", "raises ModuleNotFoundError")],
)
def test_a_broken_package_is_named(
    models: Path, mixbench: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, said: str
) -> None:
    install(tmp_path, "zoo_of_mine", code)
    monkeypatch.syspath_prepend(str(tmp_path))
    for _ in range(2):
        status, out, err = mixbench("validate", "s.yaml")
        assert (status, out) == (2, "")
        assert err.startswith(f"mixbench: installed package the-zoo_of_mine (zoo_of_mine) {said}"), err


def test_a_package_that_exits_ends_no_command_with_success(tmp_path: Path) -> None:
    install(tmp_path, "zoo_of_mine", "print('hello'); import sys; sys.exit(0)")
    (tmp_path / "s.yaml").write_text(SUITE.replace("mine", "mixer_b16"))
    command = [sys.executable, "-m", "mixbench", "run", "s.yaml", "--json"]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and "the-zoo_of_mine (zoo_of_mine) raises SystemExit: 0 (line 1)" in done.stderr
    assert done.stdout == "", "what a package prints is not part of the JSON"


def test_a_model_that_exits_is_refused(models: Path, mixbench: Shell, tmp_path: Path) -> None:
    (tmp_path / "s.yaml").write_text(SUITE + "plugins: plugin.py\n")
    plugin = tmp_path / "plugin.py"
    code = MODEL.replace("NAME", "mine")
    plugin.write_text(code.replace("self.head =", "raise SystemExit(3)\n        self.head ="))
    status, out, err = mixbench("validate", "s.yaml")
    assert (status, out) == (
        2,
        "",
    ) and "s.yaml:2: mine on digits: cannot be built: RuntimeError: Mine calls sys.exit(3)" in err


def test_a_forward_that_exits_is_no_success(models: Path, mixbench: Shell, tmp_path: Path) -> None:
    (models / "mine.py").write_text(MODEL.replace("NAME", "mine").replace("return", "raise SystemExit; return"))
    status, out, err = mixbench("profile", "mine")
    assert (status, out) == (2, "") and f"{models}/mine.py:11 calls sys.exit(None)" in err


def test_models_of_new_files_packages_and_plugins_are_listed(
    models: Path, mixbench: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (models / "mine.py").write_text(MODEL.replace("NAME", "of_a_file"))
    (tmp_path / "plugin.py").write_text(MODEL.replace("NAME", "of_a_plugin"))
    install(tmp_path, "zoo_of_mine", MODEL.replace("NAME", "of_a_package"))
    monkeypatch.syspath_prepend(str(tmp_path))
    _, out, _ = mixbench("list", "models", "of_*", "--json")
    assert [row["name"] for row in json.loads(out)] == ["of_a_file", "of_a_package"]
    _, out, _ = mixbench("list", "models", "of_*", "--plugin", tmp_path / "plugin.py")
    assert out.splitlines()[-4] == "Mine" and [line.split()[:2] for line in out.splitlines()[-3:]] == [
        [name, "8"] for name in ("of_a_file", "of_a_package", "of_a_plugin")
    ]


def plugin(folder: Path, name: str, sibling: str = "blocks") -> Path:
    """A plugin that takes a number from a module beside it."""
    folder.mkdir(exist_ok=True)
    (folder / f"{sibling}.py").write_text(f"NAME = {name!r}")
    (folder / "plugin.py").write_text(f"import {sibling}\n" + MODEL.replace('"NAME"', f"{sibling}.NAME"))
    return folder / "plugin.py"


Load = Callable[[Path], None]


@pytest.fixture
def load(models: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr("mixbench.zoo.user_code._imported_from", {})
    monkeypatch.delitem(sys.modules, "blocks", raising=False)
    return registry.load_plugin


def test_a_plugin_imports_a_module_beside_it(load: Load, tmp_path: Path) -> None:
    load(plugin(tmp_path / "one", "of_one"))
    assert registry.is_model("of_one")
    load(plugin(tmp_path / "two", "of_two", sibling="other_blocks"))
    assert registry.is_model("of_two")


def test_two_plugins_never_share_a_module_that_each_has_beside_it(load: Load, tmp_path: Path) -> None:
    load(plugin(tmp_path / "one", "of_one"))
    with pytest.raises(RequestError, match=r"two/plugin.py: a plugin in .*/one imports its own blocks.py, so rename"):
        load(plugin(tmp_path / "two", "of_two"))


def test_a_module_beside_a_plugin_replaces_none_of_the_standard_library(load: Load, tmp_path: Path) -> None:
    sys.modules.pop("colorsys", None)
    with pytest.raises(RequestError, match=r"raises AttributeError: module 'colorsys' has no attribute 'NAME'"):
        load(plugin(tmp_path / "one", "of_one", sibling="colorsys"))


def test_a_broken_module_beside_a_plugin_is_named_and_read_again_once_mended(load: Load, tmp_path: Path) -> None:
    file = plugin(tmp_path / "one", "of_one")
    (file.parent / "blocks.py").write_text("\nraise ValueError('no')")
    with pytest.raises(RequestError, match=r"one/plugin.py raises ValueError: no \(.*/one/blocks.py, line 2\)"):
        load(file)
    load(plugin(tmp_path / "one", "of_one"))
    assert registry.is_model("of_one")
