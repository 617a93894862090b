"""Spread of the timed steps behind a median throughput: the text shown with every images/s of the page."""

from collections.abc import Sequence
from typing import Literal

from mixbench.report import numbers
from mixbench.results.metrics import INFERENCE, TRAINING
from mixbench.results.summary import SummaryRow
from mixbench.run.record import Record
from mixbench.run.timings import percentile
from mixbench.system.words import plural

Kind = Literal["infer", "train"]


def samples(kind: Kind, records: Sequence[Record]) -> list[float]:
    """Raw step times of all these trials, in milliseconds."""
    parts = [record.details.throughput for record in records if record.details.throughput]
    return numbers.finite(ms for part in parts for ms in getattr(part, f"{kind}_step_ms"))


def steps(kind: Kind, figures: Record | SummaryRow, records: Sequence[Record]) -> str:
    """`60 timed steps, p5 to p95: 9.81 ms to 10.4 ms, CV 2.13 % …`; empty if nothing was timed.

    `figures`: a trial's record, or the summary row of several, with the median's interval; the percentiles are over
    the steps of all of them.
    """
    timed = samples(kind, records)
    if not timed:
        return ""
    ends = [numbers.step(percentile(timed, percent)) for percent in (5, 95)]
    texts = [plural(len(timed), "timed step"), f"p5 to p95: {' to '.join(ends)}"]
    variation = figures.infer_step_cv if kind == "infer" else figures.train_step_cv
    if variation is not None:
        texts.append(f"CV {'at most ' * (len(records) > 1)}{numbers.fixed(100 * variation)} %")
    if kind == "infer" and figures.infer_joules_per_image is not None:
        texts.append(f"{numbers.rate(figures.infer_joules_per_image)} J/image")
    speed = INFERENCE if kind == "infer" else TRAINING
    if isinstance(figures, SummaryRow) and (ends_of_median := figures.speed_ends(speed)):
        texts.append(f"95 % interval of the median {' to '.join(map(numbers.rate, ends_of_median))} {speed.unit}")
    return ", ".join(texts)
