"""The `recipe` of a suite: how a model is trained."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from mixbench.suite.fields import (
    Below1,
    Count,
    Fraction01,
    NonNegative,
    Number,
    Positive,
    Range,
    Share,
    Strict,
    Title,
    UpTo100,
)

Point = Annotated[tuple[Fraction01, NonNegative], Field(strict=False)]


class Optimizer(Strict):
    """torch's AdamW or SGD, timm's LAMB or Lion.

    `momentum` and `nesterov` are for SGD, `betas` for all others, `eps` for AdamW and LAMB.  `decay_vectors: false`
    exempts biases, norms and scales (all parameters of one dimension) from weight decay.
    """

    name: Literal["adamw", "sgd", "lamb", "lion"] = "adamw"  # torch's AdamW or SGD, timm's LAMB or Lion
    lr: Positive = 0.001  # the learning rate that the schedule scales, by default its peak
    weight_decay: NonNegative = 0.0  # decoupled (AdamW, LAMB, Lion), or L2 (SGD)
    betas: Annotated[tuple[Below1, Below1], Field(strict=False)] = (0.9, 0.999)  # of AdamW, LAMB and Lion
    eps: Positive = 1e-8  # of AdamW and LAMB
    momentum: Fraction01 = 0.0  # of SGD; 0 for none
    nesterov: bool = False  # of SGD: Nesterov momentum; needs a momentum
    decay_vectors: bool = True  # false: no weight decay of biases, norms and scales


class Schedule(Strict):
    """The learning rate over the training, as a share of the optimizer's `lr`.

    piecewise_linear: through `points` (share of the training, share of lr).  The default points are those of
    SplitMixer's notebook if `epochs` is a multiple of 5: the notebook rounds its points down to whole epochs.
    cosine: linear warm-up over `warmup_epochs`, then half a cosine down to `final`.
    one_cycle: half a cosine up over the first `rise` of the training, from 1/`start_divisor`, then half a cosine down
    to 1/(`start_divisor` × `end_divisor`): torch's OneCycleLR.
    """

    # how the learning rate changes over the training
    name: Literal["piecewise_linear", "cosine", "one_cycle", "constant"] = "piecewise_linear"
    # piecewise_linear: pairs of (share of the training, share of lr)
    points: Annotated[tuple[Point, ...], Field(strict=False, min_length=2)] = (
        (0.0, 0.0),
        (0.4, 1.0),
        (0.8, 0.05),
        (1.0, 0.0),
    )
    warmup_epochs: NonNegative = 0.0  # cosine: epochs of linear warm-up
    final: Fraction01 = 0.0  # cosine: the share of lr at the end
    rise: Annotated[Number, Field(gt=0, lt=1)] = 0.3  # one_cycle: share of the training in which it rises
    start_divisor: Annotated[Number, Field(ge=1)] = 25.0  # one_cycle: starts at lr / start_divisor
    end_divisor: Annotated[Number, Field(ge=1)] = 1e4  # one_cycle: ends at lr / (start_divisor × end_divisor)

    @field_validator("points")
    @classmethod
    def _rise_from_0_to_1(cls, points: tuple[Point, ...]) -> tuple[Point, ...]:
        shares = [share for share, _ in points]
        if shares != sorted(set(shares)) or shares[0] != 0 or shares[-1] != 1:
            raise ValueError(f"the shares of the run must rise from 0 to 1, not {shares}")
        return points


ONLY_FOR: dict[str, dict[str, tuple[str, ...]]] = {
    "optimizer": {
        "momentum": ("sgd",),
        "nesterov": ("sgd",),
        "betas": ("adamw", "lamb", "lion"),
        "eps": ("adamw", "lamb"),
    },
    "schedule": {
        "points": ("piecewise_linear",),
        "warmup_epochs": ("cosine",),
        "final": ("cosine",),
        "rise": ("one_cycle",),
        "start_divisor": ("one_cycle",),
        "end_divisor": ("one_cycle",),
    },
}
"""The options that only some optimizers and schedules have, and which."""


class ResizeCrop(Strict):
    """torchvision's RandomResizedCrop: a random box of this share of the area and this aspect ratio, resized."""

    scale: Share = (0.08, 1.0)  # share of the image's area, lowest and highest
    ratio: Range = (3 / 4, 4 / 3)  # width over height, lowest and highest


class RandAugment(Strict):
    """RandAugment (arXiv:1909.13719) as in torchvision: operations per image, and their magnitude, 0 to 30."""

    num_ops: Annotated[int, Field(ge=1, le=100)] = 2  # operations per image
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9  # strength of the operations, in torchvision's 31 bins


