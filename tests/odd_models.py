"""A plugin of models that are unlike the zoo's: in what their forward returns, and in what their parameters are."""

import torch
from torch import Tensor, nn

from mixbench import register_model

RETURNS = ("more", "tuple", "dict", "map", "sum", "int")
UNTRAINABLE = ("expanded", "shared", "overlapping", "complex", "none")


class Linear(nn.Module):
    """A linear classifier."""

    def __init__(self, image_size: int = 8, in_chans: int = 1, num_classes: int = 10):
        super().__init__()
        self.head = nn.Linear(in_chans * image_size**2, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x.flatten(1))
        return logits


@register_model(variants={"returns_" + what: dict(returns=what) for what in RETURNS})
class Returns(Linear):
    """Does not return one logit per image and class."""

    def __init__(self, returns: str, image_size: int = 8, in_chans: int = 1, num_classes: int = 10):
        super().__init__(image_size, in_chans, num_classes)
        self.returns = returns

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        wrong: dict[str, object] = {
            "more": logits.repeat(1, 100),
            "tuple": (logits, logits[:, :3]),
            "dict": {"logits": logits},
            "map": logits[:, :, None, None],
            "sum": logits.sum(),
            "int": logits.long(),
        }
        return wrong[self.returns]  # type: ignore[return-value]


@register_model(variants={"auxiliary": {}})
class Auxiliary(Linear):
    """Returns a second output in training alone."""

    def forward(self, x: Tensor) -> Tensor:
        logits = super().forward(x)
        return (logits, logits) if self.training else logits  # type: ignore[return-value]


@register_model(variants={"detached": {}})
class Detached(Linear):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).detach()


@register_model(variants={"exits": {}})
class Exits(Linear):
    """Ends the process in training."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            raise SystemExit(0)
        return super().forward(x)


@register_model(variants={"lazy": {}})
class Lazy(Linear):
    def __init__(self, image_size: int = 8, in_chans: int = 1, num_classes: int = 10):
        super().__init__(image_size, in_chans, num_classes)
        self.norm, self.head = nn.LazyBatchNorm2d(affine=False), nn.LazyLinear(num_classes)


@register_model(variants={"depends": dict(classes=10), "depends_more": dict(classes=1000)})
class Depends(Linear):
    """Its layers depend on the values of the images."""

    def __init__(self, classes: int, image_size: int = 8, in_chans: int = 1, num_classes: int = 10):
        super().__init__(image_size, in_chans, classes)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(2 * x if x.mean() > 0 else x)


@register_model(variants={"mismatched": {}})
class Mismatched(Linear):
    """Its forward raises."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x[..., :-1])


@register_model(variants={"not_a_number": {}})
class NotANumber(Linear):
    """Evaluates images whose mean is above zero to NaN, and trains well."""

    def forward(self, x: Tensor) -> Tensor:
        bright = x.flatten(1).mean(1, keepdim=True) > 0
        logits = super().forward(x)
        return logits if self.training else logits.masked_fill(bright, float("nan"))


@register_model(variants={"unlike": {}})
class Unlike(Linear):
    """Parameters of all shapes, strides and ways to be shared that can be trained; a layer for training alone.

    ZeRO's stage 3 gathers weights of more than 100,000 numbers in each forward, and keeps smaller ones.
    """

    def __init__(self, image_size: int = 8, in_chans: int = 1, num_classes: int = 10):
        super().__init__(image_size, in_chans, num_classes)
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.transposed = nn.Parameter(0.3 * torch.randn(num_classes, num_classes).t())
        self.strided = nn.Parameter(0.1 * torch.randn(2 * num_classes)[::2])
        self.in_rows = nn.Parameter(0.1 * torch.randn(num_classes, 2, 3, 3).to(memory_format=torch.channels_last))
        both = 0.3 * torch.randn(2 * num_classes)
        self.even, self.odd = nn.Parameter(both[::2]), nn.Parameter(both[1::2])  # one memory, no element of both
        self.frozen = nn.Parameter(torch.tensor(2.0), requires_grad=False)
        self.idle = nn.Parameter(torch.ones(3))
        self.tied, self.same = self.head.weight, self.head
        self.only_trained = nn.Sequential(nn.Linear(num_classes, 11_000), nn.Linear(11_000, num_classes))
        self.wide, self.narrow = nn.Linear(num_classes, 11_000), nn.Linear(11_000, num_classes)
        self.register_buffer("columns", torch.randn(4, num_classes).t())
        self.register_buffer("mask", torch.ones(1, dtype=torch.bool).expand(num_classes))

    def forward(self, x: Tensor) -> Tensor:
        y = super().forward(x)
        y = y + 0.1 * self.narrow(self.wide(y).relu())
        y = y + self.alpha * (y.tanh() @ self.transposed) + self.in_rows.sum((1, 2, 3)) * self.strided
        y = y * self.even + self.odd + nn.functional.linear(x.flatten(1), self.tied) + self.frozen
        if self.training:
            y = y + 0.1 * self.only_trained(self.same(x.flatten(1)))
        return torch.where(self.get_buffer("mask"), y, 0) + self.get_buffer("columns").sum(1)


@register_model(variants={"bad_" + what: dict(what=what) for what in UNTRAINABLE})
class Untrainable(nn.Module):
    """A parameter that neither DeepSpeed nor a fused optimizer trains as plain PyTorch does."""

    def __init__(self, what: str, image_size: int = 8, in_chans: int = 1, num_classes: int = 10):
        super().__init__()
        self.head, numbers = nn.Linear(in_chans * image_size**2, num_classes), torch.ones(2 * num_classes)
        match what:
            case "expanded":
                self.scale = nn.Parameter(torch.ones(1).expand(num_classes))
            case "shared":
                self.scale = nn.Parameter(self.head.bias.data)
            case "overlapping":
                self.scale, self.shift = nn.Parameter(numbers[:num_classes]), nn.Parameter(numbers[1 : num_classes + 1])
            case "complex":
                self.scale = nn.Parameter(torch.ones(num_classes, dtype=torch.complex64))
            case "none":
                self.head.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(x.flatten(1))
        return logits


@register_model(variants={"double": dict(what="double"), "empty": dict(what="empty")})
class OnlyWithoutZero(Untrainable):
    def __init__(self, what: str, image_size: int = 8, in_chans: int = 1, num_classes: int = 10):
        super().__init__("", image_size, in_chans, num_classes)
        shape, dtype = ((0, 3), torch.float32) if what == "empty" else ((), torch.float64)
        self.scale = nn.Parameter(torch.ones(shape, dtype=dtype))
