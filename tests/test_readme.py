"""README's examples, run as they stand."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import mixbench
from mixbench.cli.main import cli
from mixbench.errors import RequestError
from mixbench.run.folder import Run
from mixbench.run.record import COLUMNS
from mixbench.suite.load import load
from tests.fake_runs import done, trial, write_run
from tests.test_user_code import install

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")


def block(language: str, holding: str) -> str:
    [text] = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if holding in text]
    return text


def commands(holding: str) -> list[list[str]]:
    lines = [line for line in block("sh", holding).splitlines() if line.startswith("mixbench")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


EVERYDAY, ON_A_CLUSTER = commands("--dry-run"), commands("mixbench cancel")


def test_the_example_model_is_registered_trained_and_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("linear.py").write_text(block("python", "register_model"), encoding="utf-8")
    text = "name: mine\nmodels: linear_28\ndatasets: digits\nplugins: linear.py\nrecipe: {epochs: 1}\n"
    Path("mine.yaml").write_text(text, encoding="utf-8")
    result = CliRunner().invoke(cli, ["run", "mine.yaml", "--cluster", "debug"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    run = Run(Path("runs/mine"))
    record = run.record(*run.planned())
    assert record is not None and (record.status, record.params) == ("done", 650)
    assert (run.folder / "report.html").is_file()
    for words, shown in (
        (["list", "models", "linear_28", "params<8k", "macs>7k"], "7,850  7,840"),
        (["profile", "linear_28"], "7,850"),
    ):
        result = CliRunner().invoke(cli, [*words, "--plugin", "linear.py"], catch_exceptions=False)
        assert result.exit_code == 0 and shown in result.output, result.output


@pytest.mark.slow
def test_the_example_model_in_an_installed_package_is_listed_counted_checked_and_measured(tmp_path: Path) -> None:
    install(tmp_path, "linears", block("python", "register_model"))
    (tmp_path / "mine.yaml").write_text("name: mine\nmodels: linear_28\ndatasets: digits\nmeasure: complexity\n")

    def facts(*words: str) -> Any:
        command = [sys.executable, "-m", "mixbench", *words, "--json"]
        variables = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{Path(__file__).parents[1]}"}
        done = subprocess.run(command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    [listed] = facts("list", "models", "linear_28")
    assert (listed["family"], listed["image_size"]) == ("Linear", 28)
    assert facts("profile", "linear_28")["params"] == 28 * 28 * 10 + 10
    assert all(check["ok"] for check in facts("doctor", "mine.yaml"))
    facts("run", "mine.yaml")
    run = Run(tmp_path / "runs/mine")
    record = run.record(*run.planned())
    assert record is not None and (record.status, record.params, record.macs) == ("done", 650, 640)


def test_the_example_suite_is_good_in_a_folder_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "my_suite.yaml"
    path.write_text(block("yaml", "my_suite"), encoding="utf-8")
    _, trials = load(str(path))
    assert len(trials) == 6 and {trial.label for trial in trials} == {"convmixer_256_8", "I 3/5"}


def test_the_example_in_python_reads_models_suites_and_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    trials = [trial(seed=seed, label="+ =my label") for seed in range(3)]
    write_run(Path("runs/quick"), trials, [done(trials[0], 90.0), done(trials[1], 91.0)])
    namespace: dict[str, Any] = {}
    exec(block("python", "import mixbench").replace("table.groupby", "spread = table.groupby"), namespace)
    assert list(namespace["spread"].loc["+ =my label"]) == [90.5, pytest.approx(0.5**0.5), 2]
    assert list(namespace["table"].columns) == COLUMNS and list(namespace["table"].run) == ["quick"] * 3
    assert namespace["table"].params.dtype == "Int64" and list(namespace["table"].status[2:]) == ["pending"]
    assert namespace["model"].head[-1].out_features == 100
    assert {each.suite for each in namespace["trials"]} == {"quick"} and namespace["suite"].name == "quick"


def test_importing_mixbench_takes_no_time() -> None:
    code = "import time; t = time.process_time(); import mixbench; print(time.process_time() - t)"
    code += "; import sys; assert not {'torch', 'pandas', 'pydantic'} & set(sys.modules); assert dir(mixbench)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 0.05


def test_what_is_no_run_folder_and_no_function_is_said(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="is not a run folder"):
        mixbench.read_run(tmp_path)
    with pytest.raises(AttributeError, match="module 'mixbench' has no attribute 'read'"):
        _ = mixbench.read


@pytest.mark.parametrize("words", EVERYDAY, ids=" ".join)
def test_every_command_is_one(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that would train are only planned; those that need a run, the internet or a process of their own are
    asked what they are.
    """
    monkeypatch.chdir(tmp_path)
    asked = {key: ["--help"] for key in ("data", "status", "logs", "report", "compare", "doctor")}
    result = CliRunner().invoke(
        cli, [*words, *({"run": ["--dry-run"]} | asked).get(words[0], [])], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("words", ON_A_CLUSTER, ids=" ".join)
def test_every_command_for_a_cluster_is_one(words: list[str]) -> None:
    """tests/slurm runs them."""
    result = CliRunner().invoke(cli, [*words, "--help"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
