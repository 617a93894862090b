"""Record: the results of a trial in one JSON file, versioned and self-describing.

The fields of `Record` up to `run` are the columns of results.csv, in their order; `details` holds the rest.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from statistics import median
from typing import Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mixbench.run.flags import Flag, FlagField, Kind
from mixbench.run.parts import Complexity, Curve, Environment
from mixbench.run.timings import ThroughputSamples, percentile, variation
from mixbench.suite.trial import Measure, Trial
from mixbench.system import checksum

SCHEMA_VERSION = 2
VERSION_WITHOUT_CHECKSUM = 1
"""Records of version 1 lack a checksum, and are otherwise the same: they are read, and get one when written again."""
Status = Literal["done", "failed", "running", "pending"]


class Details(BaseModel):
    """Results that do not fit in a table cell.  `weights`: fingerprint of the file of kept weights."""

    trial: Trial
    complexity: Complexity | None = None
    throughput: ThroughputSamples | None = None
    curve: Curve | None = None
    environment: dict[Measure, Environment] = {}
    traceback: str = ""
    weights: str = ""


class Record(BaseModel):
    """One trial's results; empty (None) where not measured.  top1 and top5 in percent, times in seconds or ms.

    `run`, the run folder's name, is set by the reader of the folder, which may have been renamed.  `planned` is not
    written: it is False for a record whose trial the plan no longer has, as the suite was edited.
    """

    model_config = ConfigDict(ser_json_inf_nan="constants")

    suite: str  # the suite's name
    trial_id: str  # <model>-<dataset>-s<seed>-<8 hex>: the hex hashes all that can change a result
    status: Status  # state of the trial
    model: str  # name in the registry, overrides in brackets
    label: str  # the model's label in the suite, else `model`
    family: str  # class of the model
    dataset: str  # name of the dataset
    image_size: int  # pixels per side
    seed: int  # random seed of weights, order of images and augmentation
    params: int | None = None  # number of parameters, exact
    macs: int | None = None  # multiply-accumulates per image, exact: convolutions, matrix products
    flops: int | None = None  # 2 × macs
    macs_ptflops: int | None = None  # multiply-accumulates per image as ptflops counts them
    activations: int | None = None  # output elements of convolutions and matrix products
    recipe: str = ""  # name of the recipe; empty if nothing is trained
    top1: float | None = None  # % of the test images, after the last epoch
    top5: float | None = None  # % of the test images, after the last epoch; empty for five classes or fewer
    test_loss: float | None = None  # cross-entropy after the last epoch
    train_loss: float | None = None  # mean of the last epoch's steps
    epochs: int | None = None  # passes over the training set
    train_seconds: float | None = None  # time of training, without evaluation
    train_samples_per_sec: float | None = None  # training images per second of all processes, by the median step
    train_batch_size: int | None = None  # images per step, of all processes together
    infer_samples_per_sec: float | None = None  # inference images per second of all processes, by the median step
    infer_batch_size: int | None = None  # images per step, of each process
    infer_step_ms_p50: float | None = None  # milliseconds per step: the median
    infer_step_ms_p95: float | None = None  # milliseconds per step: 95th percentile
    peak_memory_bytes: int | None = None  # largest allocation while timed; GPUs only
    precision: str  # number format of the arithmetic
    memory_format: str  # memory layout of images and weights
    compiled: bool  # with torch.compile
    nodes: int  # number of machines
    world_size: int  # number of processes
    device: str = ""  # name of the CPU or GPU
    torch_version: str = ""  # version of PyTorch
    git_commit: str = ""  # commit of mixbench
    started_at: str = ""  # start of the trial, ISO 8601, UTC
    finished_at: str = ""  # end of the trial, ISO 8601, UTC
    flags: list[FlagField] = Field(default_factory=list)  # warnings about the numbers, separated by ;
    error: str = ""  # why the trial failed
    run: str = ""  # name of the run folder
    infer_step_ms_p5: float | None = None  # milliseconds per step: 5th percentile
    infer_step_cv: float | None = None  # coefficient of variation of step times: standard deviation / mean
    train_step_ms_p50: float | None = None  # milliseconds per step: the median
    train_step_ms_p5: float | None = None  # milliseconds per step: 5th percentile
    train_step_ms_p95: float | None = None  # milliseconds per step: 95th percentile
    train_step_cv: float | None = None  # coefficient of variation of step times: standard deviation / mean
    timed_steps: int | None = None  # timed steps of inference or of training, the smaller number
    device_memory_bytes: int | None = None  # memory in use on the whole GPU after timing, by all programs; GPUs only
    infer_joules_per_image: float | None = None  # energy per inference image, by the GPU's own counter; GPUs only
    threads: int | None = None  # CPU threads of each process
    model_code: str = ""  # hash of the source of the model's class, and of the modules that it imports from beside it

    details: Details  # results that do not fit in a table cell
    planned: bool = Field(default=True, exclude=True)  # the trial is in the run's plan; set by the reader of the folder
    schema_version: int = SCHEMA_VERSION  # version of the file's format

    @classmethod
    def pending(cls, trial: Trial) -> "Record":
        """Return the record of a trial of which nothing is measured yet."""
        trains = trial.trains
        return cls(
            trial_id=trial.id,
            status="pending",
            **cls.names(trial),
            dataset=trial.dataset,
            image_size=trial.arguments["image_size"],
            seed=trial.seed,
            precision=trial.precision,
            memory_format=trial.memory_format,
            compiled=trial.compile,
            nodes=trial.nodes,
            world_size=trial.world_size,
            train_batch_size=trial.recipe.global_batch_size if trains else None,
            infer_batch_size=trial.infer_batch_size
            if "throughput" in trial.measure and trial.infer_batch_size != "max"
            else None,
            flags=[Flag(Kind.VALIDATION_SPLIT)] if trains and trial.recipe.split == "val" else [],
            model_code=trial.model_code,
            details=Details(trial=trial),
        )

    @staticmethod
    def names(trial: Trial) -> dict[str, Any]:
        """Return the fields with names from the suite, which may change between runs of the same trial."""
        return {
            "suite": trial.suite,
            "model": trial.display_name,
            "label": trial.label,
            "family": trial.family,
            "recipe": trial.recipe.name if trial.trains else "",
        }

    def add_complexity(self, part: Complexity) -> None:
        self.details.complexity = part
        self.params, self.macs, self.flops = part.params, part.macs, None if part.macs is None else 2 * part.macs
        self.macs_ptflops, self.activations = part.macs_ptflops, part.activations

    def add_throughput(self, part: ThroughputSamples) -> None:
        self.details.throughput = part
        trial, infer, train = self.details.trial, part.infer_step_ms, part.train_step_ms
        if part.infer_batch_size:
            self.infer_batch_size = part.infer_batch_size
        if infer and self.infer_batch_size:
            self.infer_step_ms_p50 = median(infer)
            self.infer_samples_per_sec = 1000 * self.infer_batch_size * trial.world_size / self.infer_step_ms_p50
            self.infer_step_ms_p5, self.infer_step_ms_p95 = percentile(infer, 5), percentile(infer, 95)
            self.infer_step_cv = variation(infer)
        if train:
            self.train_step_ms_p50 = median(train)
            self.train_samples_per_sec = 1000 * trial.recipe.global_batch_size / self.train_step_ms_p50
            self.train_step_ms_p5, self.train_step_ms_p95 = percentile(train, 5), percentile(train, 95)
            self.train_step_cv = variation(train)
        self.timed_steps = min((len(steps) for steps in (infer, train) if steps), default=0)
        self.peak_memory_bytes, self.device_memory_bytes = part.peak_memory_bytes, part.device_memory_bytes
        self.infer_joules_per_image = part.joules_per_image
        self.flags += [flag for flag in part.flags if flag not in self.flags]

    def add_accuracy(self, part: Curve) -> None:
        self.details.curve = part
        last = part.epochs[-1]
        self.top1, self.top5, self.test_loss, self.train_loss = last.top1, last.top5, last.test_loss, last.train_loss
        self.epochs = last.epoch
        self.flags += [Flag(Kind.GIVEN_WEIGHTS, note) for note in part.weights_notes]
        self.train_seconds = sum(epoch.seconds for epoch in part.epochs)

    def keep(self, earlier: "Record") -> None:
        """Copy the parts that an earlier record of the same trial holds."""
        parts = earlier.details
        if parts.complexity is not None:
            self.add_complexity(parts.complexity)
        if parts.throughput is not None:
            self.add_throughput(parts.throughput)
            self.peak_memory_bytes = earlier.peak_memory_bytes  # older records hold it only in this field
        if parts.curve is not None:
            self.add_accuracy(parts.curve)
            self.details.weights = parts.weights
        self.details.environment = dict(parts.environment)
        self.device, self.torch_version, self.git_commit = earlier.device, earlier.torch_version, earlier.git_commit
        self.threads = earlier.threads
        self.started_at, self.flags = earlier.started_at, list(earlier.flags)

    def is_of_other_code(self, trial: Trial) -> bool:
        """Return True if parts were measured with other code of the model than the trial was planned with.

        False if either is unknown, as in older records.
        """
        measured = len(self.missing(get_args(Measure))) < len(get_args(Measure))
        return measured and bool(self.model_code and trial.model_code) and self.model_code != trial.model_code

    def holds(self, measure: tuple[Measure, ...]) -> bool:
        """Return True if the trial is done and the record holds every part in `measure`."""
        return self.status == "done" and not self.missing(measure)

    def missing(self, measure: Iterable[Measure]) -> list[Measure]:
        """Return the parts in `measure` that this record does not hold."""
        parts: dict[Measure, Any] = {
            "complexity": self.details.complexity,
            "throughput": self.details.throughput,
            "accuracy": self.details.curve,
        }
        return [part for part in measure if parts[part] is None]


COLUMNS = [name for name in Record.model_fields if name not in ("details", "planned", "schema_version")]


class DamagedRecord(Exception):
    """A record that cannot be used: truncated, changed, foreign, or of another schema version."""


def read_record(path: Path, text: bytes | None = None) -> Record:
    """Return the record in this file, or in `text` read from it.  Raises DamagedRecord, FileNotFoundError."""
    try:
        text = path.read_bytes() if text is None else text
        if not checksum.is_untouched(text):
            _check(json.loads(text), path)
        record = _validated(text, path)
        _check_version(record.schema_version, path)
        record.schema_version = SCHEMA_VERSION
        return record
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise DamagedRecord(f"{path}: {where}: {first['msg']}") from error
    except (IsADirectoryError, NotADirectoryError) as error:
        raise DamagedRecord(f"{path}: not a file") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise DamagedRecord(f"{path}: {type(error).__name__}: {error}") from error


def _validated(text: bytes, path: Path) -> Record:
    try:
        return Record.model_validate_json(text)
    except ValidationError:
        _check_version(json.loads(text)["schema_version"], path)  # a record of another version fails too, at any key
        raise


def _check(found: dict[str, Any], path: Path) -> None:
    """Raise DamagedRecord if the values are not those that were written."""
    _check_version(found["schema_version"], path)
    if not checksum.is_intact(found) or (found["schema_version"] == SCHEMA_VERSION and checksum.KEY not in found):
        raise DamagedRecord(f"{path}: it does not have the checksum that it was written with")


def _check_version(version: Any, path: Path) -> None:
    if version not in (SCHEMA_VERSION, VERSION_WITHOUT_CHECKSUM):
        raise DamagedRecord(f"{path}: schema version {version}, this mixbench reads {SCHEMA_VERSION}")
