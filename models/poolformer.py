"""PoolFormer: average pooling mixes the tokens. arXiv:2111.11418.   B batch, C channels, H W grid"""

import torch
from torch import Tensor, nn

from mixbench.zoo.layers import (
    DropPath,
    GroupNorm1,
    PointwiseMLP,
    at_least_one,
    drop_paths,
    map_sides,
    pyramid,
    same_length,
)  # fmt: skip
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)
S, M = (64, 128, 320, 512), (96, 192, 384, 768)


@register_model(
    family="PoolFormer",
    paper="arXiv:2111.11418",
    variants={
        "poolformer_s12": dict(dims=S, depths=(2, 2, 6, 2), **IMAGENET),
        "poolformer_s24": dict(dims=S, depths=(4, 4, 12, 4), **IMAGENET),
        "poolformer_s36": dict(dims=S, depths=(6, 6, 18, 6), layer_scale=1e-6, **IMAGENET),
        "poolformer_m36": dict(dims=M, depths=(6, 6, 18, 6), layer_scale=1e-6, **IMAGENET),
        "poolformer_m48": dict(dims=M, depths=(8, 8, 24, 8), layer_scale=1e-6, **IMAGENET),
    },
)
class PoolFormer(nn.Module):
    """The authors' head, which normalises the map before its mean; timm's normalises the mean.

    `layer_scale`: initial value of the factors, learnt for each channel, of each branch.  `patch_size` is the stride of
    the stem, whose kernel is 7 × 7; `strides` are those between the stages.
    """

    published_names = (
        (r"^patch_embed\.proj", "stem"),
        (r"^network\.(\d+)\.proj", r"stages.\1"),
        (r"^network", "stages"),
        (r"layer_scale_", "scale"),
        (r"mlp\.fc1", "channel_mlp.expand"),
        (r"mlp\.fc2", "channel_mlp.contract"),
    )

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        layer_scale: float = 1e-5,
        mlp_ratio: int = 4,
        strides: tuple[int, ...] = (2, 2, 2),
        patch_size: int = 4,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        same_length(dims=dims, depths=depths, strides=(1, *strides))
        at_least_one(mlp_ratio=mlp_ratio, patch_size=patch_size)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        map_sides(image_size, patch_size, strides)
        self.stem = nn.Conv2d(in_chans, dims[0], 7, patch_size, 2)
        self.stages = pyramid(
            dims,
            strides,
            drop_paths(drop_path, depths),
            lambda width, dim, stride: nn.Conv2d(width, dim, 3, stride, 1),
            lambda stage, _, rate: PoolBlock(dims[stage], mlp_ratio, layer_scale, rate),
        )
        self.norm = GroupNorm1(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x)  # B C H W
        x = self.stages(x)  # B C H W
        return self.head(self.norm(x).mean((2, 3)))  # B classes


class PoolBlock(nn.Module):
    def __init__(self, dim: int, mlp_ratio: int, layer_scale: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = GroupNorm1(dim)
        self.pool = nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
        self.scale1 = nn.Parameter(torch.full((dim, 1, 1), layer_scale))
        self.norm2 = GroupNorm1(dim)
        self.channel_mlp = PointwiseMLP(dim, mlp_ratio * dim)
        self.scale2 = nn.Parameter(torch.full((dim, 1, 1), layer_scale))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        y = self.norm1(x)
        x = x + self.drop_path(self.scale1 * (self.pool(y) - y))  # mixes neighbours along H and W
        return x + self.drop_path(self.scale2 * self.channel_mlp(self.norm2(x)))  # mixes C


def initialise(module: nn.Module) -> None:
    """Linear layers, which are 1 × 1 convolutions in the MLPs: a truncated normal, zero biases."""
    if isinstance(module, nn.Linear) or (isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
