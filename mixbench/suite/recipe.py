"""A recipe, as a person writes it: how a model is trained."""

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
    """torch's AdamW or SGD, timm's LAMB or Lion; `eps` is AdamW's and LAMB's, `momentum` and `nesterov` are SGD's.

    `betas` are all others'.  `decay_vectors: false` exempts biases, norms and scales (all parameters of one dimension)
    from weight decay.
    """

    name: Literal["adamw", "sgd", "lamb", "lion"] = "adamw"  # torch's AdamW or SGD, timm's LAMB or Lion
    lr: Positive = 0.001  # the largest learning rate: the schedule's is a share of it
    weight_decay: NonNegative = 0.0  # decoupled (AdamW, LAMB, Lion), or L2 (SGD)
    betas: Annotated[tuple[Below1, Below1], Field(strict=False)] = (0.9, 0.999)  # all but SGD's
    eps: Positive = 1e-8  # AdamW's and LAMB's
    momentum: Fraction01 = 0.0  # SGD's share of the step before
    nesterov: bool = False  # SGD's; needs a momentum
    decay_vectors: bool = True  # false: no decay of biases, norms and scales


class Schedule(Strict):
    """The learning rate over the run, as a share of the optimizer's.

    piecewise_linear: through `points` (share of the run, share of lr); the default points are SplitMixer's.
    cosine: linear warm-up over `warmup_epochs`, then half a cosine down to `final`.
    one_cycle: half a cosine up over the first `rise` of the run, from 1/`start_divisor`, then half a cosine down to
    1/(`start_divisor` × `end_divisor`): torch's OneCycleLR.
    """

    # how the learning rate changes over the run
    name: Literal["piecewise_linear", "cosine", "one_cycle", "constant"] = "piecewise_linear"
    # piecewise_linear: pairs of (share of the run, share of lr)
    points: Annotated[tuple[Point, ...], Field(strict=False, min_length=2)] = (
        (0.0, 0.0),
        (0.4, 1.0),
        (0.8, 0.05),
        (1.0, 0.0),
    )
    warmup_epochs: NonNegative = 0.0  # cosine: a linear rise over so many
    final: Fraction01 = 0.0  # cosine: the share of lr at the end
    rise: Annotated[Number, Field(gt=0, lt=1)] = 0.3  # one_cycle: the share of the run that rises
    start_divisor: Annotated[Number, Field(ge=1)] = 25.0  # one_cycle: lr over this at the start
    end_divisor: Annotated[Number, Field(ge=1)] = 1e4  # one_cycle: the start over this at the end

    @field_validator("points")
    @classmethod
    def _rise_from_0_to_1(cls, points: tuple[Point, ...]) -> tuple[Point, ...]:
        shares = [share for share, _ in points]
        if shares != sorted(set(shares)) or shares[0] != 0 or shares[-1] != 1:
            raise ValueError(f"the shares of the run must rise from 0 to 1, not {shares}")
        return points


class ResizeCrop(Strict):
    """torchvision's RandomResizedCrop: a box of this share of the area and this aspect ratio, resized to the image."""

    scale: Share = (0.08, 1.0)  # share of the image's area, lowest and highest
    ratio: Range = (3 / 4, 4 / 3)  # width over height, lowest and highest


class RandAugment(Strict):
    """arXiv:1909.13719, as torchvision's RandAugment has it: operations an image, and their magnitude, 0 to 30."""

    num_ops: Annotated[int, Field(ge=1, le=100)] = 2  # operations an image
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9  # of torchvision's 31


