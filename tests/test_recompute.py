"""The figures of tables and page equal scikit-learn and statsmodels on its predictions, to 1e-9."""

from pathlib import Path

import numpy as np

from mixbench.run.folder import Run
from mixbench.run.predictions import read_predictions
from tests.fake_runs import done, trial, with_predictions, write_run
from tests.recompute import largest_differences

TOLERANCE = 1e-9


def run_with_predictions(folder: Path) -> Run:
    """Three models of two seeds each, whose top-1 is that of their predictions."""
    trials = [trial(model, seed) for model in ("convmixer_256_8", "mixer_s_4", "resmlp_s12_4") for seed in (0, 1)]
    run = write_run(folder, trials, [])
    for at, each in enumerate(trials):
        record = with_predictions(run, done(each, 85.0 + 2 * at), seed=at)
        right = read_predictions(run, record).right
        run.write_record(record.model_copy(update={"top1": 100 * float(np.mean(right))}))
    return run


def test_a_run_recomputed_from_its_predictions(tmp_path: Path) -> None:
    found = largest_differences(run_with_predictions(tmp_path / "run").folder)
    assert len(found) == 9 and min(n for _, n in found.values()) == 3
    assert max(difference for difference, _ in found.values()) < TOLERANCE


def test_a_record_that_is_not_of_its_predictions_would_be_noticed(tmp_path: Path) -> None:
    run = run_with_predictions(tmp_path / "run")
    record = run.record(run.trial_ids()[0])
    assert record is not None and record.top1 is not None
    run.write_record(record.model_copy(update={"top1": record.top1 + 0.01}))
    assert largest_differences(run.folder)["top-1 of a trial"][0] > 0.009
