"""SPACH: one frame for convolution, MLP and attention as the mixing of tokens. arXiv:2108.13002.

B batch, H W grid of N tokens, C channels
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from mixbench.zoo.layers import (
    MLP,
    ConvNHWC,
    DropPath,
    GroupNorm1,
    at_least_one,
    conv_norm,
    divides,
    drop_paths,
    same_length,
)  # fmt: skip
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)
S, XXS = dict(dim=128, mlp_ratio=3, **IMAGENET), dict(dim=64, mlp_ratio=2, **IMAGENET)
TRANS = ("attention*2", "attention*6", "attention*2"), ("attention*4", "attention*12", "attention*3")
HYBRID = ("conv*3", "conv*2 attention*2", "conv*2 attention*10", "conv*1 attention*2")
STEM_DIM = 64


@register_model(
    family="SPACH",
    paper="arXiv:2108.13002",
    variants={
        "spach_conv_ms_xxs": dict(stages=("conv*2", "conv*2", "conv*6", "conv*2"), **XXS),
        "spach_conv_ms_s": dict(stages=("conv*3", "conv*4", "conv*12", "conv*3"), **S),
        "spach_mlp_ms_xxs": dict(stages=("conv*2", "mlp*2", "mlp*6", "mlp*2"), **XXS),
        "spach_mlp_ms_s": dict(stages=("conv*3", "mlp*4", "mlp*12", "mlp*3"), **S),
        "spach_trans_ms_xxs": dict(stages=("conv*2", *TRANS[0]), heads=1, **XXS | dict(dim=32)),
        "spach_trans_ms_s": dict(stages=("conv*3", *TRANS[1]), heads=3, **S | dict(dim=96)),
        "spach_hybrid_ms_s": dict(stages=HYBRID, heads=4, **S),
        "spach_hybrid_ms_s_plus": dict(stages=HYBRID, heads=4, conv_stem=True, **S),
    },
)
class SPACH(nn.Module):
    """`stages`: blocks in order, as "conv*2 attention*10"; `dim`: channels of the first, doubled by each later stage.

    A conv block has no other mixing of tokens than the 3 × 3 depthwise convolution that every block has.  `heads` of
    attention are as many in each stage.  One stage is the isotropic network, whose `drop_path` is the same in all
    blocks; with more it grows linearly.  `conv_stem`: four convolutions in place of one (the paper's +).
    """

    published_names = (
        (r"^stem\.proj", "stem"),
        (r"^norm1", "stem_norm"),
        (r"^norm2", "norm"),
        (r"^blocks", "stages.0"),
        *((f"^layer{stage + 1}", f"stages.{stage}") for stage in range(4)),
        (r"cpe_net\.net\.1", "local.proj"),
        (r"\.0\.net\.1", ".0"),
        (r"gamma_1", "scale"),
        (r"spatial_func\.fc1", "tokens.expand"),
        (r"spatial_func\.fc2", "tokens.contract"),
        (r"spatial_func", "tokens"),
        (r"channel_func\.fc1", "channel_mlp.expand"),
        (r"channel_func\.fc2", "channel_mlp.contract"),
    )

    def __init__(
        self,
        dim: int,
        stages: tuple[str, ...],
        mlp_ratio: int,
        heads: int = 1,
        token_ratio: float = 0.5,
        conv_stem: bool = False,
        patch_size: int = 4,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        kinds = [blocks_of(stage) for stage in stages]
        depths = tuple(len(stage) for stage in kinds)
        same_length(stages=depths)
        at_least_one(dim=dim, mlp_ratio=mlp_ratio, heads=heads, patch_size=patch_size)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        if any("attention" in stage for stage in kinds):
            divides("heads", heads, "dim", dim)
        side = divides("patch_size", patch_size, "image_size", image_size)
        rates = drop_paths(drop_path, depths) if len(depths) > 1 else [[drop_path] * depths[0]]
        self.stem = stem(in_chans, dim, patch_size, conv_stem)
        self.stem_norm = nn.LayerNorm(dim, eps=1e-6)
        built = list[nn.Module]()
        for stage, of_stage in enumerate(kinds):
            width, side = dim * 2**stage, side // 2 if stage else side
            if side < 1:
                raise ValueError(f"image_size {image_size}: no map is left in stage {stage + 1} of {len(stages)}")
            blocks = [
                SPACHBlock(kind, width, side**2, mlp_ratio, heads, token_ratio, rate)
                for kind, rate in zip(of_stage, rates[stage], strict=True)
            ]
            built.append(nn.Sequential(*([Halving(width // 2, width)] if stage else []), *blocks))
        self.stages = nn.Sequential(*built)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, num_classes)
        self.apply(initialise)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem_norm(self.stem(x).permute(0, 2, 3, 1))  # B H W C
        x = self.stages(x)  # B H W C
        return self.head(self.norm(x).mean((1, 2)))  # B classes


def stem(in_chans: int, dim: int, patch_size: int, convs: bool) -> nn.Module:
    if not convs:
        return nn.Conv2d(in_chans, dim, patch_size, patch_size)
    half = divides("the stem's first stride,", 2, "patch_size", patch_size)
    return nn.Sequential(
        *conv_norm(in_chans, STEM_DIM, 7, 2, 3, bias=False), nn.ReLU(),
        *conv_norm(STEM_DIM, STEM_DIM, 3, 1, 1, bias=False), nn.ReLU(),
        *conv_norm(STEM_DIM, STEM_DIM, 3, 1, 1, bias=False), nn.ReLU(),
        nn.Conv2d(STEM_DIM, dim, half, half),
    )  # fmt: skip


class Halving(nn.Sequential):
    def __init__(self, width: int, dim: int) -> None:
        super().__init__(nn.Conv2d(width, dim, 2, 2, bias=False), GroupNorm1(dim))

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        return super().forward(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # B H/2 W/2 2C


class SPACHBlock(nn.Module):
    def __init__(
        self, kind: str, dim: int, tokens: int, mlp_ratio: int, heads: int, token_ratio: float, drop_path: float
    ) -> None:
        super().__init__()
        self.kind = kind
        if kind != "conv":
            self.norm1 = nn.LayerNorm(dim, eps=1e-6)
            hidden_dim = int(tokens * token_ratio) or tokens
            self.tokens = TokenMLP(tokens, hidden_dim) if kind == "mlp" else Attention(dim, heads)
            self.scale = nn.Parameter(torch.full((dim,), 1e-4))
        self.local = ConvNHWC(dim, dim, 3, padding=1, groups=dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.channel_mlp = MLP(dim, mlp_ratio * dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        y = x + self.local(x)  # mixes neighbours along H and W
        if self.kind != "conv":
            mixed = self.tokens(self.norm1(x).flatten(1, 2)).view_as(x)  # mixes N
            y = y + self.drop_path(self.scale * mixed)
        return y + self.drop_path(self.channel_mlp(self.norm2(y)))  # mixes C


class TokenMLP(MLP):
    def forward(self, x: Tensor) -> Tensor:  # B N C
        return super().forward(x.mT).mT


class Attention(nn.Module):
    """Multi-head self-attention."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:  # B N C
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # each B heads N C/heads
        return self.proj(scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


def blocks_of(stage: str) -> list[str]:
    """The kinds of a stage's blocks: "conv*1 mlp*2" are conv, mlp, mlp.  Raises ValueError."""
    kinds = []
    for part in stage.split():
        kind, _, count = part.partition("*")
        if kind not in ("conv", "mlp", "attention") or not count.isdecimal():
            raise ValueError(f'stages: {part!r} is not a number of blocks such as "conv*2", "mlp*4" or "attention*4"')
        kinds += [kind] * int(count)
    return kinds


def initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
