"""ConvMLP: a convolutional first stage, then MLPs over the channels around depthwise convolutions. arXiv:2109.04454.

B batch, C channels, H W grid
"""

from torch import Tensor, nn

from mixbench.zoo.initialization import truncated_linear
from mixbench.zoo.layers import (
    MLP,
    ConvNHWC,
    DropPath,
    Residual,
    at_least_one,
    conv_norm,
    drop_paths,
    same_length,
)
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)


@register_model(
    family="ConvMLP",
    paper="arXiv:2109.04454",
    variants={
        "convmlp_s": dict(
            conv_dim=64, conv_depth=2, dims=(128, 256, 512), depths=(2, 4, 2), mlp_ratios=(2, 2, 2), **IMAGENET
        ),
        "convmlp_m": dict(
            conv_dim=64, conv_depth=3, dims=(128, 256, 512), depths=(3, 6, 3), mlp_ratios=(3, 3, 3), **IMAGENET
        ),
        "convmlp_l": dict(
            conv_dim=96, conv_depth=3, dims=(192, 384, 768), depths=(4, 8, 3), mlp_ratios=(3, 3, 3), **IMAGENET
        ),
    },
)
class ConvMLP(nn.Module):
    """`conv_dim`, `conv_depth`: width and blocks of the convolutional stage.  `drop_path` grows in each stage."""

    published_names = (
        (r"^tokenizer\.block", "tokenizer"),
        (r"^conv_stages\.conv_blocks\.(\d+)", r"conv_blocks.\1.branch"),
        (r"^conv_stages\.downsample", "downsamples.0.proj"),
        (r"^stages\.0\.downsample_mlp\.downsample", "downsamples.1.proj"),
        (r"^stages\.1\.downsample_mlp\.downsample", "downsamples.2.proj"),
        (r"^stages\.(\d+)\.blocks", r"stages.\1"),
        (r"\.connect\.", ".connect.proj."),
        (r"channel_mlp([12])\.fc1", r"channel_mlp\1.expand"),
        (r"channel_mlp([12])\.fc2", r"channel_mlp\1.contract"),
    )

    def __init__(
        self,
        conv_dim: int,
        conv_depth: int,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        mlp_ratios: tuple[int, ...],
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        same_length(dims=dims, depths=depths, mlp_ratios=mlp_ratios)
        at_least_one(conv_dim=conv_dim // 2, conv_depth=conv_depth)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        self.tokenizer = nn.Sequential(
            *conv_norm(in_chans, conv_dim // 2, 3, 2, 1, bias=False), nn.ReLU(),
            *conv_norm(conv_dim // 2, conv_dim // 2, 3, 1, 1, bias=False), nn.ReLU(),
            *conv_norm(conv_dim // 2, conv_dim, 3, 1, 1, bias=False), nn.ReLU(),
            nn.MaxPool2d(3, 2, 1),
        )  # fmt: skip
        self.conv_blocks = nn.Sequential(*[conv_block(conv_dim, dims[0]) for _ in range(conv_depth)])
        stages = [
            nn.Sequential(*[ConvMLPBlock(dim, ratio, rate) for rate in drop_paths(drop_path, [depth])[0]])
            for dim, depth, ratio in zip(dims, depths, mlp_ratios, strict=True)
        ]
        self.stages = nn.ModuleList(stages)
        self.norm = nn.LayerNorm(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)
        self.apply(initialise)
        widths = (conv_dim, *dims)  # torch's default initialisation for the following
        self.downsamples = nn.ModuleList(
            [ConvNHWC(width, dim, 3, stride=2, padding=1) for width, dim in zip(widths, dims, strict=False)]
        )

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.conv_blocks(self.tokenizer(x))  # B C H W
        x = x.permute(0, 2, 3, 1)  # B H W C
        for downsample, stage in zip(self.downsamples, self.stages, strict=True):
            x = stage(downsample(x))
        return self.head(self.norm(x).mean((1, 2)))  # B classes


def conv_block(dim: int, hidden_dim: int) -> Residual:
    """A bottleneck of 1 × 1, 3 × 3 and 1 × 1 convolutions, its last ReLU before the residual is added."""
    return Residual(
        *conv_norm(dim, hidden_dim, 1, 1, 0, bias=False), nn.ReLU(),
        *conv_norm(hidden_dim, hidden_dim, 3, 1, 1, bias=False), nn.ReLU(),
        *conv_norm(hidden_dim, dim, 1, 1, 0, bias=False), nn.ReLU(),
    )  # fmt: skip


class ConvMLPBlock(nn.Module):
    def __init__(self, dim: int, mlp_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.channel_mlp1 = MLP(dim, mlp_ratio * dim)
        self.connect_norm = nn.LayerNorm(dim)
        self.connect = ConvNHWC(dim, dim, 3, padding=1, groups=dim, bias=False)
        self.norm2 = nn.LayerNorm(dim)
        self.channel_mlp2 = MLP(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        x = x + self.drop_path(self.channel_mlp1(self.norm1(x)))  # mixes C
        x = self.connect(self.connect_norm(x))  # mixes neighbours along H and W, without a residual
        return x + self.drop_path(self.channel_mlp2(self.norm2(x)))  # mixes C


def initialise(module: nn.Module) -> None:
    truncated_linear(module)
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight)
