"""Parts of a record: counts, learning curve and environment.  Its timings are in timings.py."""

from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")


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
    """Exact counts for one image.  `uncounted`: the operators that look like multiplications, but have no counter."""

    params: int
    macs: int
    macs_ptflops: int | None
    activations: int
    layers: list[Layer]
    uncounted: list[str] = Field(default_factory=list)


class Environment(Frozen):
    """Hardware and software that a measurement was made with."""

    mixbench_version: str
    git_commit: str = ""
    git_dirty: bool = False
    python_version: str
    torch_version: str
    deepspeed_version: str = ""
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


class Curve(Frozen):
    """All evaluated epochs.  The best one is chosen on the test set, thus optimistic: it is stored, not reported."""

    epochs: list[Epoch]
    best_top1_optimistic: float
    best_epoch: int
    test_images: int
    weights_notes: list[str] = []  # of given weights: what was adapted to load them, what could not be compared
