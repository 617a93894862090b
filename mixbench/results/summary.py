"""Summary rows over the seeds of a model on a dataset: means, intervals, medians, the Pareto mark.

Pure.  scipy and the published figures are imported in the functions that use them: counting trials needs neither.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from mixbench.results.metrics import METRICS, QUALITY, SPEEDS, Metric
from mixbench.results.rows import device, distinctions, keys, rows_of
from mixbench.results.statistics import Interval, interval
from mixbench.run.flags import Flag, has_unsure_speed, written
from mixbench.run.record import Record

if TYPE_CHECKING:
    from mixbench.results.agreement import Agreement
    from mixbench.results.published import PublishedFigure


class SummaryRow(BaseModel):
    """One model on one dataset over its seeds.  The fields are the columns of summary.csv, in their order.

    top1_* in percent: of the done trials' top1, each after its last epoch, the mean, the sample standard deviation (n -
    1) and the half-width of the 95 % t-interval, both empty for a single seed.  *_published as the source states it, in
    parameters and MACs of `macs_convention`; top1_delta is ours - published.  Throughput: the median over the trials.
    peak_memory_bytes: the largest.  pareto: no other row tested on the same images is at least as good in top1_mean,
    macs and params, and better in one.  *_step_cv: the largest of the trials' own, so that one of them measured on a
    busy machine shows; timed_steps: of all trials together.  flags: of all trials, failed ones too, as their speeds
    count in the medians.  top1_agrees: within half a point of the published, or within top1_ci95.  *_as_published:
    ours, counted by the source's convention; *_agrees: to the digits it prints.  published_note: why they do not agree,
    if known.  top1_ci95_images: where all trials kept their predictions, of what a network reaches over all images and
    seeds, of a single seed over all images.  *_low, *_high: by bootstrap of trials and of their timed rounds, empty
    below six.
    """

    model: str  # the registry's name, overrides in brackets
    label: str  # the suite's name for it, by default the same
    family: str  # the class of the model
    dataset: str  # its name
    image_size: int  # pixels a side
    recipe: str  # its name
    precision: str  # number format of the arithmetic
    memory_format: str  # layout of images and weights
    compiled: bool  # with torch.compile
    train_batch_size: int | None = None  # images a step, on all processes together
    infer_batch_size: int | None = None  # images a step, on each process
    nodes: int  # machines
    world_size: int  # processes
    device: str  # the GPU or CPU it ran on
    n_seeds: int  # trials that are done and have an accuracy
    top1_mean: float | None = None  # %, mean over the seeds
    top1_std: float | None = None  # sample standard deviation (n - 1)
    top1_ci95: float | None = None  # half the width of the mean's 95 % t-interval
    top1_published: float | None = None  # % stated by the paper
    top1_delta: float | None = None  # top1_mean - top1_published
    params: int | None = None  # exact
    params_published: int | None = None  # stated by the paper
    macs: int | None = None  # per image, exact: convolutions and matrix products
    macs_published: int | None = None  # stated by the paper, in its convention
    macs_convention: str = ""  # the paper's way of counting
    infer_samples_per_sec: float | None = None  # images per second: the median over the seeds
    train_samples_per_sec: float | None = None  # images per second: the median over the seeds
    peak_memory_bytes: int | None = None  # the largest over the seeds
    pareto: bool | None = None  # no row on the same images is as good in top-1, MACs and params, and better in one
    top1_source: str = ""  # the source of top1_published
    top1_agrees: bool | None = None  # within half a point of the published figure, or within top1_ci95
    params_as_published: int | None = None  # ours, counted by the source's convention
    params_agrees: bool | None = None  # equal to the digits that the source prints
    macs_as_published: int | None = None  # ours, counted by the source's convention
    macs_agrees: bool | None = None  # equal to the digits that the source prints
    published_note: str = ""  # why figures do not agree, if known
    run: str = ""  # the run folder's name
    split: str = "test"  # the images it was tested on; val is a held-out part of the training set
    flags: str = ""  # warnings about the figures: each flag of the trials once, separated by ;
    infer_step_cv: float | None = None  # standard deviation of a step's time over its mean: the largest over the seeds
    train_step_cv: float | None = None  # standard deviation of a step's time over its mean: the largest over the seeds
    timed_steps: int | None = None  # the sum over the seeds
    infer_joules_per_image: float | None = None  # energy, by the GPU's own counter: the median over the seeds
    settings: str = ""  # the settings in which it differs from other rows of its label and dataset, if there are any
    top1_to_best: float | None = None  # points: top1_mean - the highest one on the same images
    top1_to_best_ci95: float | None = None  # half of its 95 % interval, simultaneous over all pairs on these images
    top1_verdict: str = ""  # best, or whether it can be told from the best one, and by what that is judged
    top1_ci95_images: float | None = None  # half the width of a 95 % interval that counts the test images too
    infer_samples_per_sec_low: float | None = None  # lower end of the median's 95 % interval, from its timed rounds
    infer_samples_per_sec_high: float | None = None  # upper end of it
    train_samples_per_sec_low: float | None = None  # lower end of the median's 95 % interval, from its timed rounds
    train_samples_per_sec_high: float | None = None  # upper end of it

    @property
    def images(self) -> str:
        """The images it was tested on, in words: accuracies on different images are not compared."""
        return self.dataset if self.split == "test" else f"{self.dataset} (validation split)"

    @property
    def speed_is_unsure(self) -> bool:
        """True if any trial has a flag by which its speeds may be wrong."""
        return has_unsure_speed(Flag.read(text) for text in self.flags.split(";"))

    @property
    def quality(self) -> float | None:
        """The mean over the seeds of the metric that rows are ranked by: top-1."""
        return getattr(self, f"{QUALITY.column}_mean")

    @property
    def quality_std(self) -> float | None:
        return getattr(self, f"{QUALITY.column}_std")

    @property
    def quality_ci95(self) -> float | None:
        """Half the 95 % interval that is shown: over seeds and test images where predictions were kept, else seeds."""
        of_images: float | None = getattr(self, f"{QUALITY.column}_ci95_images")
        return getattr(self, f"{QUALITY.column}_ci95") if of_images is None else of_images

    def speed_ends(self, metric: Metric) -> tuple[float, float] | None:
        """The ends of a speed's 95 % interval; None without one."""
        low, high = (getattr(self, f"{metric.column}_{end}") for end in ("low", "high"))
        return None if low is None else (low, high)


