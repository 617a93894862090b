"""Layers and checks that several families share.   B batch, N tokens, C channels, H W grid"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import accumulate
from typing import Literal

import torch
from torch import Tensor, nn

Activation = Literal["gelu", "relu"]
ACTIVATIONS: dict[Activation, type[nn.Module]] = {"gelu": nn.GELU, "relu": nn.ReLU}

Norm = Literal["batch", "group", "none"]


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


def same_length(**lists: tuple[int, ...]) -> None:
    """Raise ValueError if lists with a number for each stage differ in length, are empty or have a number below 1."""
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1 or not all(lengths.values()):
        stages = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"each list is to have a number for each stage; they have: {stages}")
    at_least_one(**{name: min(values) for name, values in lists.items()})


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
        kept = x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(1 - self.rate)
        return x * kept / (1 - self.rate)


class PatchTokens(nn.Module):
    """Patch embedding: one token per patch, row by row."""

    def __init__(self, in_chans: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, dim, patch_size, stride=patch_size)

    def forward(self, x: Tensor) -> Tensor:  # B 3 H W
        return self.proj(x).flatten(2).mT  # B N C


class ConvNHWC(nn.Module):
    """A convolution of maps whose channels are the last axis."""

    def __init__(
        self, in_dim: int, dim: int, kernel_size: int, stride: int = 1, padding: int = 0, groups: int = 1,
        bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.proj = nn.Conv2d(in_dim, dim, kernel_size, stride, padding, groups=groups, bias=bias)

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        return self.proj(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class PointwiseMLP(nn.Module):
    """Two 1×1 convolutions with a GELU between them: an MLP over the channels of maps."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.expand = nn.Conv2d(dim, hidden_dim, 1)
        self.act = nn.GELU()
        self.contract = nn.Conv2d(hidden_dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        return self.contract(self.act(self.expand(x)))


class MLP(nn.Module):
    """Two linear layers over the last axis with a GELU between them."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.expand = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.contract = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.contract(self.act(self.expand(x)))


PERMUTATOR_NAMES = (
    (r"^patch_embed", "stem"),
    (r"^network", "stages"),
    (r"\.attn\.reweight\.fc1", ".mix.reweight.reduce"),
    (r"\.attn\.reweight\.fc2", ".mix.reweight.expand"),
    (r"\.attn\.proj", ".mix.merge"),
    (r"\.mlp\.fc1", ".channel_mlp.expand"),
    (r"\.mlp\.fc2", ".channel_mlp.contract"),
)
"""Published names of tensors (tensor_names.py) in Vision Permutator's code and those made from it."""


class GroupNorm1(nn.GroupNorm):
    """Normalisation over C, H and W of each image."""

    def __init__(self, dim: int) -> None:
        super().__init__(1, dim)


NORMS: dict[Norm, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d, "group": GroupNorm1, "none": lambda _: nn.Identity(),
}  # fmt: skip


def conv_norm(
    in_dim: int, dim: int, kernel_size: int, stride: int, padding: int, norm: Norm = "batch", bias: bool = True
) -> tuple[nn.Module, nn.Module]:
    """A convolution and its normalisation."""
    return nn.Conv2d(in_dim, dim, kernel_size, stride, padding, bias=bias), NORMS[norm](dim)


class MetaFormerBlock(nn.Module):
    """x + mix(norm(x)), then x + channel_mlp(norm(x)): the block of many families. MetaFormer, arXiv:2111.11418.

    `norm` makes each of the two normalisations of `dim` channels.
    """

    def __init__(
        self, dim: int, mix: nn.Module, channel_mlp: nn.Module, drop_path: float,
        norm: Callable[[int], nn.Module] = nn.LayerNorm,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm1 = norm(dim)
        self.mix = mix
        self.norm2 = norm(dim)
        self.channel_mlp = channel_mlp
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.mix(self.norm1(x)))  # mixes positions
        return x + self.drop_path(self.channel_mlp(self.norm2(x)))  # mixes C


class RowColumnMLP(nn.Module):
    """A linear map along rows, one along columns, both the same for all channels, and the map itself, put together."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.along_width = nn.Linear(side, side)
        self.along_height = nn.Linear(side, side)
        self.merge = nn.Conv2d(3 * dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        return self.merge(torch.cat([x, self.along_width(x), self.along_height(x.mT).mT], 1))


class Reweight(nn.Module):
    """Sum of three branches, weighted for each channel by a softmax over the branches; from Vision Permutator.

    `axes`: those of the map, over which the branches' sum is averaged: (1, 2) for B H W C, (2, 3) for B C H W.
    """

    def __init__(self, dim: int, axes: tuple[int, int], reduction: int = 4) -> None:
        super().__init__()
        self.axes = axes
        self.reduce = nn.Linear(dim, dim // reduction)
        self.act = nn.GELU()
        self.expand = nn.Linear(dim // reduction, 3 * dim)

    def forward(self, a: Tensor, b: Tensor, c: Tensor) -> Tensor:
        pooled = (a + b + c).mean(self.axes)  # B C
        weights = self.expand(self.act(self.reduce(pooled))).unflatten(1, (-1, 3)).softmax(2)  # B C 3
        of_a, of_b, of_c = weights.unsqueeze(self.axes[0]).unsqueeze(self.axes[1]).unbind(-1)
        return a * of_a + b * of_b + c * of_c


def shift(x: Tensor, by: int, axis: int) -> Tensor:
    """Move a tensor by `by` positions along an axis: position p gets the value of p − by, or 0 outside."""
    size, shape = x.shape[axis], list(x.shape)
    shape[axis] = moved = min(abs(by), size)
    kept, zeros = x.narrow(axis, max(0, -by) if moved < size else 0, size - moved), x.new_zeros(shape)
    return torch.cat([zeros, kept] if by > 0 else [kept, zeros], axis)


def drop_paths(rate: float, depths: Sequence[int]) -> list[list[float]]:
    """Rates of stochastic depth of each stage's blocks, growing linearly from 0 to `rate` over all blocks."""
    rates = [rate * block / max(1, sum(depths) - 1) for block in range(sum(depths))]
    return [[rates.pop(0) for _ in range(depth)] for depth in depths]


def map_sides(image_size: int, patch_size: int, strides: Sequence[int]) -> list[int]:
    """Sides of each stage's map after a stem of 7 × 7 pixels, padded by 2.  Raises ValueError for a smaller image."""
    if image_size < 3:
        raise ValueError(f"image_size is {image_size}, the stem needs at least 3 pixels")
    return list(accumulate(strides, lambda side, by: (side - 1) // by + 1, initial=(image_size - 3) // patch_size + 1))


def map_side(side: int, stride: int) -> int:
    """Side of a map after a convolution of this kernel and stride.  Raises ValueError if the map is smaller."""
    if stride > side:
        raise ValueError(f"image_size is too small: a map of {side} × {side} is left for a stride of {stride}")
    return side // stride


def pyramid(
    dims: Sequence[int],
    strides: Sequence[int],
    rates: Sequence[Sequence[float]],
    downsample: Callable[[int, int, int], nn.Module],
    block: Callable[[int, int, float], nn.Module],
) -> nn.Sequential:
    """Stages of blocks, with a downsampling before each that has a smaller map or another width than the one before.

    `strides`: those between the stages.  `downsample` is called with width, new width and stride; `block` with stage,
    index in the stage and rate of stochastic depth.
    """
    layers, width = list[nn.Module](), dims[0]
    for stage, (dim, stride, of_stage) in enumerate(zip(dims, (1, *strides), rates, strict=True)):
        if stride != 1 or dim != width:
            layers.append(downsample(width, dim, stride))
        layers.append(nn.Sequential(*[block(stage, index, rate) for index, rate in enumerate(of_stage)]))
        width = dim
    return nn.Sequential(*layers)


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
