"""ActiveMLP: each channel of a token reads, along its row and column, a place that is predicted. arXiv:2203.06108.

B batch, H W grid, C channels
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from mixbench.zoo.initialization import truncated_linear
from mixbench.zoo.layers import (
    MLP,
    ConvNHWC,
    DropPath,
    Reweight,
    at_least_one,
    divides,
    drop_paths,
    map_sides,
    same_length,
)
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)
DIMS = (64, 128, 320, 512)
FOUR, EIGHT = (4, 4, 4, 4), (8, 8, 4, 4)


@register_model(
    family="ActiveMLP",
    paper="arXiv:2203.06108",
    variants={
        "activemlp_xt": dict(dims=DIMS, depths=(2, 2, 4, 2), mlp_ratios=FOUR, interval=2, **IMAGENET),
        "activemlp_t": dict(dims=DIMS, depths=(2, 3, 10, 3), mlp_ratios=FOUR, interval=2, **IMAGENET),
        "activemlp_s": dict(dims=DIMS, depths=(3, 4, 18, 3), mlp_ratios=EIGHT, interval=6, **IMAGENET),
        "activemlp_b": dict(dims=DIMS, depths=(3, 8, 27, 3), mlp_ratios=EIGHT, interval=6, **IMAGENET),
        "activemlp_l": dict(dims=(96, 192, 384, 768), depths=(3, 4, 24, 3), mlp_ratios=FOUR, interval=6, **IMAGENET),
    },
)
class ActiveMLP(nn.Module):
    """CycleMLP's pyramid.  `shares`: neighbouring channels with one offset, a number for each stage.

    Offsets are predicted anew every `interval` blocks of a stage, but not before its last block.
    """

    published_names = (
        (r"^patch_embed", "stages.0.down"),
        (r"^pos_blocks\.(\d)", r"stages.\1.position"),
        (r"^blocks\.0\.\d+\.downsample", "stages.1.down"),
        (r"^blocks\.1\.\d+\.downsample", "stages.2.down"),
        (r"^blocks\.2\.\d+\.downsample", "stages.3.down"),
        (r"^blocks\.(\d)", r"stages.\1.blocks"),
        (r"\.offset_layer", ".predict"),
        (r"atm\.atm_c", "mix.channels"),
        (r"atm\.atm_h", "mix.along_height"),
        (r"atm\.atm_w", "mix.along_width"),
        (r"atm\.fusion\.fc1", "mix.reweight.reduce"),
        (r"atm\.fusion\.fc2", "mix.reweight.expand"),
        (r"atm\.proj", "mix.merge"),
        (r"mlp\.fc1", "channel_mlp.expand"),
        (r"mlp\.fc2", "channel_mlp.contract"),
    )

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        mlp_ratios: tuple[int, ...],
        interval: int,
        shares: tuple[int, ...] = (2, 4, 4, 8),
        patch_size: int = 4,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        same_length(dims=dims, depths=depths, mlp_ratios=mlp_ratios, shares=shares)
        at_least_one(interval=interval, patch_size=patch_size)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        if min(depths) < 2:
            raise ValueError(f"depths {', '.join(map(str, depths))}: each stage needs at least 2 blocks")
        map_sides(image_size, patch_size, (2,) * (len(dims) - 1))
        downs = [ConvNHWC(in_chans, dims[0], 7, patch_size, padding=2)]
        downs += [ConvNHWC(width, dim, 3, 2, padding=1) for width, dim in pairwise(dims)]
        rates = drop_paths(drop_path, depths)
        self.stages = nn.Sequential(
            *[ActiveStage(*of_stage, interval) for of_stage in zip(downs, dims, shares, mlp_ratios, rates, strict=True)]
        )
        self.norm = nn.LayerNorm(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stages(x.permute(0, 2, 3, 1))  # B H W C
        return self.head(self.norm(x).mean((1, 2)))  # B classes


class ActiveStage(nn.Module):
    """Offsets of 2C / share channels hold for the blocks up to the next that predicts some."""

    def __init__(
        self, down: nn.Module, dim: int, share: int, mlp_ratio: int, rates: list[float], interval: int
    ) -> None:
        super().__init__()
        divides("shares", share, "twice the channels", 2 * dim)
        self.down = down
        self.position = ConvNHWC(dim, dim, 3, padding=1, groups=dim)
        self.blocks = nn.ModuleList(ActiveBlock(dim, share, mlp_ratio, rate) for rate in rates)
        for block in self.blocks[: len(rates) - 1 : interval]:
            block.predict = nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, 2 * dim // share))

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        x = self.down(x)
        offsets = x
        for block in self.blocks:
            if block.predict is not None:
                x = x + self.position(x)
                offsets = block.predict(x)
            x = block(x, offsets)
        return x


class ActiveBlock(nn.Module):
    def __init__(self, dim: int, share: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.predict: nn.Module | None = None
        self.norm1 = nn.LayerNorm(dim)
        self.mix = ActiveMixer(dim, share)
        self.norm2 = nn.LayerNorm(dim)
        self.channel_mlp = MLP(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:  # B H W C, B H W 2C/share
        x = x + self.drop_path(self.mix(self.norm1(x), offsets))  # mixes H, W and C
        return x + self.drop_path(self.channel_mlp(self.norm2(x)))  # mixes C


class ActiveMixer(nn.Module):
    def __init__(self, dim: int, share: int) -> None:
        super().__init__()
        self.share = share
        self.along_width = nn.Linear(dim, dim)
        self.along_height = nn.Linear(dim, dim)
        self.channels = nn.Linear(dim, dim, bias=False)
        self.reweight = Reweight(dim, axes=(1, 2))
        self.merge = nn.Linear(dim, dim)

    def forward(self, x: Tensor, offsets: Tensor) -> Tensor:  # B H W C, B H W 2C/share
        by_width, by_height = offsets.repeat_interleave(self.share, -1).chunk(2, -1)  # B H W C
        w, h = self.along_width(read(x, by_width, 2)), self.along_height(read(x, by_height, 1))
        return self.merge(self.reweight(w, h, self.channels(x)))


def read(x: Tensor, offsets: Tensor, axis: int) -> Tensor:
    """Each channel of B H W C at its position plus its offset along an axis, interpolated; zeros outside of the map."""
    side = x.shape[axis]
    places = torch.arange(side, device=x.device).view(-1, *[1] * (3 - axis))
    exact = torch.promote_types(offsets.dtype, torch.float32)  # 16 bits are too few for a place and a fraction
    places = places + offsets.to(exact)
    before = places.detach().floor()
    share = (places - before).to(x.dtype)
    before = before.clamp(-2, side).long()  # what lies farther outside is zero as well

    def at(places: Tensor) -> Tensor:
        inside = (places >= 0) & (places < side)
        return x.gather(axis, places.clamp(0, side - 1)) * inside

    return at(before) * (1 - share) + at(before + 1) * share


def initialise(module: nn.Module) -> None:
    """Linear layers as in CycleMLP, convolutions by the outputs they reach."""
    truncated_linear(module)
    if isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=(2 * module.groups / module.out_channels) ** 0.5 / module.kernel_size[0])
        if module.bias is not None:
            nn.init.zeros_(module.bias)