def _refuse_timm_policy(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("rand-"):
        raise ValueError(
            f"timm's {value!r} cannot be reproduced exactly: it resamples PIL images, bilinear or bicubic at random, "
            "which no tensor kernel does; for torchvision's RandAugment write {num_ops: 2, magnitude: 9}"
        )
    return value


class ColorJitter(Strict):
    """torchvision's ColorJitter: factors within 1 ± brightness, contrast, saturation, and hue shifts within ± hue."""

    brightness: UpTo100 = 0.0  # factor within 1 ± this
    contrast: UpTo100 = 0.0  # factor within 1 ± this
    saturation: UpTo100 = 0.0  # factor within 1 ± this
    hue: Annotated[Number, Field(ge=0, le=0.5)] = 0.0  # shift within ± this, of the whole circle


class Erasing(Strict):
    """torchvision's RandomErasing, after normalisation: a random box of zeros, or of normal noise, in some images."""

    probability: Fraction01 = 0.25  # share of the images that are erased
    scale: Share = (0.02, 1 / 3)  # share of the image's area, lowest and highest
    ratio: Range = (0.3, 3.3)  # height over width, as torchvision's, lowest and highest
    fill: Literal["zero", "noise"] = "zero"  # zeros, or standard normal noise


class Augment(Strict):
    """Augmentation of training images on the device, in this order.

    resize_crop, crop_padding, flip, randaugment, color_jitter, normalisation, erasing, then mixup (arXiv:1710.09412)
    or cutmix (arXiv:1905.04899), each given by the α of its Beta distribution, 0 for none; with both, half of the
    images get mixup and the others cutmix, at random.
    """

    flip: bool = False  # flip half of the images horizontally
    crop_padding: Annotated[int, Field(ge=0, le=1000)] = 0  # pad by so many pixels of zeros, then crop at random
    resize_crop: ResizeCrop | None = None  # crop a random box, resized to the image's size
    # random operations of torchvision's RandAugment
    randaugment: Annotated[RandAugment, BeforeValidator(_refuse_timm_policy)] | None = None
    color_jitter: ColorJitter | None = None  # change brightness, contrast, saturation, hue at random
    erasing: Erasing | None = None  # erase a random box
    mixup: UpTo100 = 0.0  # α of the Beta distribution; 0 for none
    cutmix: UpTo100 = 0.0  # α of the Beta distribution; 0 for none


class Recipe(Strict):
    """The training of a model.  Defaults must never change: trial ids leave out keys that have their default value.

    `drop_path` overrides the model's own.  `ema` is the decay of a moving average of the weights, which is evaluated
    instead of them; 0 for none.  `drop_last: false` trains on an epoch's last, smaller batch too.  `split: val`
    evaluates on a tenth of the training set, held out of training, instead of the test set.  `test_crop` is the share
    of a test image's shorter side that the centre crop keeps, for datasets that are streamed.
    """

    name: Title = "default"  # its name in tables
    epochs: Count = 100  # passes over the training set
    global_batch_size: Count = 512  # images per step, of all processes together
    batch_size_per_process: Count | None = None  # instead: images per step of each process; lr is not scaled
    optimizer: Optimizer = Optimizer()  # the optimizer and its options
    schedule: Schedule = Schedule()  # the learning rate over the training
    augment: Augment = Augment()  # augmentation of training images
    label_smoothing: Below1 = 0.0  # share of the label that is spread over all classes
    clip_grad_norm: NonNegative = 0.0  # clip the gradient to this norm; 0: no clipping
    drop_path: Below1 | None = None  # the largest rate of stochastic depth; by default the model's own
    ema: Below1 = 0.0  # decay of a moving average of the weights, which is evaluated; 0 for none
    drop_last: bool = True  # leave out an epoch's last, smaller batch
    evaluate_every: Count = 1  # epochs between evaluations; the last epoch is always evaluated
    split: Literal["test", "val"] = "test"  # val: evaluate on a tenth of the training set, held out of training
    # share of a test image's shorter side that the centre crop keeps; streamed datasets only
    test_crop: Annotated[Number, Field(gt=0, le=1)] | None = None
    gradient_accumulation: Count = 1  # micro-batches that a batch is split into
    # DeepSpeed ZeRO: processes share the optimizer's state (1), gradients too (2), weights too (3)
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 0

    @model_validator(mode="after")
    def _one_batch_size(self) -> Self:
        if self.batch_size_per_process is not None and "global_batch_size" in self.model_fields_set:
            raise ValueError("global_batch_size and batch_size_per_process say the same thing: give one of them")
        return self

    def on(self, processes: int) -> "Recipe":
        """Return the recipe with `global_batch_size` set for this number of processes, if it is given per process."""
        if self.batch_size_per_process is None:
            return self
        batch = self.batch_size_per_process * processes
        return self.model_copy(update={"global_batch_size": batch, "batch_size_per_process": None})