SUMMARY_COLUMNS = list(SummaryRow.model_fields)
_SUMMED_UP = [metric for metric in METRICS if metric.column in SUMMARY_COLUMNS]


@dataclass(frozen=True)
class Group:
    """Trials that differ only in their seed, their summary row, and its comparison with published figures.

    `key`: unique among the groups of a report; used in links.
    """

    key: str
    row: SummaryRow
    records: list[Record]
    agreements: list["Agreement"]

    @property
    def name(self) -> str:
        """Its label, and the settings in which it differs from other rows of its label and dataset."""
        return ", ".join(filter(None, [self.row.label, self.row.settings]))

    @property
    def published(self) -> list["PublishedFigure"]:
        return [each.figure for each in self.agreements]

    def value(self, metric: Metric) -> float | None:
        """A metric of the row: the quality's mean, or the metric summed up over its trials."""
        if metric.is_quality:
            return self.row.quality
        return getattr(self.row, metric.column) if metric in _SUMMED_UP else metric.summed_up(self.records)


def groups(records: list[Record]) -> list[Group]:
    """Group planned trials by run, device and all settings except the seed, in the plan's order, and sum them up."""
    grouped = rows_of(record for record in records if record.planned)
    found = [_group(*facts) for facts in zip(keys(grouped), grouped, distinctions(grouped), strict=True)]
    _mark_pareto([group.row for group in found])
    return found


