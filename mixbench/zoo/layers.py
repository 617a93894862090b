"""Layers and checks that several families share.   B batch, N tokens, C channels, H W grid"""

from fractions import Fraction
from typing import Literal

from torch import Tensor, nn

Activation = Literal["gelu", "relu"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}


def at_least_one(**sizes: int) -> None:
    """Raise ValueError if a size is below 1."""
    for name, size in sizes.items():
        if size < 1:
            raise ValueError(f"{name} is {size}, it must be at least 1")


def divides(part_name: str, part: int, whole_name: str, whole: int) -> int:
    """Return `whole // part`.  Raises ValueError, naming the nearest divisors, if there is a remainder."""
    if whole % part:
        divisors = [n for n in range(1, whole + 1) if whole % n == 0]
        near = sorted(sorted(divisors, key=lambda n: abs(n - part))[:3])
        raise ValueError(
            f"{part_name} {part} does not divide {whole_name} {whole}; the nearest that do: {', '.join(map(str, near))}"
        )
    return whole // part


def check_ratio(ratio: Fraction) -> None:
    """Raise ValueError if `ratio`, a share of the channels, is outside [1/2, 1)."""
    if not Fraction(1, 2) <= ratio < 1:
        raise ValueError(f"ratio is {ratio}, it must be at least 1/2 and below 1, such as 2/3")


def overlap_width(dim: int, ratio: Fraction) -> int:
    """Number of channels in each of two overlapping parts: ratio · dim, rounded down.  Raises ValueError if dim < 2."""
    if dim < 2:
        raise ValueError(f"dim is {dim}, two parts need at least 2 channels")
    return int(dim * ratio)


class Residual(nn.Module):
    """x + branch(x)"""

    def __init__(self, *branch: nn.Module) -> None:
        super().__init__()
        self.branch = nn.Sequential(*branch)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.branch(x)


class DropPath(nn.Module):
    """Stochastic depth: in training, zeroes an image with probability `rate`, and divides the others by 1 − rate."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate < 1:
            raise ValueError(f"drop_path is {rate}, it must be at least 0 and below 1")
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.rate == 0:
            return x
        keep = 1 - self.rate
        kept = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep)
        return x * kept / keep


class PatchTokens(nn.Module):
    """Patch embedding: one token per patch, row by row."""

    def __init__(self, in_chans: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:  # B 3 H W
        return self.proj(x).flatten(2).mT  # B N C


class MLP(nn.Module):
    """Two linear layers over the last axis with a GELU between them."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.contract = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.contract(self.act(self.expand(x)))


def depthwise(dim: int, kernel_size: int | tuple[int, int]) -> nn.Conv2d:
    """Depthwise convolution that keeps the size of the grid."""
    return nn.Conv2d(dim, dim, kernel_size, padding="same", groups=dim)


def then_act_norm(conv: nn.Module, dim: int, act: Activation) -> nn.Sequential:
    """Convolution, activation, BatchNorm: ConvMixer's order."""
    return nn.Sequential(conv, ACTIVATIONS[act](), nn.BatchNorm2d(dim))


def conv_stem(in_chans: int, dim: int, patch_size: int, act: Activation) -> nn.Sequential:
    """ConvMixer's patch embedding."""
    return then_act_norm(nn.Conv2d(in_chans, dim, patch_size, stride=patch_size), dim, act)  # B C H W


def full_spatial(dim: int, kernel_size: int, act: Activation) -> Residual:
    """ConvMixer's spatial mixing: a k×k depthwise convolution, with a residual."""
    return Residual(then_act_norm(depthwise(dim, kernel_size), dim, act))


def split_spatial(dim: int, kernel_size: int, act: Activation) -> Residual:
    """SplitMixer's spatial mixing: a 1×k, then a k×1 depthwise convolution, one residual around the pair."""
    return Residual(
        then_act_norm(depthwise(dim, (1, kernel_size)), dim, act),
        then_act_norm(depthwise(dim, (kernel_size, 1)), dim, act),
    )


def pooled_head(dim: int, num_classes: int) -> nn.Sequential:
    """Global average pooling, then a linear classifier."""
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(dim, num_classes))
