"""Vision Permutator: linear maps over height and over width, each with a part of the channels. arXiv:2106.12368.

B batch, H W grid, C channels = N segments of S
"""

from torch import Tensor, nn

from mixbench.zoo.initialization import truncated_linear
from mixbench.zoo.layers import (
    MLP,
    PERMUTATOR_NAMES,
    ConvNHWC,
    MetaFormerBlock,
    Reweight,
    at_least_one,
    divides,
    drop_paths,
    map_side,
    pyramid,
    same_length,
)
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)


@register_model(
    family="ViP",
    paper="arXiv:2106.12368",
    variants={
        "vip_s14": dict(
            dims=(384, 384, 384, 384), depths=(4, 3, 8, 3), segments=(16, 16, 16, 16), strides=(1, 1, 1), patch_size=14,
            **IMAGENET,
        ),
        "vip_s7": dict(
            dims=(192, 384, 384, 384), depths=(4, 3, 8, 3), segments=(32, 16, 16, 16), strides=(2, 1, 1), patch_size=7,
            **IMAGENET,
        ),
        "vip_m7": dict(
            dims=(256, 256, 512, 512), depths=(4, 3, 14, 3), segments=(32, 32, 16, 16), strides=(1, 2, 1), patch_size=7,
            **IMAGENET,
        ),
        "vip_l7": dict(
            dims=(256, 512, 512, 512), depths=(8, 8, 16, 4), segments=(32, 16, 16, 16), strides=(2, 1, 1), patch_size=7,
            **IMAGENET,
        ),
    },
)  # fmt: skip
class VisionPermutator(nn.Module):
    """`segments` of a stage are as many as its map is high and wide.  `strides`: those between the stages."""

    published_names = (
        (r"\.attn\.(mlp_[hwc])", r".mix.\1"),
        *PERMUTATOR_NAMES,
    )

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        segments: tuple[int, ...],
        strides: tuple[int, ...],
        patch_size: int,
        mlp_ratio: int = 3,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        same_length(dims=dims, depths=depths, segments=segments, strides=(1, *strides))
        at_least_one(patch_size=patch_size, mlp_ratio=mlp_ratio)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        side = divides("patch_size", patch_size, "image_size", image_size)
        self.stem = ConvNHWC(in_chans, dims[0], patch_size, stride=patch_size)
        for dim, parts, stride in zip(dims, segments, (1, *strides), strict=True):
            side = map_side(side, stride)
            if parts != side:
                raise ValueError(f"segments {parts}: a map of {side} × {side} needs {side} segments")
            divides("segments", parts, "dims", dim)
        self.stages = pyramid(
            dims,
            strides,
            drop_paths(drop_path, depths),
            lambda width, dim, stride: ConvNHWC(width, dim, stride, stride=stride),
            lambda stage, _, rate: permutator_block(dims[stage], segments[stage], mlp_ratio, rate),
        )
        self.norm = nn.LayerNorm(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)
        self.apply(truncated_linear)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x.permute(0, 2, 3, 1))  # B H W C
        x = self.stages(x)  # B H W C
        return self.head(self.norm(x).mean((1, 2)))  # B classes


def permutator_block(dim: int, segments: int, mlp_ratio: int, drop_path: float) -> nn.Module:
    return MetaFormerBlock(dim, PermuteMLP(dim, segments), MLP(dim, mlp_ratio * dim), drop_path)


class PermuteMLP(nn.Module):
    """Weighted Permute-MLP: maps over H·S, over W·S and over C, added with learnt weights."""

    def __init__(self, dim: int, segments: int) -> None:
        super().__init__()
        self.segments = segments
        self.mlp_h = nn.Linear(dim, dim, bias=False)
        self.mlp_w = nn.Linear(dim, dim, bias=False)
        self.mlp_c = nn.Linear(dim, dim, bias=False)
        self.reweight = Reweight(dim, axes=(1, 2))
        self.merge = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        parts = x.unflatten(3, (self.segments, -1))  # B H W N S
        by_height = parts.permute(0, 3, 2, 1, 4)  # B N W H S
        by_width = parts.permute(0, 1, 3, 2, 4)  # B H N W S
        h = self.mlp_h(by_height.flatten(3)).view(by_height.shape).permute(0, 3, 2, 1, 4).flatten(3)  # B H W C
        w = self.mlp_w(by_width.flatten(3)).view(by_width.shape).permute(0, 1, 3, 2, 4).flatten(3)  # B H W C
        return self.merge(self.reweight(h, w, self.mlp_c(x)))