def _group(key: str, records: list[Record], settings: str) -> Group:
    first = records[0]
    quality = interval(QUALITY.of(record) for record in records if record.status == "done")
    found = _agreements(records, quality)
    row = SummaryRow.model_validate(
        first.model_dump(include=set(SummaryRow.model_fields) - {metric.column for metric in _SUMMED_UP})
        | {
            "train_batch_size": _first(record.train_batch_size for record in records),
            "infer_batch_size": _first(record.infer_batch_size for record in records),
            "device": device(records),
            "settings": settings,
            "split": first.details.trial.recipe.split,
            "n_seeds": quality.n,
            f"{QUALITY.column}_mean": quality.mean,
            f"{QUALITY.column}_std": quality.std,
            f"{QUALITY.column}_ci95": quality.half_width,
            "flags": written(dict.fromkeys(flag for record in records for flag in record.flags)),
        }
        | {metric.column: metric.summed_up(records) for metric in _SUMMED_UP}
        | _speed_columns(records)
        | _published_columns(found)
    )
    return Group(key, row, records, found)


def _speed_columns(records: list[Record]) -> dict[str, float]:
    from mixbench.results.speed_interval import speed_interval

    return {
        f"{metric.column}_{end}": value
        for metric in SPEEDS
        if (found := speed_interval(records, metric))
        for end, value in zip(("low", "high"), found, strict=True)
    }


def _agreements(records: list[Record], top1: Interval) -> list["Agreement"]:
    from mixbench.results.agreement import agreement
    from mixbench.results.published import find
    from mixbench.zoo.pretrained import pretraining

    first, trial = records[0], records[0].details.trial
    trained = pretraining(trial.model, trial.weights)
    other = "tested on a part of the training set" if trial.recipe.split == "val" else ""
    if trained is None:
        other = "the weights are from elsewhere"
    counts = _first(record.details.complexity for record in records)
    figures = find(trial.model, trial.overrides, first.dataset, first.image_size, trained or "none")
    return [agreement(figure, counts, top1, other) for figure in figures]


def _published_columns(agreements: list["Agreement"]) -> dict[str, Any]:
    """Return the columns of published figures: the first comparable figure of each kind."""
    top1, params, macs = (
        next((each for each in agreements if each.figure.figure == kind and each.comparable), None)
        for kind in ("top1", "params", "macs")
    )
    return {
        "top1_published": top1 and top1.figure.value,
        "top1_delta": top1 and top1.difference,
        "top1_source": top1.figure.source if top1 else "",
        "top1_agrees": top1 and top1.agrees,
        "params_published": params and round(params.published),
        "params_as_published": params and params.ours,
        "params_agrees": params and params.agrees,
        "macs_published": macs and round(macs.published),
        "macs_convention": macs.figure.convention if macs else "",
        "macs_as_published": macs and macs.ours,
        "macs_agrees": macs and macs.agrees,
        "published_note": "; ".join(
            f"{each.figure.figure}: {each.why}"
            for each in (top1, params, macs)
            if each and each.agrees is False and each.why
        ),
    }


def _mark_pareto(rows: list[SummaryRow]) -> None:
    by_images: dict[str, list[tuple[SummaryRow, tuple[float, int, int]]]] = {}
    for row in rows:
        if row.quality is not None and row.macs is not None and row.params is not None:
            costs = QUALITY.cost(row.quality), row.macs, row.params
            by_images.setdefault(row.images, []).append((row, costs))
    for members in by_images.values():
        front: list[tuple[float, int, int]] = []
        for costs in sorted({costs for _, costs in members}):  # sorted: only an earlier point can dominate a later one
            if not any(all(theirs <= own for theirs, own in zip(best, costs, strict=True)) for best in front):
                front.append(costs)
        for row, costs in members:
            row.pareto = costs in front


def _first(values: Iterable[Any]) -> Any:
    return next((value for value in values if value is not None), None)
