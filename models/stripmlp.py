"""Strip-MLP: a strip of the map is mixed together with its two neighbours, rows first, columns next. arXiv:2307.11458.

B batch, C channels, H W grid, P groups of channels
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

from mixbench.zoo.layers import DropPath, Reweight, at_least_one, divides, same_length
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)


@register_model(
    family="Strip-MLP",
    paper="arXiv:2307.11458",
    variants={
        "stripmlp_t_light": dict(dim=80, depths=(2, 2, 6, 2), **IMAGENET),
        "stripmlp_t": dict(dim=80, depths=(2, 2, 12, 2), **IMAGENET),
        "stripmlp_s": dict(dim=96, depths=(2, 2, 18, 2), **IMAGENET),
        "stripmlp_b": dict(dim=112, depths=(2, 2, 18, 2), **IMAGENET),
    },
)
class StripMLP(nn.Module):
    """`drop_path` is the rate of every block; the width doubles from stage to stage, the map's sides are halved."""

    published_names = (
        (r"^patch_embed", "stem"),
        *((rf"^blocks{number}", f"stages.{number - 1}") for number in range(1, 5)),
        *((rf"^merging{number}", f"merges.{number - 1}") for number in range(1, 4)),
        (r"^conv_s1_28", "skips.0"),
        (r"^conv_s1_14", "skips.1"),
        (r"^conv_s2_14", "skips.2"),
        (r"token_mixing\.dwsc\.conv_merge\.BN", "mix.local.0"),
        (r"token_mixing\.dwsc\.conv_merge\.Conv", "mix.local.2"),
        (r"token_mixing\.smlp_block\.mlp", "mix.channels"),
        (r"token_mixing\.smlp_block\.BN", "mix.strips.norm"),
        (r"token_mixing\.smlp_block\.proj_h", "mix.strips.rows.map"),
        (r"token_mixing\.smlp_block\.proj_w", "mix.strips.columns.map"),
        (r"token_mixing\.smlp_block\.fuse_", "mix.strips.merge_"),
        (r"token_mixing\.smlp_block\.relate_pos_([hw])\.embeddings_table", r"mix.strips.position_\1"),
        (r"token_mixing\.smlp_block\.fc_([hw])", r"mix.kernel_\1"),
        (r"token_mixing\.smlp_block\.reweight\.fc1", "mix.reweight.reduce"),
        (r"token_mixing\.smlp_block\.reweight\.fc2", "mix.reweight.expand"),
        (r"token_mixing\.smlp_block\.fuse", "mix.merge"),
        (r"channel_mixing\.conv_77", "channel_mlp.local"),
        (r"channel_mixing\.layer_norm", "channel_mlp.norm"),
        (r"channel_mixing\.fc1", "channel_mlp.expand"),
        (r"channel_mixing\.fc2", "channel_mlp.contract"),
        (r"channel_mixing\.grn", "channel_mlp.response"),
    )

    def __init__(
        self,
        dim: int,
        depths: tuple[int, ...],
        mlp_ratio: int = 3,
        patch_size: int = 4,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        same_length(depths=depths, stages=(1, 1, 1, 1))
        at_least_one(dim=dim, mlp_ratio=mlp_ratio, patch_size=patch_size, in_chans=in_chans, num_classes=num_classes)
        dims = [dim * 2**stage for stage in range(4)]
        sides = [image_size // patch_size // 2**stage for stage in range(4)]
        if not sides[-1]:
            raise ValueError(
                f"image_size {image_size}: no map is left in stage 4 of 4, it must be at least {8 * patch_size}"
            )
        self.stem = nn.Conv2d(in_chans, dim, patch_size, patch_size, bias=False)
        self.stages = nn.ModuleList(
            nn.Sequential(*[StripBlock(width, side, mlp_ratio, drop_path) for _ in range(depth)])
            for width, side, depth in zip(dims, sides, depths, strict=True)
        )
        self.merges = nn.ModuleList(nn.Conv2d(*widths, 2, 2, bias=False) for widths in pairwise(dims))
        self.skips = nn.ModuleList(
            nn.Conv2d(width, 2 * width, 2, 2, groups=width, bias=False) for width in (dims[1], dims[2], dims[2])
        )
        self.norm = nn.BatchNorm2d(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stages[0](self.stem(x))  # B C H W
        second = self.merges[0](x)
        third = self.merges[1](self.stages[1](second))
        skipped = self.skips[0](second)
        fourth = self.merges[2](self.stages[2](third + skipped))
        x = self.stages[3](fourth + self.skips[1](skipped) + self.skips[2](third))
        return self.head(self.norm(x).mean((2, 3)))  # B classes


class StripBlock(nn.Module):
    def __init__(self, dim: int, side: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.mix = StripMixing(dim, side)
        self.channel_mlp = ResponseMLP(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        x = x + self.drop_path(self.mix(x))  # mixes H, W and C
        return x + self.drop_path(self.channel_mlp(x))  # mixes C


class StripMixing(nn.Module):
    """Half of the channels are mixed in strips, the other half by two convolutions of 21 pixels."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        half = divides("halves:", 2, "the channels of a stage", dim)
        self.local = nn.Sequential(
            nn.BatchNorm2d(dim), nn.GELU(), nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False)
        )
        self.channels = nn.Sequential(nn.Conv2d(dim, dim, 1), nn.BatchNorm2d(dim), nn.GELU())
        self.strips = StripMaps(half, side, groups=2 if dim % 80 == 0 else 4)
        self.kernel_h = nn.Conv2d(half, half, (3, 7), padding=(1, 3), groups=half, bias=False)
        self.kernel_w = nn.Conv2d(half, half, (7, 3), padding=(3, 1), groups=half, bias=False)
        self.reweight = Reweight(half, axes=(2, 3), reduction=2)
        self.merge = nn.Conv2d(dim, dim, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        a, b = self.channels(self.local(x)).chunk(2, 1)  # B C/2 H W
        b = self.reweight(self.kernel_w(b), self.kernel_h(b), b)
        return self.merge(torch.cat([self.strips(a), b], 1))


class StripMaps(nn.Module):
    """Rows, then columns; a learnt map of positions, which depends on column − row alone, is added before each."""

    def __init__(self, dim: int, side: int, groups: int) -> None:
        super().__init__()
        maps = dim // groups
        if not maps:
            raise ValueError(f"{2 * dim} channels are too few: half of them are to be {groups} groups at least")
        divides("dim: a stage's maps of strips,", maps, "half of the stage's channels", dim)
        self.rows, self.columns = StripMap(maps, side), StripMap(maps, side)
        self.position_h, self.position_w = (nn.Parameter(torch.empty(2 * side + 1, dim)) for _ in range(2))
        self.merge_h, self.merge_w = (nn.Conv2d(2 * dim, dim, 1, bias=False) for _ in range(2))
        self.norm = nn.BatchNorm2d(dim)
        self.act = nn.GELU()
        for position in (self.position_h, self.position_w):
            nn.init.trunc_normal_(position, std=0.02)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        places = torch.arange(x.shape[-1], device=x.device)
        apart = places - places[:, None] + x.shape[-1]  # H W
        position_h, position_w = self.position_h[apart].permute(2, 0, 1), self.position_w[apart].permute(2, 0, 1)
        rows = self.rows(x + position_h)  # mixes W, and H with H ± 1
        rows = self.act(self.norm(self.merge_h(torch.cat([rows, x], 1)))) + position_w
        columns = self.columns(rows.mT).mT  # mixes H, and W with W ± 1
        return self.merge_w(torch.cat([x, columns], 1))


class StripMap(nn.Module):
    """A row becomes a linear map of it and of the rows before and after; one map for every P-th channel."""

    def __init__(self, maps: int, side: int) -> None:
        super().__init__()
        self.maps = maps
        self.map = nn.Conv2d(maps * side, maps * side, (1, 3), padding=(0, 1), groups=maps)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        strips = x.unflatten(1, (-1, self.maps)).permute(0, 2, 4, 1, 3)  # B C/P W P H
        mapped = self.map(strips.flatten(1, 2)).unflatten(1, strips.shape[1:3])
        return mapped.permute(0, 3, 1, 4, 2).flatten(1, 2)  # B C H W


class ResponseMLP(nn.Module):
    """A 7 × 7 depthwise convolution and an MLP with ConvNeXt V2's global response normalisation, arXiv:2301.00808."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.local = nn.Conv2d(dim, dim, 7, padding=3, groups=dim, bias=False)
        self.norm = nn.LayerNorm(dim)
        self.expand = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.response = ResponseNorm(hidden_dim)
        self.contract = nn.Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        y = self.norm(self.local(x).permute(0, 2, 3, 1))  # B H W C
        return self.contract(self.response(self.act(self.expand(y)))).permute(0, 3, 1, 2)


class ResponseNorm(nn.Module):
    """x + γ · x · length / mean length + β, a channel's length being that of its map."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.gamma, self.beta = (nn.Parameter(torch.zeros(1, 1, 1, dim)) for _ in range(2))

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        length = x.norm(dim=(1, 2), keepdim=True)
        return x + self.gamma * (x * (length / (length.mean(3, keepdim=True) + 1e-6))) + self.beta
