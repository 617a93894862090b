"""HyperMixer: the maps of the token MLP are generated from the tokens. arXiv:2203.03691.

The mixing layer is its authors' (github.com/idiap/hypermixing, for texts); the network around it is ours: MLP-Mixer's.
B batch, N tokens, C channels, H heads, K hidden tokens of a head
"""

import torch
from torch import Tensor, nn

from mixbench.zoo.initialization import xavier_mlp
from mixbench.zoo.layers import MLP, MetaFormerBlock, PatchTokens, at_least_one, divides
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)


@register_model(
    family="HyperMixer",
    paper="arXiv:2203.03691",
    reconstruction=True,
    variants={"hypermixer_s16": dict(dim=512, depth=8, patch_size=16, token_dim=256, heads=8, **IMAGENET)},
)
class HyperMixer(nn.Module):
    """`token_dim`: hidden tokens of all heads together; a head has its own channels and hidden tokens.

    The learnt positions are ours as well: beside normalised tokens the layer's own are too small to tell patches apart.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        patch_size: int,
        token_dim: int,
        heads: int,
        mlp_ratio: int = 4,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        at_least_one(dim=dim, depth=depth, patch_size=patch_size, token_dim=token_dim, heads=heads, mlp_ratio=mlp_ratio)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        tokens = divides("patch_size", patch_size, "image_size", image_size) ** 2
        self.stem = PatchTokens(in_chans, dim, patch_size)
        self.position = nn.Parameter(torch.empty(tokens, dim))
        self.blocks = nn.Sequential(
            *[
                MetaFormerBlock(dim, HyperMixing(tokens, dim, token_dim, heads), MLP(dim, mlp_ratio * dim), drop_path)
                for _ in range(depth)
            ]
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)
        self.apply(xavier_mlp)
        nn.init.trunc_normal_(self.position, std=0.02)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x) + self.position  # B N C
        x = self.blocks(x)  # B N C
        return self.head(self.norm(x).mean(1))  # B classes


class HyperMixing(nn.Module):
    """LayerNorm(W2 GELU(W1ᵀ x)): W1 and W2, N × K for each head, are functions of the tokens and their positions."""

    published_names = (
        (r"^token_information\.pe$", ""),
        (r"^hyper\.w1_gen\.", "first."),
        (r"^hyper\.w2_gen\.", "second."),
        (r"fc1_weights$", "expand"),
        (r"fc2_weights$", "contract"),
        (r"^layer_norm", "norm"),
    )

    def __init__(self, tokens: int, dim: int, token_dim: int, heads: int) -> None:
        super().__init__()
        head_dim, hidden = divides("heads", heads, "dim", dim), divides("heads", heads, "token_dim", token_dim)
        divides("pairs of sine and cosine:", 2, "dim", dim)
        self.first, self.second = (TokenMaps(heads, head_dim, hidden) for _ in range(2))
        self.act = nn.GELU()
        self.norm = nn.LayerNorm(dim)
        self.register_buffer("positions", positions(tokens, dim), persistent=False)

    def forward(self, x: Tensor) -> Tensor:  # B N C
        heads = self.first.expand.shape[0]
        placed = (x * x.shape[2] ** 0.5 + self.positions).unflatten(2, (heads, -1)).transpose(1, 2)  # B H N C/H
        values = x.unflatten(2, (heads, -1)).transpose(1, 2)  # B H N C/H
        hidden = self.act(torch.matmul(self.first(placed).mT, values))  # B H K C/H
        mixed = torch.matmul(self.second(placed), hidden)  # B H N C/H
        return self.norm(mixed.transpose(1, 2).flatten(2))


class TokenMaps(nn.Module):
    """A row of K numbers from each token, head by head: two maps without biases, a GELU between them."""

    def __init__(self, heads: int, head_dim: int, hidden: int) -> None:
        super().__init__()
        self.expand = nn.Parameter(torch.empty(heads, head_dim, head_dim))
        self.act = nn.GELU()
        self.contract = nn.Parameter(torch.empty(heads, hidden, head_dim))
        for weight in (self.expand, self.contract):
            nn.init.xavier_uniform_(weight, gain=2**0.5)

    def forward(self, x: Tensor) -> Tensor:  # B H N C/H
        return torch.matmul(self.act(torch.matmul(x, self.expand.mT)), self.contract.mT)


def positions(tokens: int, dim: int) -> Tensor:  # N C
    """Sines and cosines of the positions 1, 2, …, N; as in the authors' code, exponents are twice those customary."""
    place = torch.arange(1, tokens + 1, dtype=torch.float64).unsqueeze(1)
    even = torch.arange(0, dim, 2, dtype=torch.float64)
    sines, cosines = (place / 10000 ** (2 * channel / dim) for channel in (even, even + 1))
    return torch.stack([sines.sin(), cosines.cos()], 2).flatten(1).float()
