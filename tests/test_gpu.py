"""The main job on a GPU.  Run with: pytest -m gpu"""

from pathlib import Path

import pytest

from mixbench.launch import launch
from mixbench.run import Run
from mixbench.suite import load
from tests.trials import SMALL, write_suite


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["fp32", "tf32", "bf16", "amp-bf16"])
def test_a_gpu_trains_and_is_timed_with_its_peak_memory(precision: str, tmp_path: Path) -> None:
    models = [SMALL["mixer"], SMALL["splitmixer"]]
    suite, trials = load(str(write_suite(tmp_path, models=models, precision=precision)))
    run = Run(tmp_path / "run")
    run.write_plan(suite.text, trials)
    records = [outcome.record for outcome in launch(trials, "local", run)]
    assert [record.status for record in records] == ["done", "done"], [record.error for record in records]
    for record in records:
        assert record.peak_memory_bytes and record.infer_samples_per_sec
        assert record.details.environment["accuracy"].driver and "cores" not in record.device
