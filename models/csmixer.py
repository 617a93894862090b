"""CS-Mixer: groups of tokens are mixed together with their channels, near ones and far ones by turns. arXiv:2308.13363.

B batch, H W grid, C channels, G side of a group, M heads of D channels
"""

import torch
from torch import Tensor, nn

from mixbench.zoo.initialization import truncated_linear
from mixbench.zoo.layers import (
    MLP,
    ConvNHWC,
    MetaFormerBlock,
    at_least_one,
    divides,
    drop_paths,
    same_length,
)
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)


@register_model(
    family="CS-Mixer",
    paper="arXiv:2308.13363",
    variants={
        "csmixer_t": dict(dim=64, depths=(1, 1, 8, 6), heads=(2, 4, 8, 16), head_dim=2, **IMAGENET),
        "csmixer_s": dict(dim=96, depths=(2, 2, 6, 2), heads=(3, 6, 12, 24), head_dim=4, **IMAGENET),
        "csmixer_b": dict(dim=96, depths=(2, 2, 18, 2), heads=(3, 6, 12, 24), head_dim=4, **IMAGENET),
        "csmixer_l": dict(dim=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), head_dim=4, **IMAGENET),
    },
)
class CSMixer(nn.Module):
    """`dim`: channels of the first stage, doubled by each later one on a map of half the side.

    `group_size`: the side of a group; a map that is no larger is one group.  `heads`: those of each stage.
    """

    published_names = (
        (r"^patch_embed\.projs\.(\d)", r"stem.convs.\1.proj"),
        (r"^patch_embed\.norm", "stem.norm"),
        (r"^layers\.(\d+)\.blocks", r"stages.\1"),
        (r"^layers\.(\d+)\.downsample\.reductions\.(\d)", r"merges.\1.convs.\2.proj"),
        (r"^layers\.(\d+)\.downsample\.norm", r"merges.\1.norm"),
        (r"\.attn\.to_u", ".mix.gate"),
        (r"\.attn\.to_v", ".mix.reduce"),
        (r"\.attn\.v_proj", ".mix.restore"),
        (r"\.attn\.proj", ".mix.merge"),
        (r"\.attn", ".mix"),
        (r"\.mlp\.fc1", ".channel_mlp.expand"),
        (r"\.mlp\.fc2", ".channel_mlp.contract"),
    )

    def __init__(
        self,
        dim: int,
        depths: tuple[int, ...],
        heads: tuple[int, ...],
        head_dim: int,
        group_size: int = 7,
        mlp_ratio: int = 4,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        same_length(depths=depths, heads=heads)
        at_least_one(dim=dim, head_dim=head_dim, group_size=group_size, mlp_ratio=mlp_ratio)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        divides("the stem's narrowest part,", 8, "dim", dim)
        side = divides("the stem's stride", 4, "image_size", image_size)
        self.stem = CrossScaleStem(in_chans, dim)
        stages, merges = list[nn.Module](), list[nn.Module]()
        for stage, rates in enumerate(drop_paths(drop_path, depths)):
            width = dim * 2**stage
            if stage:
                merges.append(CrossScaleMerge(width // 2))
                side = divides("2", 2, "the side of the map", side)
            group = min(group_size, side)
            divides("group_size", group, "the side of the map", side)
            blocks = [
                cs_block(width, heads[stage], head_dim, group, index % 2 == 1, mlp_ratio, rate)
                for index, rate in enumerate(rates)
            ]
            stages.append(nn.Sequential(*blocks))
        self.stages, self.merges = nn.ModuleList(stages), nn.ModuleList(merges)
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, num_classes)
        self.apply(truncated_linear)
        self.apply(open_gates)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stages[0](self.stem(x.permute(0, 2, 3, 1)))  # B H W C
        for merge, stage in zip(self.merges, self.stages[1:], strict=True):
            x = stage(merge(x))  # B H W C
        return self.head(self.norm(x).mean((1, 2)))  # B classes


class CrossScaleStem(nn.Module):
    """Patches of 4, 8, 16 and 32 pixels, in steps of 4."""

    def __init__(self, in_chans: int, dim: int) -> None:
        super().__init__()
        parts = zip((4, 8, 16, 32), (dim // 2, dim // 4, dim // 8, dim // 8), strict=True)
        self.convs = nn.ModuleList([ConvNHWC(in_chans, width, k, 4, (k - 4) // 2) for k, width in parts])
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:  # B H W 3
        return self.norm(torch.cat([conv(x) for conv in self.convs], 3))  # B H/4 W/4 C


class CrossScaleMerge(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.convs = nn.ModuleList([ConvNHWC(dim, dim, k, 2, (k - 2) // 2) for k in (2, 4)])

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        x = self.norm(x)
        return torch.cat([conv(x) for conv in self.convs], 3)  # B H/2 W/2 2C


def cs_block(
    dim: int, heads: int, head_dim: int, group: int, dilated: bool, mlp_ratio: int, drop_path: float
) -> nn.Module:
    mix = CrossScaleMixer(dim, heads, head_dim, group, dilated)
    return MetaFormerBlock(dim, mix, MLP(dim, mlp_ratio * dim), drop_path)


class CrossScaleMixer(nn.Module):
    """A group's tokens, reduced to M heads of D channels, by one linear map a head over tokens and channels; a gate.

    A group's tokens are neighbours, or if `dilated` they are H/G rows and W/G columns apart.
    """

    def __init__(self, dim: int, heads: int, head_dim: int, group: int, dilated: bool) -> None:
        super().__init__()
        self.heads, self.group, self.dilated = heads, group, dilated
        self.gate = nn.Linear(dim, dim)
        self.reduce = nn.Linear(dim, heads * head_dim)
        self.weight = nn.Parameter(torch.empty(heads, group**2 * head_dim, group**2 * head_dim))
        self.bias = nn.Parameter(torch.zeros(heads, group**2 * head_dim))
        self.restore = nn.Linear(heads * head_dim, dim)
        self.merge = nn.Linear(dim, dim)
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        height, width, side = *x.shape[1:3], self.group
        shape = (side, height // side, side, width // side) if self.dilated else (-1, side, width // side, side)
        order = (0, 2, 4, 5, 1, 3, 6) if self.dilated else (0, 1, 3, 5, 2, 4, 6)
        v = self.reduce(x).unflatten(2, shape[2:]).unflatten(1, shape[:2]).unflatten(5, (self.heads, -1))
        v = v.permute(order)  # B, the groups' rows and columns, M, a group's rows and columns, D
        mixed = torch.einsum("bghmx,mxy->bghmy", v.flatten(4), self.weight) + self.bias
        back = [order.index(axis) for axis in range(7)]
        mixed = mixed.view(v.shape).permute(back).flatten(5).flatten(3, 4).flatten(1, 2)  # B H W MD
        return self.merge(self.gate(x) * self.restore(mixed))


def open_gates(module: nn.Module) -> None:
    """Initialise a mixer so that it begins near the identity of its gate."""
    if isinstance(module, CrossScaleMixer):
        bound = 1e-3 / module.group**2
        nn.init.uniform_(module.restore.weight, -bound, bound)
        nn.init.ones_(module.restore.bias)
