"""The main job on a GPU.  Run with: pytest -m gpu"""

from pathlib import Path

import pytest

from mixbench.launch.local import launch
from mixbench.results import mistakes
from mixbench.run.folder import Run
from mixbench.run.predictions import read_predictions
from mixbench.suite.load import load
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
        assert mistakes.top1(read_predictions(run, record)) == record.top1
        assert record.details.environment["accuracy"].driver and "cores" not in record.device


@pytest.mark.gpu
def test_a_gpu_tells_its_clocks_its_energy_and_its_largest_batch(tmp_path: Path) -> None:
    protocol = {"batch_sizes": [1, "max"], "warmup": 3, "repeats": 5}
    suite, trials = load(str(write_suite(tmp_path, throughput=protocol, measure=["complexity", "throughput"])))
    run = Run(tmp_path / "run")
    run.write_plan(suite.text, trials)
    for record in [outcome.record for outcome in launch(trials, "local", run)]:
        samples = record.details.throughput
        assert samples is not None and samples.conditions is not None, record.error
        gpu = samples.conditions.gpu
        assert gpu is not None and gpu.sm_mhz and gpu.sm_mhz.low > 0 and gpu.celsius and gpu.celsius.low > 0
        assert record.device_memory_bytes and record.peak_memory_bytes
        assert record.device_memory_bytes >= record.peak_memory_bytes
        assert record.infer_joules_per_image is None or record.infer_joules_per_image > 0
        assert record.infer_batch_size and (record.infer_batch_size > 1) == (
            record.details.trial.infer_batch_size == "max"
        )
