"""CycleMLP: a linear layer reads each channel at the same, the next or the last position. arXiv:2107.10224.

B batch, H W grid, C channels
"""

import torch
from torch import Tensor, nn

from mixbench.zoo.initialization import truncated_linear
from mixbench.zoo.layers import (
    MLP,
    PERMUTATOR_NAMES,
    ConvNHWC,
    MetaFormerBlock,
    Reweight,
    at_least_one,
    drop_paths,
    map_sides,
    pyramid,
    same_length,
    shift,
)
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)
DIMS = (64, 128, 320, 512)


@register_model(
    family="CycleMLP",
    paper="arXiv:2107.10224",
    variants={
        "cyclemlp_b1": dict(dims=DIMS, depths=(2, 2, 4, 2), mlp_ratios=(4, 4, 4, 4), **IMAGENET),
        "cyclemlp_b2": dict(dims=DIMS, depths=(2, 3, 10, 3), mlp_ratios=(4, 4, 4, 4), **IMAGENET),
        "cyclemlp_b3": dict(dims=DIMS, depths=(3, 4, 18, 3), mlp_ratios=(8, 8, 4, 4), **IMAGENET),
        "cyclemlp_b4": dict(dims=DIMS, depths=(3, 8, 27, 3), mlp_ratios=(8, 8, 4, 4), **IMAGENET),
        "cyclemlp_b5": dict(dims=(96, 192, 384, 768), depths=(3, 4, 24, 3), mlp_ratios=(4, 4, 4, 4), **IMAGENET),
    },
)
class CycleMLP(nn.Module):
    """`patch_size` is the stride of the stem, whose kernel is 7 × 7; `strides` are those between the stages."""

    published_names = (
        (r"\.attn\.sfc_[hw]\.offset$", ""),
        (r"\.attn\.sfc_h", ".mix.along_width"),
        (r"\.attn\.sfc_w", ".mix.along_height"),
        (r"\.attn\.mlp_c", ".mix.channels"),
        *PERMUTATOR_NAMES,
    )

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        mlp_ratios: tuple[int, ...],
        strides: tuple[int, ...] = (2, 2, 2),
        patch_size: int = 4,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        same_length(dims=dims, depths=depths, mlp_ratios=mlp_ratios, strides=(1, *strides))
        at_least_one(patch_size=patch_size, image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        map_sides(image_size, patch_size, strides)
        self.stem = ConvNHWC(in_chans, dims[0], 7, stride=patch_size, padding=2)
        self.stages = pyramid(
            dims,
            strides,
            drop_paths(drop_path, depths),
            lambda width, dim, stride: ConvNHWC(width, dim, 3, stride=stride, padding=1),
            lambda stage, _, rate: cycle_block(dims[stage], mlp_ratios[stage], rate),
        )
        self.norm = nn.LayerNorm(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)
        self.apply(truncated_linear)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x.permute(0, 2, 3, 1))  # B H W C
        x = self.stages(x)  # B H W C
        return self.head(self.norm(x).mean((1, 2)))  # B classes


def cycle_block(dim: int, mlp_ratio: int, drop_path: float) -> nn.Module:
    return MetaFormerBlock(dim, CycleMixer(dim), MLP(dim, mlp_ratio * dim), drop_path)


class CycleMixer(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.along_width = nn.Linear(dim, dim)
        self.along_height = nn.Linear(dim, dim)
        self.channels = nn.Linear(dim, dim, bias=False)
        self.reweight = Reweight(dim, axes=(1, 2))
        self.merge = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        w, h = self.along_width(cycled(x, 2)), self.along_height(cycled(x, 1))
        return self.merge(self.reweight(w, h, self.channels(x)))


def cycled(x: Tensor, axis: int) -> Tensor:
    """Channel j at position p + o, where o is 0, 1, −1, 0, 1, … for j = 0, 1, 2, 3, 4, …; zeros outside of the map."""
    offset = (torch.arange(x.shape[-1], device=x.device) + 1) % 3 - 1
    neighbours = torch.where(offset == 1, shift(x, -1, axis), shift(x, 1, axis))
    return torch.where(offset == 0, x, neighbours)
