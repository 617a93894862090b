"""sMLPNet: linear maps along rows and columns, the same for all channels, and a convolution. arXiv:2109.05422.

B batch, C channels, H W grid
"""

from itertools import accumulate

from torch import Tensor, nn

from mixbench.zoo.layers import MLP, DropPath, RowColumnMLP, at_least_one, drop_paths, same_length
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)


@register_model(
    family="sMLPNet",
    paper="arXiv:2109.05422",
    variants={
        "smlpnet_t": dict(dim=80, depths=(2, 8, 14, 2), **IMAGENET),
        "smlpnet_s": dict(dim=96, depths=(2, 10, 24, 2), **IMAGENET),
        "smlpnet_b": dict(dim=112, depths=(2, 10, 24, 2), **IMAGENET),
    },
)
class SMLPNet(nn.Module):
    """`dim`: the channels of the first stage; each later stage has twice as many on a map of half the side."""

    published_names = (
        (r"^to_patch_embedding\.(\d+)\.0", r"embeddings.\1"),
        (r"^token_mix\.(\d+)\.0\.conv_merge\.BN", r"blocks.\1.tokens.norm1"),
        (r"^token_mix\.(\d+)\.0\.conv_merge\.Conv", r"blocks.\1.tokens.conv"),
        (r"^token_mix\.(\d+)\.1\.BN", r"blocks.\1.tokens.norm2"),
        (r"^token_mix\.(\d+)\.1\.proj_h", r"blocks.\1.tokens.rows_and_columns.along_width"),
        (r"^token_mix\.(\d+)\.1\.proh_w", r"blocks.\1.tokens.rows_and_columns.along_height"),
        (r"^token_mix\.(\d+)\.1\.fuse", r"blocks.\1.tokens.rows_and_columns.merge"),
        (r"^channel_mix\.(\d+)\.1", r"blocks.\1.norm"),
        (r"^channel_mix\.(\d+)\.2\.net\.0", r"blocks.\1.channel_mlp.expand"),
        (r"^channel_mix\.(\d+)\.2\.net\.3", r"blocks.\1.channel_mlp.contract"),
        (r"^batch_norm", "norm"),
        (r"^mlp_head\.0", "head"),
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
        same_length(depths=depths)
        at_least_one(dim=dim, mlp_ratio=mlp_ratio, patch_size=patch_size)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        embeddings, blocks, side, width = list[nn.Module](), list[nn.Module](), image_size, in_chans
        for stage, rates in enumerate(drop_paths(drop_path, depths)):
            stride, channels = 2 if stage else patch_size, dim * 2**stage
            side //= stride
            if side < 1:
                raise ValueError(f"image_size {image_size}: no map is left in stage {stage + 1} of {len(depths)}")
            embeddings.append(nn.Conv2d(width, channels, stride, stride, bias=False))
            blocks += [SparseBlock(channels, side, mlp_ratio, rate) for rate in rates]
            width = channels
        self.stage_starts = [0, *accumulate(depths)][:-1]
        self.embeddings, self.blocks = nn.ModuleList(embeddings), nn.ModuleList(blocks)
        self.norm = nn.BatchNorm2d(width)
        self.head = nn.Linear(width, num_classes)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        for index, block in enumerate(self.blocks):
            if index in self.stage_starts:
                x = self.embeddings[self.stage_starts.index(index)](x)  # B C H W, a stage's first map
            x = block(x)  # B C H W
        return self.head(self.norm(x).mean((2, 3)))  # B classes


class SparseBlock(nn.Module):
    def __init__(self, dim: int, side: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.tokens = SparseMLP(dim, side)
        self.norm = nn.LayerNorm(dim)
        self.channel_mlp = MLP(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        x = x + self.drop_path(self.tokens(x))  # mixes H and W
        mixed = self.channel_mlp(self.norm(x.permute(0, 2, 3, 1)))  # mixes C
        return x + self.drop_path(mixed.permute(0, 3, 1, 2))


class SparseMLP(nn.Module):
    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(dim)
        self.act = nn.GELU()
        self.conv = nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False)
        self.norm2 = nn.BatchNorm2d(dim)
        self.rows_and_columns = RowColumnMLP(dim, side)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        x = self.conv(self.act(self.norm1(x)))
        return self.rows_and_columns(self.act(self.norm2(x)))
