"""The run folder: `runs/<suite>/` with the frozen suite, the plan, and a folder for each trial.

suite.yaml  plan.json
trials/<trial id>/{trial.json, record.json, predictions.npz, progress.json, checkpoint/, weights.safetensors}
commands.jsonl  lock/  jobs/  results.csv  summary.csv  report.html  figures/  report.md
"""

import hashlib
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from mixbench.errors import RequestError
from mixbench.run.claim import Claim
from mixbench.run.parts import PredictionsFile
from mixbench.run.progress import Progress
from mixbench.run.record import DamagedRecord, Record, read_record
from mixbench.suite.trial import Trial
from mixbench.system.checksum import is_intact, is_untouched, with_checksums
from mixbench.system.files import remove, text_of, to_json, write_atomically

TrialId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]*[A-Za-z0-9_-][A-Za-z0-9_.-]*$")]  # names a folder


@dataclass(frozen=True)
class Run:
    """A run folder.  Reading never changes it.  A process that writes holds its claim, and stops if that is lost."""

    folder: Path
    claim: Claim | None = None

    @property
    def suite_file(self) -> Path:
        return self.folder / "suite.yaml"

    @property
    def plan_file(self) -> Path:
        return self.folder / "plan.json"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def jobs(self) -> Path:
        return self.folder / "jobs"

    def trial_folder(self, trial_id: str) -> Path:
        return self.folder.joinpath("trials", trial_id)

    def record_file(self, trial_id: str) -> Path:
        return self.trial_folder(trial_id) / "record.json"

    def trial_file(self, trial_id: str) -> Path:
        return self.trial_folder(trial_id) / "trial.json"

    def progress_file(self, trial_id: str) -> Path:
        return self.trial_folder(trial_id) / "progress.json"

    def weights_file(self, trial_id: str) -> Path:
        return self.trial_folder(trial_id) / "weights.safetensors"

    def predictions_file(self, trial_id: str) -> Path:
        return self.trial_folder(trial_id) / "predictions.npz"

    def checkpoints(self, trial_id: str) -> Path:
        return self.trial_folder(trial_id) / "checkpoint"

    def has_checkpoint(self, trial: Trial, other_code: bool = False) -> bool:
        """Return True if a checkpoint is of this trial, or of other code of its model if `other_code`.

        It is checked for damage only when it is used.
        """
        for path in complete(self.checkpoints(trial.id)):
            with suppress(ValueError, AttributeError):
                manifest = json.loads(text_of(path / "manifest.json"))
                same = manifest.get("model_code", "") in ("", trial.model_code) or not trial.model_code
                if manifest.get("trial_id") == trial.id and same is not other_code:
                    return True
        return False

    def write_plan(self, suite_text: str, trials: list[Trial]) -> None:
        """Write the suite, the order of its trials and each trial.  Raises Taken."""
        self.check_claim()
        write_atomically(self.suite_file, suite_text)  # first: it shows which suite the folder belongs to
        for trial in trials:
            path, text = self.trial_file(trial.id), with_checksums(to_json(trial))
            if text_of(path) != text:  # rewriting thousands takes seconds, and an Inventory would read them again
                write_atomically(path, text, fsync=False)
        write_atomically(self.plan_file, json.dumps([trial.id for trial in trials], indent=1) + "\n")

    def planned(self) -> list[str]:
        """Return the ids of the trials in the plan, in its order.  Raises RequestError if this is not a run folder."""
        try:
            return TypeAdapter(list[TrialId]).validate_json(self.plan_file.read_bytes())
        except FileNotFoundError:
            raise RequestError(f"{self.folder} is not a run folder: it has no {self.plan_file.name}") from None
        except NotADirectoryError:
            raise RequestError(f"{self.folder} is not a run folder: it is not a folder") from None
        except (ValueError, IsADirectoryError):
            raise RequestError(
                f"{self.plan_file} is damaged: it does not hold a list of trial ids; "
                "running the suite again writes it anew and keeps every result"
            ) from None

    def trial_folders(self) -> list[str]:
        """Return the ids of the trials that have a folder with a trial.json or record.json."""
        with suppress(OSError), os.scandir(self.folder / "trials") as entries:
            names = ("trial.json", "record.json")
            return sorted(each.name for each in entries if any(os.path.exists(f"{each.path}/{name}") for name in names))
        return []

    def trial_ids(self) -> list[str]:
        """Return the ids of the planned trials in order, then of those that are no longer planned."""
        planned = self.planned()
        return list(dict.fromkeys([*planned, *self.trial_folders()]))

    def trial(self, trial_id: str, *, text: bytes | None = None) -> Trial:
        """Return the trial in trial.json, or in `text` read from it.  Raises RequestError if missing or damaged."""
        path = self.trial_file(trial_id)
        try:
            text = path.read_bytes() if text is None else text
            if not is_untouched(text) and not is_intact(json.loads(text)):
                raise ValueError("it does not have the checksum that it was written with")
            trial = Trial.model_validate_json(text)
            if trial.id != trial_id:
                raise ValueError(f"it describes {trial.id}")
        except FileNotFoundError:
            raise RequestError(f"{self.folder} has no trial {trial_id}") from None
        except (ValueError, TypeError, RecursionError, IsADirectoryError, NotADirectoryError) as error:
            raise RequestError(f"{path} is damaged: {' '.join(str(error).split())}") from None
        return trial

    def record(self, trial_id: str, *, text: bytes | None = None) -> Record | None:
        """Return the record in record.json, or in `text` read from it; None if there is none.  Raises DamagedRecord."""
        path = self.record_file(trial_id)
        try:
            record = read_record(path, text)
        except FileNotFoundError:
            return None
        if record.trial_id != trial_id:
            raise DamagedRecord(f"{path}: it is the record of {record.trial_id}")
        return record

    def readable(self, trial_id: str) -> Record | None:
        """Return the trial's record; None if there is none or it is damaged."""
        try:
            return self.record(trial_id)
        except DamagedRecord:
            return None

    def resumed(self, trial: Trial) -> Record:
        """Return a pending record of the trial with the parts that an earlier process measured with the same code."""
        record = Record.pending(trial)
        earlier = self.readable(trial.id)
        if earlier and not earlier.is_of_other_code(trial):
            record.keep(earlier)
        return record

    def write_record(self, record: Record) -> None:
        """Write record.json.  Raises Taken."""
        self.check_claim()
        write_atomically(self.record_file(record.trial_id), with_checksums(to_json(record)))

    def write_predictions(self, trial_id: str, contents: bytes) -> PredictionsFile:
        """Write predictions.npz, and return what the record, written later, says of it.  Raises Taken."""
        self.check_claim()
        path = self.predictions_file(trial_id)
        write_atomically(path, contents)
        return PredictionsFile(name=path.name, sha256=hashlib.sha256(contents).hexdigest())

    def progress(self, trial_id: str) -> Progress | None:
        """Return the progress that the trial's process last wrote; None if there is none."""
        try:
            return Progress.model_validate_json(self.progress_file(trial_id).read_bytes())
        except (OSError, ValidationError):
            return None

    def write_progress(self, trial_id: str, progress: Progress) -> None:
        """Write progress.json, for displays of the run; an error is ignored, as measuring does not depend on it."""
        if self.claim and self.claim.is_lost():
            return
        with suppress(OSError):
            write_atomically(self.progress_file(trial_id), to_json(progress))

    def clear_progress(self, trial_id: str) -> None:
        with suppress(OSError):
            self.progress_file(trial_id).unlink()

    def check_claim(self) -> None:
        """Raise Taken if another process has taken over the run."""
        if self.claim:
            self.claim.check()

    def clear(self, trial_id: str) -> None:
        """Delete checkpoints and progress of a trial with a complete record, and temporary files of killed processes.

        Files set aside as damaged are kept.  A file that cannot be deleted now is left to the next run.  Raises Taken.
        """
        self.check_claim()
        self.clear_progress(trial_id)
        folder = self.checkpoints(trial_id)
        with suppress(OSError):
            for path in (*self.trial_folder(trial_id).glob(".*.tmp"), *folder.glob(".*.tmp"), *complete(folder)):
                remove(path)
            (folder / "latest").unlink(missing_ok=True)
            folder.rmdir()

    def sweep(self) -> None:
        """Delete temporary files that killed processes left outside of trials/.  The caller holds the claim."""
        for pattern in (".*.tmp", "lock/.*.tmp", "jobs/**/.*.tmp", "figures/.*.tmp"):
            for path in self.folder.glob(pattern):
                with suppress(OSError):
                    remove(path)


def complete(checkpoints: Path) -> list[Path]:
    """Return a trial's checkpoints, except those being written or set aside."""
    return [path for path in checkpoints.glob("step-*") if not path.suffix]
