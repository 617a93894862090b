"""Every family learns: suites/zoo_quick.yaml, each step shared by two processes of DeepSpeed."""

from pathlib import Path

import pytest
import yaml

from mixbench.run.folder import Run
from mixbench.suite.load import load
from mixbench.system.content import content
from mixbench.zoo.registry import find, list_models
from tests.shell import Shell

SUITE = content("suites") / "zoo_quick.yaml"


def test_the_suite_has_every_family() -> None:
    _, trials = load(str(SUITE))
    families = {find(name).family for name in list_models() if find(name).in_zoo}
    assert {trial.family for trial in trials} == families
    assert len(trials) == len(families)


@pytest.mark.slow
def test_each_reaches_95_percent(mixbench: Shell, tmp_path: Path) -> None:
    suite = tmp_path / "two_processes.yaml"
    suite.write_text(yaml.safe_dump({"name": "two", "base": str(SUITE), "resources": {"processes_per_node": 2}}))
    code, _, err = mixbench("run", suite, "--out", tmp_path / "run")
    assert code == 0, err
    records = [Run(tmp_path / "run").record(trial.id) for trial in load(str(suite))[1]]
    assert {record.world_size for record in records if record} == {2}
    assert {record.label: record.top1 for record in records if record and not (record.top1 or 0) >= 95} == {}
    assert all(records)
