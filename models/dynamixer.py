"""DynaMixer: the matrices that mix a row's, or a column's, tokens are generated from these tokens. arXiv:2201.12083.

B batch, H W grid, C channels, L tokens of a row or column, M heads
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
    divides,
    drop_paths,
    map_side,
    pyramid,
    same_length,
)
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)


@register_model(
    family="DynaMixer",
    paper="arXiv:2201.12083",
    variants={
        "dynamixer_s": dict(
            dims=(192, 384, 384, 384), depths=(4, 3, 8, 3), heads=(8, 16, 16, 16), strides=(2, 1, 1), reduced_dim=2,
            **IMAGENET,
        ),
        "dynamixer_m": dict(
            dims=(256, 256, 512, 512), depths=(4, 3, 14, 3), heads=(8, 8, 16, 16), strides=(1, 2, 1), reduced_dim=2,
            **IMAGENET,
        ),
        "dynamixer_l": dict(
            dims=(256, 512, 512, 512), depths=(8, 8, 16, 4), heads=(8, 16, 16, 16), strides=(2, 1, 1), reduced_dim=8,
            **IMAGENET,
        ),
    },
)  # fmt: skip
class DynaMixer(nn.Module):
    """`reduced_dim`: the channels of a token, for each head, from which its matrix is generated."""

    published_names = (
        (r"\.attn\.mix_h", ".mix.along_height"),
        (r"\.attn\.mix_w", ".mix.along_width"),
        (r"\.attn\.mlp_c", ".mix.channels"),
        *PERMUTATOR_NAMES,
    )

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        heads: tuple[int, ...],
        strides: tuple[int, ...],
        reduced_dim: int,
        mlp_ratio: int = 3,
        patch_size: int = 7,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        same_length(dims=dims, depths=depths, heads=heads, strides=(1, *strides))
        at_least_one(reduced_dim=reduced_dim, mlp_ratio=mlp_ratio, patch_size=patch_size)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        sides = [divides("patch_size", patch_size, "image_size", image_size)]
        for dim, count, stride in zip(dims, heads, (1, *strides), strict=True):
            sides.append(map_side(sides[-1], stride))
            divides("heads", count, "dims", dim)
        self.stem = ConvNHWC(in_chans, dims[0], patch_size, stride=patch_size)
        self.stages = pyramid(
            dims,
            strides,
            drop_paths(drop_path, depths),
            lambda width, dim, stride: ConvNHWC(width, dim, stride, stride=stride),
            lambda stage, _, rate: MetaFormerBlock(
                dims[stage],
                DynaMixing(dims[stage], sides[stage + 1], heads[stage], reduced_dim),
                MLP(dims[stage], mlp_ratio * dims[stage]),
                rate,
            ),
        )
        self.norm = nn.LayerNorm(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)
        self.apply(truncated_linear)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x.permute(0, 2, 3, 1))  # B H W C
        x = self.stages(x)  # B H W C
        return self.head(self.norm(x).mean((1, 2)))  # B classes


class DynaMixing(nn.Module):
    def __init__(self, dim: int, side: int, heads: int, reduced_dim: int) -> None:
        super().__init__()
        self.along_height = DynamicMap(dim, side, heads, reduced_dim)
        self.along_width = DynamicMap(dim, side, heads, reduced_dim)
        self.channels = nn.Linear(dim, dim, bias=False)
        self.reweight = Reweight(dim, axes=(1, 2))
        self.merge = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        h = self.along_height(x.transpose(1, 2)).transpose(1, 2)
        return self.merge(self.reweight(h, self.along_width(x), self.channels(x)))


class DynamicMap(nn.Module):
    """A row's tokens mixed by a matrix for each head, made from these tokens; its columns' shares add up to one."""

    def __init__(self, dim: int, tokens: int, heads: int, reduced_dim: int) -> None:
        super().__init__()
        self.tokens, self.heads = tokens, heads
        self.compress = nn.Linear(dim, heads * reduced_dim)
        self.generate = nn.Linear(tokens * reduced_dim, tokens**2)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:  # … L C
        reduced = self.compress(x).unflatten(-1, (self.heads, -1)).transpose(-3, -2).flatten(-2)  # … M LD
        shares = self.generate(reduced).unflatten(-1, (self.tokens, self.tokens)).softmax(-2)  # … M L_in L_out
        parts = x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)  # … M L C/M
        return self.out(torch.matmul(shares.mT, parts).transpose(-3, -2).flatten(-2))
