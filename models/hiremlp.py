"""Hire-MLP: MLPs over the channels of regions, a few rows or columns, that move from block to block. arXiv:2108.13341.

B batch, C channels, H W grid, R rows (columns) of a region
"""

import torch
from torch import Tensor, nn

from mixbench.zoo.initialization import truncated
from mixbench.zoo.layers import (
    PERMUTATOR_NAMES,
    MetaFormerBlock,
    PointwiseMLP,
    Reweight,
    at_least_one,
    conv_norm,
    drop_paths,
    map_sides,
    pyramid,
    same_length,
)
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)
DIMS = (64, 128, 320, 512)


@register_model(
    family="Hire-MLP",
    paper="arXiv:2108.13341",
    variants={
        "hiremlp_tiny": dict(dims=DIMS, depths=(2, 2, 4, 2), **IMAGENET),
        "hiremlp_small": dict(dims=DIMS, depths=(3, 4, 10, 3), **IMAGENET),
        "hiremlp_base": dict(dims=DIMS, depths=(4, 6, 24, 3), **IMAGENET),
        "hiremlp_large": dict(dims=(96, 192, 384, 768), depths=(4, 6, 24, 3), **IMAGENET),
    },
)
class HireMLP(nn.Module):
    """`regions`: rows or columns of a region.  Block i of a stage moves the map by (i mod `cycles`) · `dilations`.

    `patch_size` is the stride of the stem, whose kernel is 7 × 7; `strides` are those between the stages.
    """

    published_names = (
        (r"^patch_embed\.proj", "stem.0"),
        (r"^patch_embed\.norm", "stem.1"),
        (r"^network\.(\d+)\.proj", r"stages.\1.0"),
        (r"^network\.(\d+)\.norm", r"stages.\1.1"),
        (r"\.attn\.mlp_([hw])1_norm", r".mix.\1.norm"),
        (r"\.attn\.mlp_([hw])1", r".mix.\1.contract"),
        (r"\.attn\.mlp_([hw])2", r".mix.\1.expand"),
        (r"\.attn\.mlp_c", ".mix.channels"),
        *PERMUTATOR_NAMES,
    )

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        regions: tuple[int, ...] = (4, 3, 3, 2),
        cycles: tuple[int, ...] = (2, 2, 3, 2),
        dilations: tuple[int, ...] = (2, 2, 1, 1),
        strides: tuple[int, ...] = (2, 2, 2),
        mlp_ratio: int = 4,
        patch_size: int = 4,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        same_length(
            dims=dims, depths=depths, regions=regions, cycles=cycles, dilations=dilations, strides=(1, *strides)
        )
        at_least_one(mlp_ratio=mlp_ratio, patch_size=patch_size)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        check_regions(regions, map_sides(image_size, patch_size, strides))
        self.stem = nn.Sequential(*conv_norm(in_chans, dims[0], 7, stride=patch_size, padding=2), nn.ReLU())
        self.stages = pyramid(
            dims,
            strides,
            drop_paths(drop_path, depths),
            lambda width, dim, stride: nn.Sequential(*conv_norm(width, dim, 3, stride=stride, padding=1), nn.ReLU()),
            lambda stage, index, rate: hire_block(
                dims[stage], regions[stage], index % cycles[stage] * dilations[stage], mlp_ratio, rate
            ),
        )
        self.norm = nn.BatchNorm2d(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)
        self.apply(truncated)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x)  # B C H W
        x = self.stages(x)  # B C H W
        return self.head(self.norm(x).mean((2, 3)))  # B classes


def hire_block(dim: int, region: int, step: int, mlp_ratio: int, drop_path: float) -> nn.Module:
    mix, mlp = HireMixer(dim, region, step), PointwiseMLP(dim, mlp_ratio * dim)
    return MetaFormerBlock(dim, mix, mlp, drop_path, nn.BatchNorm2d)


class HireMixer(nn.Module):
    def __init__(self, dim: int, region: int, step: int) -> None:
        super().__init__()
        self.region, self.step = region, step
        self.h, self.w = RegionMLP(dim, region), RegionMLP(dim, region)
        self.channels = nn.Conv2d(dim, dim, 1)
        self.reweight = Reweight(dim, axes=(2, 3))
        self.merge = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        rows, columns = self.filled(self.moved(x, 2, self.step), 2), self.filled(self.moved(x, 3, self.step), 3)
        h = self.h(rows.unflatten(2, (-1, self.region)).movedim(3, 2))  # B C R H/R W
        w = self.w(columns.unflatten(3, (-1, self.region)).movedim(4, 2))  # B C R H W/R
        h = h.movedim(2, 3).flatten(2, 3)[:, :, : x.shape[2]]
        w = w.movedim(2, 4).flatten(3, 4)[..., : x.shape[3]]
        return self.merge(self.reweight(self.moved(h, 2, -self.step), self.moved(w, 3, -self.step), self.channels(x)))

    def moved(self, x: Tensor, axis: int, by: int) -> Tensor:
        """Cross-region rearrangement: the map moved in a circle."""
        return torch.roll(x, by, axis) if by else x

    def filled(self, x: Tensor, axis: int) -> Tensor:
        """The map continued by its first rows (columns) to whole regions."""
        missing = -x.shape[axis] % self.region
        return torch.cat([x, x.narrow(axis, 0, missing)], axis) if missing else x


class RegionMLP(nn.Module):
    """Inner-region mixing: an MLP over all channels of a region, to half the channels of one row and back."""

    def __init__(self, dim: int, region: int) -> None:
        super().__init__()
        self.contract = nn.Conv2d(dim * region, dim // 2, 1, bias=False)
        self.norm = nn.BatchNorm2d(dim // 2)
        self.act = nn.ReLU()
        self.expand = nn.Conv2d(dim // 2, dim * region, 1)

    def forward(self, x: Tensor) -> Tensor:  # B C R h w
        return self.expand(self.act(self.norm(self.contract(x.flatten(1, 2))))).view_as(x)


def check_regions(regions: tuple[int, ...], sides: list[int]) -> None:
    """Raise ValueError if a map is so small that it does not fill up a region with its own rows."""
    for region, side in zip(regions, sides, strict=True):
        if -side % region > side:
            raise ValueError(f"regions {region}: a map of {side} × {side} has too few rows; a larger image is needed")
