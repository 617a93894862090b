"""The ends of trials, on this machine and in SLURM: records are watched, trials of dead processes marked as failed."""

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from mixbench.launch.cost import RECORD_BYTES
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.run.record import Record
from mixbench.suite.trial import Trial
from mixbench.system.files import modified_at, set_aside
from mixbench.system.host import timestamp


@dataclass(frozen=True)
class Outcome:
    """A trial that has ended, well or not.  `unwritten` says why its record could not be written."""

    trial: Trial
    record: Record
    unwritten: str = ""


def final_record(inventory: Inventory, trial: Trial) -> Record | None:
    """The trial's record if it has ended: it failed, or everything that was asked for is there."""
    if inventory.is_done(trial):
        return inventory.record(trial.id)
    record = inventory.record(trial.id)
    return record if record is not None and record.status == "failed" else None


@dataclass
class RecordWatch:
    """Notices that trials end.  A record is read again only when it was written since: reading takes time from what
    is being measured."""

    inventory: Inventory
    _read_at: dict[str, int] = field(default_factory=dict)

    def ended(self, trials: Iterable[Trial]) -> Iterator[Outcome]:
        """Those of the trials whose records were written since the last look, and are final."""
        for trial in list(trials):
            at = modified_at(self.inventory.run.record_file(trial.id))
            if at != self._read_at.get(trial.id, 0):
                self._read_at[trial.id] = at
                if record := final_record(self.inventory, trial):
                    yield Outcome(trial, record)


def reset_failed(trial: Trial, run: Run) -> None:
    """Make a trial that failed in an earlier run pending again; the parts that it has are kept.

    The same for a trial that is to keep its weights and has lost them: it is trained again.
    """
    record = run.readable(trial.id)
    lacks_weights = Inventory(run).lacks_weights(trial)
    if record is not None and (record.status == "failed" or lacks_weights):
        if lacks_weights:
            record.details.curve = None
            if run.weights_file(trial.id).exists():
                set_aside(run.weights_file(trial.id))
        record.status, record.error, record.details.traceback = "pending", "", ""
        run.write_record(record)


def record_failure(run: Run, trial: Trial, error: str, traceback: str) -> Outcome:
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
