"""StrideMixer: SplitMixer whose channel mixer is a 3-D convolution striding over the channels. arXiv:2207.10255.

The convolution has windows of K channels at stride S, all with the same weights, and C/windows outputs for each.
Variants, by the argument `windows`:
III  K = S = C/num_segments: equals SplitMixer-III up to the order of the channels
I    K = ratio·C (rounded down), S = C-K: two overlapping windows

B batch, C channels, H W grid
"""

from fractions import Fraction
from typing import Literal

from torch import Tensor, nn

from mixbench.zoo.layers import (
    ACTIVATIONS,
    Activation,
    at_least_one,
    check_ratio,
    conv_stem,
    divides,
    overlap_width,
    pooled_head,
    split_spatial,
)
from mixbench.zoo.registry import register_model

CIFAR = dict(dim=256, depth=8, kernel_size=5, patch_size=2, image_size=32, num_classes=10)


@register_model(
    family="StrideMixer",
    paper="arXiv:2207.10255",
    variants={
        "stridemixer_i_256_8": dict(windows="I", **CIFAR),
        "stridemixer_iii_256_8": dict(windows="III", **CIFAR),
    },
)
class StrideMixer(nn.Module):
    """Uses torch's default initialisation.  `ratio` is used by I, `num_segments` by III."""

    def __init__(
        self,
        dim: int,
        depth: int,
        kernel_size: int,
        patch_size: int,
        windows: Literal["I", "III"],
        ratio: Fraction = Fraction(2, 3),
        num_segments: int = 2,
        act: Activation = "gelu",
        image_size: int = 32,
        in_chans: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        at_least_one(dim=dim, depth=depth, kernel_size=kernel_size, patch_size=patch_size, num_segments=num_segments)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        divides("patch_size", patch_size, "image_size", image_size)
        check_ratio(ratio)
        if windows == "III":
            width = stride = divides("num_segments", num_segments, "dim", dim)
        elif dim % 2:
            raise ValueError(f"dim is {dim}, windows I needs an even one: each of the two gives half the channels")
        else:
            width = overlap_width(dim, ratio)
            stride = dim - width
        self.stem = conv_stem(in_chans, dim, patch_size, act)
        self.blocks = nn.Sequential(*[StrideMixerBlock(dim, kernel_size, width, stride, act) for _ in range(depth)])
        self.head = pooled_head(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x)  # B C H W
        x = self.blocks(x)  # B C H W
        return self.head(x)  # B classes


class StrideMixerBlock(nn.Module):
    def __init__(self, dim: int, kernel_size: int, width: int, stride: int, act: Activation) -> None:
        super().__init__()
        windows = (dim - width) // stride + 1
        self.spatial = split_spatial(dim, kernel_size, act)
        self.mixer = nn.Conv3d(1, dim // windows, (width, 1, 1), stride=(stride, 1, 1))
        self.act = ACTIVATIONS[act]()
        self.norm = nn.BatchNorm2d(dim)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        x = self.spatial(x).unsqueeze(1)  # B 1 C H W
        x = self.act(self.mixer(x))  # B C/windows windows H W
        return self.norm(x.flatten(1, 2))  # B C H W, the windows interleaved
