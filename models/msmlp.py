"""MS-MLP (Mix-Shift-MLP): parts of the channels, moved by different steps, are mixed by kernels of different size.

arXiv:2202.06510.   B batch, H W grid, C channels
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn

from mixbench.zoo.initialization import truncated_linear
from mixbench.zoo.layers import (
    MLP,
    ConvNHWC,
    DropPath,
    at_least_one,
    drop_paths,
    same_length,
)
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)
KERNELS = ((1, 1, 3, 5, 7), (1, 3, 3, 5, 7), (1, 5, 5, 5, 7), (1, 7, 7, 7, 7))


@register_model(
    family="MS-MLP",
    paper="arXiv:2202.06510",
    variants={
        "msmlp_t": dict(dim=96, depths=(3, 3, 9, 3), **IMAGENET),
        "msmlp_s": dict(dim=96, depths=(3, 3, 27, 3), **IMAGENET),
        "msmlp_b": dict(dim=128, depths=(3, 3, 27, 3), **IMAGENET),
    },
)
class MSMLP(nn.Module):
    """`shifts`: the steps by which the parts of the channels are moved; `kernels`: their kernel sizes in each stage.

    `dim`: channels of the first stage, doubled by each later one on a map of half the side.
    """

    published_names = (
        (r"^patch_embed", "stem"),
        (r"^layers", "stages"),
        (r"dwconv_lr\.(\d+)", r"along_width.\1.proj"),
        (r"dwconv_td\.(\d+)", r"along_height.\1.proj"),
        (r"pwconv1", "channel_mlp.expand"),
        (r"pwconv2", "channel_mlp.contract"),
    )

    def __init__(
        self,
        dim: int,
        depths: tuple[int, ...],
        shifts: tuple[int, ...] = (-2, -1, 0, 1, 2),
        kernels: tuple[tuple[int, ...], ...] = KERNELS,
        mlp_ratio: int = 4,
        layer_scale: float = 1e-6,
        patch_size: int = 4,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        same_length(depths=depths, kernels=tuple(min(sizes) for sizes in kernels))
        at_least_one(dim=dim, mlp_ratio=mlp_ratio, patch_size=patch_size)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        if image_size < patch_size * 2 ** (len(depths) - 1):
            raise ValueError(f"image_size {image_size}: no map is left in the last of {len(depths)} stages")
        self.stem = Downsample(in_chans, dim, patch_size)
        stages = []
        for stage, rates in enumerate(drop_paths(drop_path, depths)):
            width, is_last = dim * 2**stage, stage == len(depths) - 1
            blocks = [MixShiftBlock(width, shifts, kernels[stage], mlp_ratio, layer_scale, rate) for rate in rates]
            parts = OrderedDict[str, nn.Module](blocks=nn.Sequential(*blocks))
            if not is_last:
                parts["downsample"] = Downsample(width, 2 * width, 2)
            stages.append(nn.Sequential(parts))
        self.stages = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, num_classes)
        self.apply(truncated_linear)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x.permute(0, 2, 3, 1))  # B H W C
        x = self.stages(x)  # B H W C
        return self.head(self.norm(x.mean((1, 2))))  # B classes


class Downsample(nn.Module):
    def __init__(self, width: int, dim: int, stride: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(width, dim, stride, stride)
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        return self.norm(self.proj(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))


class MixShiftBlock(nn.Module):
    def __init__(
        self, dim: int, shifts: tuple[int, ...], kernels: tuple[int, ...], mlp_ratio: int, layer_scale: float,
        drop_path: float,
    ) -> None:  # fmt: skip
        super().__init__()
        widths = [part.numel() for part in torch.empty(dim).chunk(len(shifts))]
        if len(widths) != len(shifts) or len(kernels) != len(shifts):
            raise ValueError(f"{dim} channels in parts for {len(shifts)} shifts and {len(kernels)} kernels: {widths}")
        self.shifts = shifts
        self.along_width = nn.ModuleList([local(width, size) for width, size in zip(widths, kernels, strict=True)])
        self.along_height = nn.ModuleList([local(width, size) for width, size in zip(widths, kernels, strict=True)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.channel_mlp = MLP(dim, mlp_ratio * dim)
        self.gamma = nn.Parameter(torch.full((dim,), layer_scale))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        mixed = self.mixed(x, self.along_width, 2) + self.mixed(x, self.along_height, 1)  # mixes H and W
        return x + self.drop_path(self.gamma * self.channel_mlp(self.norm(mixed)))  # mixes C

    def mixed(self, x: Tensor, convs: nn.ModuleList, axis: int) -> Tensor:
        """Move the parts in a circle along an axis, and mix each by its depthwise convolution."""
        parts = zip(x.chunk(len(self.shifts), -1), self.shifts, convs, strict=True)
        return torch.cat([conv(part.roll(by, axis)) for part, by, conv in parts], -1)


def local(dim: int, kernel_size: int) -> ConvNHWC:
    return ConvNHWC(dim, dim, kernel_size, padding=kernel_size // 2, groups=dim)
