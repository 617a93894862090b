"""S²-MLP and S²-MLPv2: groups of channels are shifted by one position along the axes. arXiv:2106.07477, 2108.01072.

No official code is published.  C / 4 hidden channels in version 2's attention are those that give the paper's sizes.
B batch, H W grid, C channels
"""

import torch
from torch import Tensor, nn

from mixbench.zoo.layers import MLP, ConvNHWC, MetaFormerBlock, at_least_one, divides, same_length
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)


@register_model(
    family="S2-MLP",
    paper="arXiv:2106.07477",
    variants={
        "s2mlp_wide": dict(dim=768, depth=12, patch_size=16, **IMAGENET),
        "s2mlp_deep": dict(dim=384, depth=36, patch_size=16, **IMAGENET),
    },
)
class S2MLP(nn.Module):
    def __init__(
        self,
        dim: int,
        depth: int,
        patch_size: int,
        mlp_ratio: int = 4,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        at_least_one(dim=dim, depth=depth, patch_size=patch_size, mlp_ratio=mlp_ratio)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        divides("patch_size", patch_size, "image_size", image_size)
        self.stem = ConvNHWC(in_chans, dim, patch_size, stride=patch_size)
        blocks = [MetaFormerBlock(dim, S2Mixer(dim), MLP(dim, mlp_ratio * dim), drop_path) for _ in range(depth)]
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x.permute(0, 2, 3, 1))  # B H W C
        x = self.blocks(x)  # B H W C
        return self.head(x.mean((1, 2)))  # B classes


class S2Mixer(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.before = nn.Linear(dim, dim)
        self.act = nn.GELU()
        self.after = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        return self.after(spatial_shift(self.act(self.before(x)), 1, 2))


@register_model(
    family="S2-MLPv2",
    paper="arXiv:2108.01072",
    variants={
        "s2mlpv2_small_7": dict(dims=(192, 384), depths=(4, 14), patch_sizes=(7, 2), **IMAGENET),
        "s2mlpv2_medium_7": dict(dims=(256, 512), depths=(7, 17), patch_sizes=(7, 2), **IMAGENET),
    },
)
class S2MLPv2(nn.Module):
    """A pyramid: each stage begins with a patch embedding of its own (`patch_sizes`)."""

    published_names = (  # of the community's code, liuruiyang98/Jittor-MLP
        (r"^stages\.(\d+)\.0\.(weight|bias)", r"stages.\1.0.proj.\2"),
        (r"^stages\.(\d+)\.1\.model\.(\d+)\.0\.fn\.mlp1", r"stages.\1.1.\2.mix.split"),
        (r"^stages\.(\d+)\.1\.model\.(\d+)\.0\.fn\.mlp2", r"stages.\1.1.\2.mix.merge"),
        (r"^stages\.(\d+)\.1\.model\.(\d+)\.0\.fn\.split_attention\.mlp1", r"stages.\1.1.\2.mix.attention.reduce"),
        (r"^stages\.(\d+)\.1\.model\.(\d+)\.0\.fn\.split_attention\.mlp2", r"stages.\1.1.\2.mix.attention.expand"),
        (r"^stages\.(\d+)\.1\.model\.(\d+)\.0\.norm", r"stages.\1.1.\2.norm1"),
        (r"^stages\.(\d+)\.1\.model\.(\d+)\.1\.norm", r"stages.\1.1.\2.norm2"),
        (r"^stages\.(\d+)\.1\.model\.(\d+)\.1\.fn\.0", r"stages.\1.1.\2.channel_mlp.expand"),
        (r"^stages\.(\d+)\.1\.model\.(\d+)\.1\.fn\.[23]", r"stages.\1.1.\2.channel_mlp.contract"),
        (r"^mlp_head\.1", "head"),
    )

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        patch_sizes: tuple[int, ...],
        mlp_ratio: int = 3,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        same_length(dims=dims, depths=depths, patch_sizes=patch_sizes)
        at_least_one(mlp_ratio=mlp_ratio, image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        stages, side, width = [], image_size, in_chans
        for dim, depth, patch_size in zip(dims, depths, patch_sizes, strict=True):
            side = divides("patch size", patch_size, "the side", side)
            blocks = [MetaFormerBlock(dim, S2v2Mixer(dim), MLP(dim, mlp_ratio * dim), drop_path) for _ in range(depth)]
            stages.append(nn.Sequential(ConvNHWC(width, dim, patch_size, stride=patch_size), nn.Sequential(*blocks)))
            width = dim
        self.stages = nn.Sequential(*stages)
        self.head = nn.Linear(dims[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stages(x.permute(0, 2, 3, 1))  # B H W C
        return self.head(x.mean((1, 2)))  # B classes


class S2v2Mixer(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.split = nn.Linear(dim, 3 * dim)
        self.attention = SplitAttention(dim)
        self.merge = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        a, b, c = self.split(x).chunk(3, dim=-1)  # each B H W C
        branches = torch.stack([spatial_shift(a, 1, 2), spatial_shift(b, 2, 1), c], 1)  # B 3 H W C
        return self.merge(self.attention(branches))


class SplitAttention(nn.Module):
    """Sum of three branches, weighted for each channel by a softmax over the branches; pooled by sums, not by means."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(dim, dim // 4, bias=False)
        self.act = nn.GELU()
        self.expand = nn.Linear(dim // 4, 3 * dim, bias=False)

    def forward(self, branches: Tensor) -> Tensor:  # B 3 H W C
        weights = self.expand(self.act(self.reduce(branches.sum((1, 2, 3)))))  # B 3C
        weights = weights.unflatten(1, (3, -1)).softmax(1)  # B 3 C
        return (branches * weights[:, :, None, None]).sum(1)  # B H W C


def spatial_shift(x: Tensor, first: int, second: int) -> Tensor:
    """Four groups of channels, moved by +1 and −1 along the axis `first`, and by +1 and −1 along `second`.

    The position at the border that nothing moves to keeps its value.
    """
    dim = x.shape[-1]
    a, b, c, d = (x[..., dim * n // 4 : dim * (n + 1) // 4] for n in range(4))
    return torch.cat([_forward(a, first), _backward(b, first), _forward(c, second), _backward(d, second)], -1)


def _forward(x: Tensor, axis: int) -> Tensor:
    return torch.cat([x.narrow(axis, 0, 1), x.narrow(axis, 0, x.shape[axis] - 1)], axis)


def _backward(x: Tensor, axis: int) -> Tensor:
    return torch.cat([x.narrow(axis, 1, x.shape[axis] - 1), x.narrow(axis, x.shape[axis] - 1, 1)], axis)
