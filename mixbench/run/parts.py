"""The parts of a record but for the timings: counts, curve, and where and with what each was measured."""

from pydantic import BaseModel, ConfigDict, Field
from pydantic.dataclasses import dataclass


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, ser_json_inf_nan="constants")


# A record has a hundred layers and epochs: as models, each with a set of its fields' names, they take thrice the room.
NUMBERS = ConfigDict(ser_json_inf_nan="constants")


@dataclass(frozen=True, slots=True, kw_only=True, config=NUMBERS)
class Layer:
    """One module that has parameters or multiplies: shapes without the batch's axis."""

    name: str
    type: str
    params: int
    macs: int
    input_shape: list[int]
    output_shape: list[int]


class Complexity(Frozen):
    """Exact counts for one image.  `uncounted` names the operators that no counter knows."""

    params: int
    macs: int
    macs_ptflops: int | None
    activations: int
    layers: list[Layer]
    uncounted: list[str] = Field(default_factory=list)


class Environment(Frozen):
    """Where and with what something was measured."""

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
    memory_bytes: int
    host: str
    os: str


@dataclass(frozen=True, slots=True, kw_only=True, config=NUMBERS)
class Epoch:
    """A point of the learning curve.  top1 and top5 in percent, seconds of training alone since the point before.

    Epoch 0 has been trained on nothing: given weights are evaluated.
    """

    epoch: int
    lr: float
    train_loss: float | None = None
    test_loss: float
    top1: float
    top5: float
    seconds: float


class Curve(Frozen):
    """All epochs that were evaluated.  The best was chosen on the test set: it is optimistic, and stands here only."""

    epochs: list[Epoch]
    best_top1_optimistic: float
    best_epoch: int
    test_images: int
