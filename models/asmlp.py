"""AS-MLP: parts of the channels are shifted along width and along height. arXiv:2107.08391.

B batch, C channels, H W grid
"""

import torch
from torch import Tensor, nn

from mixbench.zoo.initialization import truncated_linear
from mixbench.zoo.layers import (
    GroupNorm1,
    MetaFormerBlock,
    PointwiseMLP,
    at_least_one,
    divides,
    drop_paths,
    same_length,
    shift,
)
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)


@register_model(
    family="AS-MLP",
    paper="arXiv:2107.08391",
    variants={
        "asmlp_t": dict(dim=96, depths=(2, 2, 6, 2), **IMAGENET),
        "asmlp_s": dict(dim=96, depths=(2, 2, 18, 2), **IMAGENET),
        "asmlp_b": dict(dim=128, depths=(2, 2, 18, 2), **IMAGENET),
    },
)
class ASMLP(nn.Module):
    """`shift_size`: the number of parts, moved by −(s − 1) / 2 to (s − 1) / 2 positions.

    `dim`: channels of the first stage, doubled by each later one on a map of half the side.
    """

    published_names = (
        (r"^patch_embed\.proj", "stem.0"),
        (r"^patch_embed\.norm", "stem.1"),
        (r"^layers\.(\d+)\.blocks", r"stages.\1"),
        (r"^layers\.(\d+)\.downsample", r"downsamples.\1"),
        (r"axial_shift\.conv2_1", "mix.along_width"),
        (r"axial_shift\.conv2_2", "mix.along_height"),
        (r"axial_shift\.conv1", "mix.before"),
        (r"axial_shift\.conv3", "mix.after"),
        (r"axial_shift", "mix"),
        (r"mlp\.fc1", "channel_mlp.expand"),
        (r"mlp\.fc2", "channel_mlp.contract"),
    )

    def __init__(
        self,
        dim: int,
        depths: tuple[int, ...],
        shift_size: int = 5,
        mlp_ratio: int = 4,
        shift_bias: bool = True,
        stem_norm: bool = True,
        patch_size: int = 4,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        same_length(depths=depths)
        at_least_one(dim=dim, shift_size=shift_size, mlp_ratio=mlp_ratio, patch_size=patch_size)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        if shift_size % 2 == 0:
            raise ValueError(f"shift_size is {shift_size}, it must be odd")
        side = divides("patch_size", patch_size, "image_size", image_size)
        stem_norms = [GroupNorm1(dim)] if stem_norm else []
        self.stem = nn.Sequential(nn.Conv2d(in_chans, dim, patch_size, patch_size), *stem_norms)
        stages, downsamples = list[nn.Module](), list[nn.Module]()
        for stage, rates in enumerate(drop_paths(drop_path, depths)):
            width = dim * 2**stage
            if stage:
                side = divides("2", 2, "the side of the map", side)
                downsamples.append(SpaceToDepth(width // 2))
            blocks = [shift_block(width, shift_size, mlp_ratio, shift_bias, rate) for rate in rates]
            stages.append(nn.Sequential(*blocks))
        self.stages, self.downsamples = nn.ModuleList(stages), nn.ModuleList(downsamples)
        self.norm = GroupNorm1(width)
        self.head = nn.Linear(width, num_classes)
        truncated_linear(self.head)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stages[0](self.stem(x))  # B C H W
        for downsample, stage in zip(self.downsamples, self.stages[1:], strict=True):
            x = stage(downsample(x))  # B C H W
        return self.head(self.norm(x).mean((2, 3)))  # B classes


def shift_block(dim: int, shift_size: int, mlp_ratio: int, bias: bool, drop_path: float) -> nn.Module:
    mix, mlp = AxialShift(dim, shift_size, bias), PointwiseMLP(dim, mlp_ratio * dim)
    return MetaFormerBlock(dim, mix, mlp, drop_path, GroupNorm1)


class AxialShift(nn.Module):
    def __init__(self, dim: int, shift_size: int, bias: bool) -> None:
        super().__init__()
        self.shift_size = shift_size
        self.before = nn.Conv2d(dim, dim, 1, bias=bias)
        self.norm1 = GroupNorm1(dim)
        self.along_width = nn.Conv2d(dim, dim, 1, bias=bias)
        self.along_height = nn.Conv2d(dim, dim, 1, bias=bias)
        self.norm2 = GroupNorm1(dim)
        self.after = nn.Conv2d(dim, dim, 1, bias=bias)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        x = self.act(self.norm1(self.before(x)))
        w, h = self.along_width(self.shifted(x, 3)), self.along_height(self.shifted(x, 2))
        return self.after(self.norm2(self.act(w) + self.act(h)))

    def shifted(self, x: Tensor, axis: int) -> Tensor:
        """Part g of the channels moved by g − (s − 1) / 2 positions; zeros outside of the map."""
        parts = enumerate(x.chunk(self.shift_size, 1), -(self.shift_size // 2))
        return torch.cat([shift(part, by, axis) for by, part in parts], 1)


class SpaceToDepth(nn.Module):
    """The four pixels of 2 × 2 as channels, upper row after upper column as in Swin; then half of them by a 1 × 1."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = GroupNorm1(4 * dim)
        self.reduction = nn.Conv2d(4 * dim, 2 * dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        corners = [x[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        return self.reduction(self.norm(torch.cat(corners, 1)))  # B 2C H/2 W/2