def _torchvisions_randaugment(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("rand-"):
        raise ValueError(
            f"timm's {value!r} cannot be honoured exactly: it resamples PIL images, bilinear or bicubic at random, "
            "which no tensor kernel does; torchvision's is given as {num_ops: 2, magnitude: 9}"
        )
    return value


class ColorJitter(Strict):
    """torchvision's ColorJitter: factors within 1 ± brightness, contrast, saturation, and hue shifts within ± hue."""

    brightness: UpTo100 = 0.0  # factor within 1 ± this
    contrast: UpTo100 = 0.0  # factor within 1 ± this
    saturation: UpTo100 = 0.0  # factor within 1 ± this
    hue: Annotated[Number, Field(ge=0, le=0.5)] = 0.0  # shift within ± this, of the whole circle


class Erasing(Strict):
    """torchvision's RandomErasing after normalisation: a box of zeros, or of normal noise, in some images."""

    probability: Fraction01 = 0.25  # share of the images
    scale: Share = (0.02, 1 / 3)  # share of the image's area, lowest and highest
    ratio: Range = (0.3, 3.3)  # width over height, lowest and highest
    fill: Literal["zero", "noise"] = "zero"  # zeros, or normal noise


class Augment(Strict):
    """What happens to a training image on the device, in this order.

    resize_crop, crop_padding, flip, randaugment, color_jitter, normalisation, erasing, then mixup (arXiv:1710.09412)
    or cutmix (arXiv:1905.04899), of which the numbers are the α of their Beta distribution, 0 for none; where both are
    given, half of the images get either.
    """

    flip: bool = False  # left and right, half of the images
    crop_padding: Annotated[int, Field(ge=0, le=1000)] = 0  # zero padding of so many pixels, then a random crop
    resize_crop: ResizeCrop | None = None  # a random box, resized to the image
    # random operations of torchvision's RandAugment
    randaugment: Annotated[RandAugment, BeforeValidator(_torchvisions_randaugment)] | None = None
    color_jitter: ColorJitter | None = None  # brightness, contrast, saturation, hue
    erasing: Erasing | None = None  # a random box is blanked
    mixup: UpTo100 = 0.0  # α of the Beta distribution; 0 for none
    cutmix: UpTo100 = 0.0  # α of the Beta distribution; 0 for none


class Recipe(Strict):
    """How a model is trained.  A default is never changed: ids leave out what is at its default.

    `drop_path` overrides the model's own.  `ema` is the decay of an average of the weights, which is then what is
    evaluated; 0 for none.  `drop_last: false` trains on an epoch's last, smaller batch too.  `split: val` evaluates on
    a tenth of the training set, kept out of training, instead of the test set.  `test_crop` is the share of a test
    image's shorter side that the crop keeps, of datasets that are streamed.
    """

    name: Title = "default"  # what tables call it
    epochs: Count = 100  # passes over the training set
    global_batch_size: Count = 512  # images a step, of all processes together
    batch_size_per_process: Count | None = None  # in its place: images a step of each; the learning rate stays
    optimizer: Optimizer = Optimizer()  # what steps are taken
    schedule: Schedule = Schedule()  # the learning rate over the run
    augment: Augment = Augment()  # what happens to a training image
    label_smoothing: Below1 = 0.0  # share of the label given to all classes
    clip_grad_norm: NonNegative = 0.0  # the largest norm of a gradient; 0 for any
    drop_path: Below1 | None = None  # the largest rate of stochastic depth; by default the model's own
    ema: Below1 = 0.0  # decay of an average of the weights, which is evaluated; 0 for none
    drop_last: bool = True  # leave out an epoch's last, smaller batch
    evaluate_every: Count = 1  # epochs between two points of the curve; the last epoch is evaluated always
    split: Literal["test", "val"] = "test"  # val: evaluate on a tenth of the training set, kept out of it
    # share of a streamed test image's shorter side that is kept
    test_crop: Annotated[Number, Field(gt=0, le=1)] | None = None
    gradient_accumulation: Count = 1  # parts that a batch is cut into
    # DeepSpeed ZeRO's: what processes share of the optimizer, gradients, weights
    zero_stage: Annotated[int, Field(ge=0, le=3)] = 0

    @model_validator(mode="after")
    def _say_the_batch_once(self) -> Self:
        if self.batch_size_per_process is not None and "global_batch_size" in self.model_fields_set:
            raise ValueError("global_batch_size and batch_size_per_process say the same thing: give one of them")
        return self

    def on(self, processes: int) -> "Recipe":
        """The recipe with the batch that so many processes train together; everything else stays what it is."""
        if self.batch_size_per_process is None:
            return self
        batch = self.batch_size_per_process * processes
        return self.model_copy(update={"global_batch_size": batch, "batch_size_per_process": None})
