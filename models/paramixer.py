"""ParaMixer, SymMixer, AsymMixer: both MLPs beside each other, as a Hopfield network's layers.

github.com/Toshihiro-Ota/paramixer.  Its penalty on AsymMixer's free maps, a part of its loss, is not ours.
B batch, N tokens, C channels
"""

from typing import Literal

from torch import Tensor, nn
from torch.nn.functional import linear

from mixbench.zoo.initialization import xavier_mlp
from mixbench.zoo.layers import (
    DropPath,
    PatchTokens,
    at_least_one,
    divides,
)
from mixbench.zoo.registry import register_model

Maps = Literal["two", "tied", "tied and free"]
SHAPE = dict(image_size=224, num_classes=10)  # CIFAR-10's images enlarged, as the authors train
S32 = dict(dim=512, depth=8, patch_size=32, **SHAPE)
S16 = dict(dim=512, depth=8, patch_size=16, **SHAPE)
B16 = dict(dim=768, depth=12, patch_size=16, **SHAPE)


@register_model(
    family="ParaMixer",
    variants={
        "nbmixer_s32": dict(serial=True, **S32),
        "nbmixer_s16": dict(serial=True, **S16),
        "nbmixer_b16": dict(serial=True, **B16),
        "paramixer_s32": dict(**S32),
        "paramixer_s16": dict(**S16),
        "paramixer_b16": dict(**B16),
        "symmixer_s32": dict(maps="tied", **S32),
        "symmixer_s16": dict(maps="tied", **S16),
        "symmixer_b16": dict(maps="tied", **B16),
        "asymmixer_s32": dict(maps="tied and free", **S32),
        "asymmixer_s16": dict(maps="tied and free", **S16),
        "asymmixer_b16": dict(maps="tied and free", **B16),
    },
)
class ParaMixer(nn.Module):
    """MLP-Mixer without biases in its MLPs, its LayerNorms over tokens and channels together.

    `serial`: the token MLP before the channel MLP, as in MLP-Mixer, in place of both on the same input.  `maps`: the
    second map of an MLP is another one (two), the first one transposed (tied), or the sum of both (tied and free).
    `hidden_ratio` widens both MLPs; each block is applied `iterations` times.
    """

    published_names = (
        (r"mlp_tokens\.fc1", "token_mlp.first"),
        (r"mlp_tokens\.fc2", "token_mlp.second"),
        (r"mlp_channels\.fc1", "channel_mlp.first"),
        (r"mlp_channels\.fc2", "channel_mlp.second"),
    )

    def __init__(
        self,
        dim: int,
        depth: int,
        patch_size: int,
        serial: bool = False,
        maps: Maps = "two",
        hidden_ratio: int = 1,
        iterations: int = 1,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        at_least_one(depth=depth, patch_size=patch_size, hidden_ratio=hidden_ratio, iterations=iterations)
        if dim < 2:
            raise ValueError(f"dim is {dim}, it must be at least 2")
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        tokens = divides("patch_size", patch_size, "image_size", image_size) ** 2
        block = SerialBlock if serial else ParallelBlock
        self.stem = PatchTokens(in_chans, dim, patch_size)
        self.iterations = iterations
        self.blocks = nn.ModuleList(block(tokens, dim, maps, hidden_ratio, drop_path) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, num_classes)
        self.apply(xavier_mlp)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x)  # B N C
        for block in self.blocks:
            for _ in range(self.iterations):
                x = block(x)  # B N C
        return self.head(self.norm(x).mean(1))  # B classes


class SerialBlock(nn.Module):
    def __init__(self, tokens: int, dim: int, maps: Maps, hidden_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm((tokens, dim), eps=1e-6)
        self.token_mlp = HopfieldMLP(tokens, dim // 2 * hidden_ratio, maps)
        self.norm2 = nn.LayerNorm((tokens, dim), eps=1e-6)
        self.channel_mlp = HopfieldMLP(dim, 4 * dim * hidden_ratio, maps)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # B N C
        x = x + self.drop_path(self.token_mlp(self.norm1(x).mT).mT)  # mixes N
        return x + self.drop_path(self.channel_mlp(self.norm2(x)))  # mixes C


class ParallelBlock(nn.Module):
    def __init__(self, tokens: int, dim: int, maps: Maps, hidden_ratio: int, drop_path: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm((tokens, dim), eps=1e-6)
        self.token_mlp = HopfieldMLP(tokens, dim // 2 * hidden_ratio, maps)
        self.channel_mlp = HopfieldMLP(dim, 4 * dim * hidden_ratio, maps)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # B N C
        y = self.norm(x)
        return x + self.drop_path(self.token_mlp(y.mT).mT) + self.drop_path(self.channel_mlp(y))  # mixes N and C


class HopfieldMLP(nn.Module):
    """second(GELU(first(x))) without biases.  The tied one's single map has the name `second`, as the authors'."""

    def __init__(self, dim: int, hidden_dim: int, maps: Maps) -> None:
        super().__init__()
        self.maps = maps
        self.act = nn.GELU()
        if maps == "tied":
            self.second = nn.Linear(dim, hidden_dim, bias=False)
        else:
            self.first = nn.Linear(dim, hidden_dim, bias=False)
            self.second = nn.Linear(hidden_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.maps == "tied":
            return linear(self.act(self.second(x)), self.second.weight.mT)
        hidden = self.act(self.first(x))
        return self.second(hidden) + (linear(hidden, self.first.weight.mT) if self.maps == "tied and free" else 0)
