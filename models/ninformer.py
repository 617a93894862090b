"""NiNformer: a Mixer inside of each block makes the values that gate a linear map of the tokens. arXiv:2403.02411.

B batch, N tokens, C channels
"""

from torch import Tensor, nn

from mixbench.zoo.layers import MLP, PatchTokens, at_least_one, divides
from mixbench.zoo.registry import register_model


@register_model(
    family="NiNformer",
    paper="arXiv:2403.02411",
    variants={
        "ninformer_256_4": dict(dim=256, depth=4, patch_size=4, hidden_dim=512, image_size=32, num_classes=10),
    },
)
class NiNformer(nn.Module):
    """`hidden_dim`: inside of all MLPs, over tokens and over channels.  `dropout`: after both layers of each."""

    published_names = (
        (r"^patcher", "stem.proj"),
        (r"^classifier", "head"),
        (r"^model", "blocks"),
        (r"\.mgu\.Mixer\.token_mix\.0", ".mixer.norm1"),
        (r"\.mgu\.Mixer\.token_mix\.2\.net\.0", ".mixer.token_mlp.expand"),
        (r"\.mgu\.Mixer\.token_mix\.2\.net\.3", ".mixer.token_mlp.contract"),
        (r"\.mgu\.Mixer\.channel_mix\.0", ".mixer.norm2"),
        (r"\.mgu\.Mixer\.channel_mix\.1\.net\.0", ".mixer.channel_mlp.expand"),
        (r"\.mgu\.Mixer\.channel_mix\.1\.net\.3", ".mixer.channel_mlp.contract"),
        (r"\.mgu\.proj", ".gated"),
        (r"\.ffn\.net\.0", ".channel_mlp.expand"),
        (r"\.ffn\.net\.3", ".channel_mlp.contract"),
    )

    def __init__(
        self,
        dim: int,
        depth: int,
        patch_size: int,
        hidden_dim: int,
        dropout: float = 0.5,
        image_size: int = 32,
        in_chans: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        at_least_one(dim=dim, depth=depth, patch_size=patch_size, hidden_dim=hidden_dim)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        if not 0 <= dropout < 1:
            raise ValueError(f"dropout is {dropout}, it must be at least 0 and below 1")
        tokens = divides("patch_size", patch_size, "image_size", image_size) ** 2
        self.stem = PatchTokens(in_chans, dim, patch_size)
        self.blocks = nn.Sequential(*[NiNBlock(tokens, dim, hidden_dim, dropout) for _ in range(depth)])
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x)  # B N C
        x = self.blocks(x)  # B N C
        return self.head(x.mean(1))  # B classes


class NiNBlock(nn.Module):
    """One LayerNorm, used twice, as in the authors' code."""

    def __init__(self, tokens: int, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.mixer = InnerMixer(tokens, dim, hidden_dim, dropout)
        self.gated = nn.Linear(dim, dim)
        self.channel_mlp = DropoutMLP(dim, hidden_dim, dropout)

    def forward(self, x: Tensor) -> Tensor:  # B N C
        y = self.norm(x)
        x = x + self.gated(y) * self.mixer(y)  # mixes N and C
        return x + self.channel_mlp(self.norm(x))  # mixes C


class InnerMixer(nn.Module):
    def __init__(self, tokens: int, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.token_mlp = DropoutMLP(tokens, hidden_dim, dropout)
        self.norm2 = nn.LayerNorm(dim)
        self.channel_mlp = DropoutMLP(dim, hidden_dim, dropout)

    def forward(self, x: Tensor) -> Tensor:  # B N C
        x = x + self.token_mlp(self.norm1(x).mT).mT  # mixes N
        return x + self.channel_mlp(self.norm2(x))  # mixes C


class DropoutMLP(MLP):
    def __init__(self, dim: int, hidden_dim: int, dropout: float) -> None:
        super().__init__(dim, hidden_dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return self.dropout(self.contract(self.dropout(self.act(self.expand(x)))))
