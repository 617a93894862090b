"""Parts of a record: counts, learning curve and environment.  Its timings are in timings.py."""

from collections.abc import Iterator
from math import isfinite
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")


def not_finite(part: Frozen) -> str:
    """Name the first number of a part that is not finite, such as `epochs.3.test_loss is nan`; "" if all are."""
    return next((f"{name} is {value}" for name, value in _floats(part.model_dump(), "") if not isfinite(value)), "")


def _floats(value: Any, name: str) -> Iterator[tuple[str, float]]:
    if isinstance(value, float):
        yield name, value
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from _floats(inner, f"{name}.{key}".lstrip("."))


# A record has a hundred layers and epochs: as BaseModels, each with a set of its fields' names, they take three times
# the memory.
NUMBERS = ConfigDict(ser_json_inf_nan="constants")


@dataclass(frozen=True, slots=True, kw_only=True, config=NUMBERS)
class Layer:
    """A module that has parameters or does multiplications.  Shapes are without the batch dimension."""

    name: str
    type: str
    params: int
    macs: int
    input_shape: list[int]
    output_shape: list[int]


class Complexity(Frozen):
    """Exact counts for one image.

    `fft_flops`: Fourier transforms, which are in no MACs: 2.5 N log₂ N for N real values, 5 N log₂ N for complex ones.
    `uncounted`: operators that are not known to be cheap, and have no counter.  `not_counted`: why macs and activations
    are None, of a model whose work depends on the images; else empty.
    """

    params: int
    macs: int | None
    macs_ptflops: int | None
    activations: int | None
    layers: list[Layer]
    uncounted: list[str] = Field(default_factory=list)
    fft_flops: int = 0
    not_counted: str = ""


class Environment(Frozen):
    """Hardware and software that a measurement was made with."""

    mixbench_version: str
    git_commit: str = ""
    git_dirty: bool = False
    python_version: str
    torch_version: str
    deepspeed_version: str = ""
    torchvision_version: str = ""
    timm_version: str = ""
    cuda_version: str = ""
    driver: str = ""
    device: str
    device_count: int
    cores: int
    threads: int
    cpu_quota: float | None = None  # CPU time that its control groups allow, in cores
    memory_bytes: int
    host: str
    os: str


@dataclass(frozen=True, slots=True, kw_only=True, config=NUMBERS)
class Epoch:
    """A point of the learning curve.  top1 and top5 in percent; seconds of training since the point before.

    top5 is None for five classes or fewer, where it would mean nothing.

    Epoch 0 is an evaluation of given weights, without training.
    """

    epoch: int
    lr: float
    train_loss: float | None = None
    test_loss: float
    top1: float
    top5: float | None
    seconds: float


class PredictionsFile(Frozen):
    """The file, beside the record, with what was predicted for each test image (see `predictions.py`)."""

    name: Annotated[str, Field(pattern=r"^[a-z]+\.npz$")]
    sha256: str


class Curve(Frozen):
    """All evaluated epochs.  The best one is chosen on the test set, thus optimistic: it is stored, not reported.

    `predictions`: of the last epoch, for all `test_images`; None where they were not kept, as in older records.
    """

    epochs: list[Epoch]
    best_top1_optimistic: float
    best_epoch: int
    test_images: int
    predictions: PredictionsFile | None = None
    weights_notes: list[str] = []  # of given weights: what was adapted to load them, what could not be compared
