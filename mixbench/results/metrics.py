"""The metrics: everything measured in a trial, with its names, how it is formatted and summarised over seeds.

Tables, figures, comparisons and the terminal use METRICS: a new metric is a field of Record and an entry in this list.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

from mixbench.results.statistics import DECIMALS, plus_minus
from mixbench.run.parts import Epoch
from mixbench.run.record import COLUMNS, Record

Quantity = Literal["percent", "loss", "count", "rate", "seconds", "milliseconds", "bytes", "share", "joules"]
"""The kind of number, which decides how it is formatted."""
Where = Literal["all", "page", "trials", "files"]
"""Tables that show a metric: all; only the page's; only the page's table of trials; only results.csv and details."""
OverSeeds = Literal["mean", "median", "largest", "first", "sum", ""]


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A measured quantity.  `column`: its field in Record.  `of_device`: only values of the same device are compared.

    `key` is used in links and file names, `name` in sentences and axes.  `title` is the heading of a table's column,
    with `under` below it; `brief` is the heading in a terminal.  `unit`: shown in headings, empty if each cell has its
    own (12.5 M, 1.5 GiB); `behind`: the words after a value in a sentence.

    `over_seeds`: how a row of the summary computes it from its trials.  "mean", with an interval, marks the quality:
    the goal of training, by which rows are ranked, and which is compared over seeds.

    `compared`: by `mixbench compare`, in units of `scale`, to `decimals` unless an interval supports fewer.  `drawn`:
    in a figure, as a cost against quality.
    """

    column: str
    title: str
    quantity: Quantity
    more_is_better: bool | None
    where: Where = "files"
    of_device: bool = False
    over_seeds: OverSeeds = ""
    key: str = ""
    name: str = ""
    brief: str = ""
    unit: str = ""
    under: str = ""
    behind: str = ""
    axis: str = ""
    compared: bool = False
    scale: int = 1
    decimals: int = DECIMALS
    drawn: bool = False

    @property
    def is_quality(self) -> bool:
        return self.over_seeds == "mean"

    @property
    def is_speed(self) -> bool:
        """True of times, and of rates made of them: a busy machine falsifies them."""
        return self.of_device and self.quantity in ("rate", "seconds", "milliseconds")

    @property
    def better(self) -> Literal["high", "low"]:
        return "high" if self.more_is_better else "low"

    @property
    def heading(self) -> str:
        """The heading on one line: "Inference (images/s)"."""
        return f"{self.title} ({self.unit})" if self.unit else self.title

    @property
    def axis_label(self) -> str:
        """ "inference throughput (images/s)", "training time" """
        name = self.name or self.title
        return self.axis or (f"{name} ({self.unit})" if self.unit else name)

    def of(self, measured: Record | Epoch) -> Any:
        """Return its value in a record; the quality also has one in each epoch."""
        return getattr(measured, self.column)

    def cost(self, value: float | None) -> float:
        """Return a sort key, lower is better, so that the best comes first; infinity if there is no value."""
        if value is None:
            return math.inf
        return -value if self.more_is_better else value

    def shown(self, value: float | None, half_width: float | None = None, sign: Literal["", "+"] = "") -> str:
        """Format a value for a comparison, with the digits that the interval supports; "" if there is none.

        Equal seeds have no spread to tell an interval by: a width of 0 is not shown.
        """
        if value is None:
            return ""
        width = half_width / self.scale if half_width else None
        return plus_minus(value / self.scale, width, self.decimals, sign)

    def summed_up(self, records: Iterable[Record]) -> Any:
        """Return one value for trials that differ only in their seed; None if no trial has a finite one."""
        values = (self.of(record) for record in records)
        known = [value for value in values if value is not None and math.isfinite(value)]
        if self.quantity == "seconds":
            known = [value for value in known if value > 0]  # 0: given weights were evaluated without training
        return _OVER_SEEDS[self.over_seeds](known) if known else None


_OVER_SEEDS: dict[str, Callable[[list[Any]], Any]] = {
    "median": median, "largest": max, "first": lambda values: values[0], "sum": lambda values: sum(values) or None,
}  # fmt: skip

