"""The bundled suites: each is good, says how to run it, and CIFAR's runs to its report on files in CIFAR's format."""

import csv
from pathlib import Path

import pytest
from click.testing import CliRunner

from mixbench.cli.main import cli
from mixbench.results.published import find
from mixbench.suite.datasets import DATASETS
from mixbench.suite.load import bundled_suites, find_suite, load
from mixbench.system.content import content
from tests import small_sets


@pytest.mark.parametrize("name", bundled_suites())
def test_every_suite_is_good_and_its_head_says_how_to_run_it(name: str) -> None:
    suite, trials = load(name)
    head = [line for line in (content("suites") / f"{name}.yaml").read_text().splitlines() if line.startswith("#")]
    assert suite.name == name and trials
    assert find_suite(f"suites/{name}.yaml").stem == name
    assert any(f"mixbench run suites/{name}.yaml" in line for line in head)


@pytest.mark.parametrize("name", ["cifar", "flowers102", "food101"])
def test_the_papers_accuracies_stand_in_the_heads_and_are_compared_with(name: str) -> None:
    text = (content("suites") / f"{name}.yaml").read_text()
    _, trials = load(name, ("seeds=0",))
    published = {}
    for trial in trials:
        figures = find(trial.model, trial.overrides, trial.dataset, trial.data.image_size, pretraining="none")
        for figure in figures:
            if figure.figure == "top1" and "SplitMixer" in figure.source and not figure.qualifier:
                published[trial.label, trial.dataset] = figure.value
    assert len(published) >= 5 and len({dataset for _, dataset in published}) == len({t.dataset for t in trials})
    for key, value in published.items():
        assert f"{value:.2f}" in text, key


def test_the_cifar_suite_runs_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All its models on both datasets, a few files of random images each; small and for one epoch, to be quick."""
    models = len({trial.label for trial in load("cifar")[1]})
    for name in ("cifar10", "cifar100"):
        small = small_sets.write(name, tmp_path / "data", monkeypatch)
        monkeypatch.setitem(DATASETS, name, small.dataset)
    shrink = [f"models.{m}.{key}" for m in range(models) for key in ("dim=16", "depth=2")]
    changes = ["recipe.epochs=1", "recipe.global_batch_size=4", "seeds=0", *shrink]
    changes += ["throughput.batch_sizes=4", "throughput.warmup=1", "throughput.warmup_cap=2", "throughput.repeats=2"]
    options = [option for change in changes for option in ("--set", change)]
    command = ["run", "cifar", "--cluster", "debug", "--out", str(tmp_path / "run"), *options]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = list(csv.DictReader((tmp_path / "run/results.csv").read_text().splitlines()))
    assert len(rows) == 2 * models == 22 and {row["status"] for row in rows} == {"done"}
    assert {row["precision"] for row in rows} == {"amp-fp16"} and {row["recipe"] for row in rows} == {"splitmixer"}
    assert all(float(row["train_loss"]) > 0 and float(row["infer_samples_per_sec"]) > 0 for row in rows)
    assert (tmp_path / "run/report.html").is_file()
