"""Results of other code: of trials whose model's source has changed since.  They are kept aside, and never used."""

from collections.abc import Iterable
from pathlib import Path

from mixbench.run.folder import Run, complete
from mixbench.run.inventory import Inventory
from mixbench.suite.trial import Trial
from mixbench.system.files import set_aside


def of_other_code(inventory: Inventory, trials: Iterable[Trial]) -> list[Trial]:
    """Return the trials with a record or checkpoint made with other code of their model than they are planned with."""
    run, found = inventory.run, []
    for trial in trials:
        record = inventory.record(trial.id)
        if (record and record.is_of_other_code(trial)) or run.has_checkpoint(trial, other_code=True):
            found.append(trial)
    return found


def set_results_aside(run: Run, trial: Trial) -> list[Path]:
    """Rename a trial's record, predictions, weights and checkpoints to `*.other-code-1`, and return the new paths."""
    files = run.record_file(trial.id), run.predictions_file(trial.id), run.weights_file(trial.id)
    paths = [*files, *complete(run.checkpoints(trial.id))]
    return [set_aside(path, "other-code") for path in paths if path.exists()]
