"""How a trial ended, whoever ran it."""

import shutil
from dataclasses import dataclass

from mixbench.launch.cost import RECORD_BYTES
from mixbench.run.folder import Run
from mixbench.run.record import Record
from mixbench.suite.trial import Trial
from mixbench.system.files import set_aside
from mixbench.system.host import timestamp


@dataclass(frozen=True)
class Outcome:
    """A trial that has come to its end, well or not.  `unwritten` says why its record could not be written."""

    trial: Trial
    record: Record
    unwritten: str = ""


def reopen(trial: Trial, run: Run) -> None:
    """A trial that failed in an earlier run is pending again; the parts that it has are kept.

    So is one that is to keep its weights and has none: it is trained again.
    """
    record = run.readable(trial.id)
    lacks_weights = run.lacks_weights(trial)
    if record is not None and (record.status == "failed" or lacks_weights):
        if lacks_weights:
            record.details.curve = None
            if run.weights_file(trial.id).exists():
                set_aside(run.weights_file(trial.id))
        record.status, record.error, record.details.traceback = "pending", "", ""
        run.write_record(record)


def blame(run: Run, trial: Trial, error: str, traceback: str) -> Outcome:
    """Record a trial as failed whose processes could not do so themselves."""
    record = run.resumed(trial)
    record.started_at = record.started_at or timestamp()
    record.status, record.finished_at = "failed", timestamp()
    record.error, record.details.traceback = error, traceback
    if shutil.disk_usage(run.folder).free < RECORD_BYTES:
        record.error += f"; the disk of {run.folder} is full"  # so the process may have been unable to say it itself
    unwritten = ""
    try:
        run.write_record(record)
    except OSError as failure:
        unwritten = str(failure)
    run.clear_progress(trial.id)
    return Outcome(trial, record, unwritten)
