"""gMLP: the tokens are mixed by a gate whose values are linear in all tokens. arXiv:2105.08050; sizes as in timm.

B batch, N tokens, C channels, F hidden channels
"""

from torch import Tensor, nn

from mixbench.zoo.initialization import xavier_mlp
from mixbench.zoo.layers import (
    DropPath,
    PatchTokens,
    at_least_one,
    divides,
)
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)


@register_model(
    family="gMLP",
    paper="arXiv:2105.08050",
    variants={
        "gmlp_ti16": dict(dim=128, depth=30, patch_size=16, hidden_dim=768, **IMAGENET),
        "gmlp_s16": dict(dim=256, depth=30, patch_size=16, hidden_dim=1536, **IMAGENET),
        "gmlp_b16": dict(dim=512, depth=30, patch_size=16, hidden_dim=3072, **IMAGENET),
    },
)
class GMLP(nn.Module):
    """`hidden_dim` (the paper's d_ffn) is the width that the gate halves.

    Initialised as in timm: the gate's spatial map near zero with a bias of one, so that each block begins as an MLP.
    """

    published_names = (
        (r"mlp_channels\.fc1", "expand"),
        (r"mlp_channels\.gate\.proj", "gate.token_map"),
        (r"mlp_channels\.gate", "gate"),
        (r"mlp_channels\.fc2", "contract"),
    )

    def __init__(
        self,
        dim: int,
        depth: int,
        patch_size: int,
        hidden_dim: int,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        at_least_one(dim=dim, depth=depth, patch_size=patch_size, hidden_dim=hidden_dim)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        divides("the gate's 2 halves", 2, "hidden_dim", hidden_dim)
        tokens = divides("patch_size", patch_size, "image_size", image_size) ** 2
        self.stem = PatchTokens(in_chans, dim, patch_size)
        self.blocks = nn.Sequential(*[GMLPBlock(tokens, dim, hidden_dim, drop_path) for _ in range(depth)])
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head = nn.Linear(dim, num_classes)
        self.apply(xavier_mlp)
        self.apply(open_gates)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x)  # B N C
        x = self.blocks(x)  # B N C
        return self.head(self.norm(x).mean(1))  # B classes


class GMLPBlock(nn.Module):
    def __init__(self, tokens: int, dim: int, hidden_dim: int, drop_path: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.expand = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.gate = SpatialGate(tokens, hidden_dim // 2)
        self.contract = nn.Linear(hidden_dim // 2, dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # B N C
        return x + self.drop_path(self.contract(self.gate(self.act(self.expand(self.norm(x))))))


class SpatialGate(nn.Module):
    """Spatial gating unit: u · (W · LN(v) + b), W and b over the tokens, u and v the halves of the channels."""

    def __init__(self, tokens: int, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.token_map = nn.Linear(tokens, tokens)

    def forward(self, x: Tensor) -> Tensor:  # B N F
        u, v = x.chunk(2, dim=-1)  # each B N F/2
        return u * self.token_map(self.norm(v).mT).mT


def open_gates(module: nn.Module) -> None:
    if isinstance(module, SpatialGate):
        nn.init.normal_(module.token_map.weight, std=1e-6)
        nn.init.ones_(module.token_map.bias)