METRICS = [
    Metric(
        column="top1", key="top1", name="top-1", title="Top-1", brief="top-1 %", unit="%", under="%", behind="%",
        quantity="percent", more_is_better=True, over_seeds="mean", where="all", compared=True,
    ),
    Metric(
        column="params", key="params", name="parameters", title="Params", brief="params", behind="parameters",
        quantity="count", more_is_better=False, over_seeds="first", where="all", drawn=True,
    ),
    Metric(
        column="macs", key="macs", name="MACs", title="MACs", brief="MACs", under="per image", behind="MACs",
        axis="MACs per image", quantity="count", more_is_better=False, over_seeds="first", where="all", drawn=True,
    ),
    Metric(
        column="infer_samples_per_sec", key="throughput", name="inference throughput", title="Inference",
        brief="infer img/s", unit="images/s", under="images/s", behind="images/s", quantity="rate",
        more_is_better=True, of_device=True, over_seeds="median", where="all", compared=True, decimals=1, drawn=True,
    ),
    Metric(
        column="train_samples_per_sec", key="training", name="training throughput", title="Training",
        brief="train img/s", unit="images/s", under="images/s", behind="images/s", quantity="rate",
        more_is_better=True, of_device=True, over_seeds="median", where="all", compared=True, decimals=1,
    ),
    Metric(
        column="train_seconds", key="time", name="training time", title="Training", under="time",
        behind="of training", quantity="seconds", more_is_better=False, of_device=True, over_seeds="median",
        where="page", drawn=True,
    ),
    Metric(
        column="peak_memory_bytes", key="memory", name="peak memory", title="Memory", brief="memory MB", under="peak",
        behind="at the peak", quantity="bytes", more_is_better=False, of_device=True, over_seeds="largest",
        where="page", compared=True, scale=10**6, decimals=1, drawn=True,
    ),
    Metric(column="top5", title="Top-5", unit="%", under="%", quantity="percent", more_is_better=True, where="trials"),
    Metric(column="test_loss", title="Test loss", quantity="loss", more_is_better=False, where="trials"),
    Metric(column="train_loss", title="Train loss", quantity="loss", more_is_better=False, where="trials"),
    Metric(column="flops", title="FLOPs", under="2 × MACs", quantity="count", more_is_better=False),
    Metric(
        column="macs_ptflops", title="MACs", under="ptflops", axis="MACs per image, by ptflops", quantity="count",
        more_is_better=False,
    ),
    Metric(column="activations", title="Activations", quantity="count", more_is_better=False),
    Metric(
        column="infer_step_ms_p50", title="Step", under="p5, p50, p95, ms", axis="Inference step, p50 (ms)",
        quantity="milliseconds", more_is_better=False, of_device=True, where="trials",
    ),
    *(
        Metric(
            column=f"{step}_step_ms_p{percent}", title=f"{title} step, p{percent}", unit="ms", quantity="milliseconds",
            more_is_better=False, of_device=True,
        )
        for step, title, percents in (("infer", "Inference", (5, 95)), ("train", "Training", (5, 50, 95)))
        for percent in percents
    ),
    *(
        Metric(
            column=f"{step}_step_cv", title=f"{title} step, CV", quantity="share", more_is_better=False, of_device=True,
            over_seeds="largest",
        )
        for step, title in (("infer", "Inference"), ("train", "Training"))
    ),
    Metric(column="timed_steps", title="Timed steps", quantity="count", more_is_better=None, over_seeds="sum"),
    Metric(
        column="device_memory_bytes", title="Device memory", quantity="bytes", more_is_better=False, of_device=True
    ),
    Metric(
        column="infer_joules_per_image", title="Energy", unit="J/image", quantity="joules", more_is_better=False,
        of_device=True, over_seeds="median",
    ),
]  # fmt: skip
SETTINGS = ("epochs", "train_batch_size", "infer_batch_size", "threads")
"""Columns of numbers that may be empty, but are not metrics: the suite or the machine sets them."""

IN_ALL = [metric for metric in METRICS if metric.where == "all"]
[QUALITY] = [metric for metric in METRICS if metric.is_quality]
PRICES = [metric for metric in METRICS if metric.where in ("all", "page") and not metric.is_quality]
"""The costs that quality is traded off against: parameters, MACs, time, memory."""
_IN_ORDER_OF_RESULTS = sorted(METRICS, key=lambda metric: COLUMNS.index(metric.column))
COMPARED = [metric for metric in _IN_ORDER_OF_RESULTS if metric.compared]
OF_TRIALS = [metric for metric in _IN_ORDER_OF_RESULTS if metric.where != "files" and metric.over_seeds != "first"]
"""The metrics that differ between the trials of one row."""
_BY_COLUMN = {metric.column: metric for metric in METRICS}
PARAMS, MACS, INFERENCE, TRAINING, TIME, MEMORY = (
    _BY_COLUMN[column]
    for column in (
        "params",
        "macs",
        "infer_samples_per_sec",
        "train_samples_per_sec",
        "train_seconds",
        "peak_memory_bytes",
    )
)
SPEEDS = (INFERENCE, TRAINING)
"""Images per second, each the median of timed steps."""
