"""README's examples, run as they stand."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from mixbench.cli.main import cli
from mixbench.run.folder import Run
from mixbench.suite.load import load

README = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")


def block(language: str, holding: str) -> str:
    [text] = [text for text in re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL) if holding in text]
    return text


def commands(holding: str) -> list[list[str]]:
    lines = [line for line in block("sh", holding).splitlines() if line.startswith("mixbench")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


COMMANDS, ON_A_CLUSTER = commands("--dry-run"), commands("mixbench cancel")


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


def test_the_example_suite_is_good_in_a_folder_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "my_suite.yaml"
    path.write_text(block("yaml", "my_suite"), encoding="utf-8")
    _, trials = load(str(path))
    assert len(trials) == 6 and {trial.label for trial in trials} == {"convmixer_256_8", "I 3/5"}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_is_one(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that would train are only planned; those that need a run, the internet or a process of their own are
    asked what they are.
    """
    monkeypatch.chdir(tmp_path)
    asked = {key: ["--help"] for key in ("data", "status", "report", "compare", "doctor")}
    result = CliRunner().invoke(
        cli, [*words, *({"run": ["--dry-run"]} | asked).get(words[0], [])], catch_exceptions=False
    )
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("words", ON_A_CLUSTER, ids=" ".join)
def test_every_command_for_a_cluster_is_one(words: list[str]) -> None:
    """tests/slurm runs them."""
    result = CliRunner().invoke(cli, [*words, "--help"], catch_exceptions=False)
    assert result.exit_code == 0, result.output
