"""MLP-Mixer: two MLPs, one over the tokens, one over the channels. arXiv:2105.01601.   B batch, N tokens, C channels"""

from torch import Tensor, nn

from mixbench.zoo.initialization import lecun_normal
from mixbench.zoo.layers import (
    MLP,
    DropPath,
    PatchTokens,
    at_least_one,
    divides,
)
from mixbench.zoo.registry import register_model

S = dict(dim=512, depth=8, token_dim=256, channel_dim=2048)
B = dict(dim=768, depth=12, token_dim=384, channel_dim=3072)
L = dict(dim=1024, depth=24, token_dim=512, channel_dim=4096)
H = dict(dim=1280, depth=32, token_dim=640, channel_dim=5120)
NANO = dict(dim=128, depth=8, token_dim=64, channel_dim=512)
IMAGENET = dict(image_size=224, num_classes=1000)
CIFAR = dict(image_size=32, num_classes=10)


@register_model(
    family="MLP-Mixer",
    paper="arXiv:2105.01601",
    variants={
        "mixer_s32": dict(patch_size=32, **S, **IMAGENET),
        "mixer_s16": dict(patch_size=16, **S, **IMAGENET),
        "mixer_b32": dict(patch_size=32, **B, **IMAGENET),
        "mixer_b16": dict(patch_size=16, **B, **IMAGENET),
        "mixer_l32": dict(patch_size=32, **L, **IMAGENET),
        "mixer_l16": dict(patch_size=16, **L, **IMAGENET),
        "mixer_h14": dict(patch_size=14, **H, **IMAGENET),
        "mixer_s4": dict(patch_size=4, **S, **CIFAR),
        "mixer_nano4": dict(patch_size=4, **NANO, **CIFAR),
    },
)
class MLPMixer(nn.Module):
    """`token_dim` and `channel_dim` are the widths inside the two MLPs (the paper's D_S and D_C).

    Initialised as in its authors' flax code: LeCun normal, zero biases, a zero classifier.
    """

    published_names = (  # timm's
        (r"mlp_tokens\.fc1", "token_mlp.expand"),
        (r"mlp_tokens\.fc2", "token_mlp.contract"),
        (r"mlp_channels\.fc1", "channel_mlp.expand"),
        (r"mlp_channels\.fc2", "channel_mlp.contract"),
    )

    def __init__(
        self,
        dim: int,
        depth: int,
        patch_size: int,
        token_dim: int,
        channel_dim: int,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        at_least_one(dim=dim, depth=depth, patch_size=patch_size, token_dim=token_dim, channel_dim=channel_dim)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        tokens = divides("patch_size", patch_size, "image_size", image_size) ** 2
        self.stem = PatchTokens(in_chans, dim, patch_size)
        self.blocks = nn.Sequential(*[MixerBlock(tokens, dim, token_dim, channel_dim, drop_path) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, num_classes)
        self.apply(initialise)
        nn.init.zeros_(self.head.weight)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x)  # B N C
        x = self.blocks(x)  # B N C
        return self.head(self.norm(x).mean(1))  # B classes


class MixerBlock(nn.Module):
    def __init__(self, tokens: int, dim: int, token_dim: int, channel_dim: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.token_mlp = MLP(tokens, token_dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.channel_mlp = MLP(dim, channel_dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # B N C
        x = x + self.drop_path(self.token_mlp(self.norm1(x).mT).mT)  # mixes N
        return x + self.drop_path(self.channel_mlp(self.norm2(x)))  # mixes C


def initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear | nn.Conv2d):
        lecun_normal(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
