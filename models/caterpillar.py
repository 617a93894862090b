"""Caterpillar: pillars of shifted pixels mix neighbours, linear maps along rows and columns the rest. arXiv:2305.17644.

B batch, C channels, H W grid
"""

import torch
from torch import Tensor, nn

from mixbench.zoo.initialization import truncated_linear
from mixbench.zoo.layers import (
    MLP,
    DropPath,
    RowColumnMLP,
    at_least_one,
    divides,
    drop_paths,
    map_side,
    same_length,
    shift,
)
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000, strides=(4, 2, 2, 2))
CIFAR = dict(image_size=32, num_classes=10, strides=(1, 2, 2, 2))
MI = dict(dims=(40, 80, 160, 320), depths=(2, 6, 10, 2))
TX = dict(dims=(60, 120, 240, 480), depths=(2, 8, 14, 2))
T = dict(dims=(80, 160, 320, 640), depths=(2, 8, 14, 2))
S = dict(dims=(96, 192, 384, 768), depths=(2, 10, 24, 2))
B = dict(dims=(112, 224, 448, 896), depths=(2, 10, 24, 2))


@register_model(
    family="Caterpillar",
    paper="arXiv:2305.17644",
    variants={
        "caterpillar_mi": MI | IMAGENET,
        "caterpillar_tx": TX | IMAGENET,
        "caterpillar_t": T | IMAGENET,
        "caterpillar_s": S | IMAGENET,
        "caterpillar_b": B | IMAGENET,
        "caterpillar_mi_p1": MI | CIFAR,
        "caterpillar_tx_p1": TX | CIFAR,
        "caterpillar_t_p1": T | CIFAR,
        "caterpillar_s_p1": S | CIFAR,
        "caterpillar_b_p1": B | CIFAR,
    },
)
class Caterpillar(nn.Module):
    """`strides`: of the stem and between the stages.

    `caterpillar_*_p1` are the authors' networks for small images; theirs for Fashion-MNIST have strides 1, 2, 2, 1.
    """

    published_names = (
        (r"^patch_embed\.proj", "layers.0"),
        (r"^blocks\.(\d+)\.0\.", r"layers.\1."),
        (r"^blocks", "layers"),
        (r"localMix\.BN", "local.norm"),
        (r"localMix\.proj_t", "local.down"),
        (r"localMix\.proj_b", "local.up"),
        (r"localMix\.proj_r", "local.left"),
        (r"localMix\.proj_l", "local.right"),
        (r"localMix\.fuse", "local.merge"),
        (r"globalMix\.BN", "sparse.0"),
        (r"globalMix\.proj_h", "sparse.2.along_width"),
        (r"globalMix\.proj_w", "sparse.2.along_height"),
        (r"globalMix\.fuse", "sparse.2.merge"),
        (r"channelMix\.LN", "norm"),
        (r"channelMix\.FeedForward\.fc1", "channel_mlp.expand"),
        (r"channelMix\.FeedForward\.fc2", "channel_mlp.contract"),
    )

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        strides: tuple[int, ...],
        mlp_ratio: int = 3,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        same_length(dims=dims, depths=depths, strides=strides)
        at_least_one(mlp_ratio=mlp_ratio, image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        layers, side, width = list[nn.Module](), image_size, in_chans
        for dim, stride, rates in zip(dims, strides, drop_paths(drop_path, depths), strict=True):
            side = map_side(side, stride)
            divides("four pillars:", 4, "dims", dim)
            layers.append(nn.Conv2d(width, dim, stride, stride, bias=False))
            layers += [CaterpillarBlock(dim, side, mlp_ratio, rate) for rate in rates]
            width = dim
        self.layers = nn.Sequential(*layers)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, num_classes)
        self.apply(truncated_linear)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.layers(x)  # B C H W
        return self.head(self.norm(x).mean((2, 3)))  # B classes


class CaterpillarBlock(nn.Module):
    def __init__(self, dim: int, side: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.local = ShiftedPillars(dim)
        self.sparse = nn.Sequential(nn.BatchNorm2d(dim), nn.GELU(), RowColumnMLP(dim, side))
        self.norm = nn.LayerNorm(dim)
        self.channel_mlp = MLP(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        x = x + self.drop_path(self.sparse(self.local(x)))  # mixes neighbours, then H and W
        mixed = self.channel_mlp(self.norm(x.permute(0, 2, 3, 1)))  # mixes C
        return x + self.drop_path(mixed.permute(0, 3, 1, 2))


class ShiftedPillars(nn.Module):
    """Shifted-pillars-concatenation: a quarter of the channels from each neighbour, zeros outside of the map."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(dim)
        self.act = nn.GELU()
        self.down, self.up, self.left, self.right = (nn.Conv2d(dim, dim // 4, 1) for _ in range(4))
        self.merge = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        x = self.act(self.norm(x))
        below, above = self.down(shift(x, -1, 2)), self.up(shift(x, 1, 2))
        before, behind = self.left(shift(x, 1, 3)), self.right(shift(x, -1, 3))
        return self.merge(torch.cat([below, above, before, behind], 1))
