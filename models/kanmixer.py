"""KAN-Mixers: MLP-Mixer whose maps are sums of learnt splines (Kolmogorov-Arnold networks). arXiv:2503.08939.

Reconstructions: neither of the two papers states its sizes, norms and residuals. The layer is that of
github.com/Blealtan/efficient-kan.   B batch, N tokens, C channels, G grid intervals, K order of the splines
"""

from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from mixbench.zoo.layers import DropPath, PatchTokens, at_least_one, divides
from mixbench.zoo.registry import register_model

Base = Literal["silu", "gelu", "relu", "identity"]
BASES: dict[Base, type[nn.Module]] = {"silu": nn.SiLU, "gelu": nn.GELU, "relu": nn.ReLU, "identity": nn.Identity}
FASHION_MNIST = dict(dim=64, depth=4, patch_size=4, image_size=28, num_classes=10)


@register_model(
    family="KAN-Mixers",
    paper="arXiv:2503.08939",
    reconstruction=True,
    variants={"kanmixer_canuto": dict(token_dim=64, channel_dim=128, **FASHION_MNIST)},
)
@register_model(
    family="KAN-Mixer",
    paper="arXiv:2406.14916",
    reconstruction=True,
    variants={"kanmixer_cheon": dict(spline_stem=True, **FASHION_MNIST)},
)
class KANMixer(nn.Module):
    """`token_dim`, `channel_dim`: widths between the two layers of a mixing; 0: it is a single layer.

    `spline_stem`: patches are embedded by such a layer too.  The splines have `grid_size` intervals between −1 and 1
    and are of order `spline_order`; `base` is the activation of the linear map beside them.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        patch_size: int,
        token_dim: int = 0,
        channel_dim: int = 0,
        spline_stem: bool = False,
        grid_size: int = 5,
        spline_order: int = 3,
        base: Base = "silu",
        drop_path: float = 0.0,
        image_size: int = 28,
        in_chans: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        at_least_one(dim=dim, depth=depth, patch_size=patch_size, grid_size=grid_size, spline_order=spline_order)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        if min(token_dim, channel_dim) < 0:
            raise ValueError(f"token_dim {token_dim} and channel_dim {channel_dim} must be at least 0")
        tokens = divides("patch_size", patch_size, "image_size", image_size) ** 2

        def kan(in_dim: int, *dims: int) -> nn.Module:
            widths = [in_dim, *(dim for dim in dims if dim)]
            return nn.Sequential(*[KANLinear(*pair, grid_size, spline_order, base) for pair in pairwise(widths)])

        patches = nn.Unfold(patch_size, stride=patch_size)
        self.stem: nn.Module = (
            nn.Sequential(patches, Transposed(kan(patch_size**2 * in_chans, dim))) if spline_stem
            else PatchTokens(in_chans, dim, patch_size)
        )  # fmt: skip
        self.blocks = nn.Sequential(
            *[
                KANBlock(dim, kan(tokens, token_dim, tokens), kan(dim, channel_dim, dim), drop_path)
                for _ in range(depth)
            ]
        )
        self.norm = nn.LayerNorm(dim)
        self.head = kan(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x)  # B N C
        x = self.blocks(x)  # B N C
        return self.head(self.norm(x).mean(1))  # B classes


class Transposed(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:  # B C N
        return self.layer(x.mT)  # B N C


class KANBlock(nn.Module):
    def __init__(self, dim: int, token_kan: nn.Module, channel_kan: nn.Module, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim)
        self.token_kan = token_kan
        self.norm2 = nn.LayerNorm(dim)
        self.channel_kan = channel_kan
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # B N C
        x = x + self.drop_path(self.token_kan(self.norm1(x).mT).mT)  # mixes N
        return x + self.drop_path(self.channel_kan(self.norm2(x)))  # mixes C


class KANLinear(nn.Module):
    """Output j: Σ_i base_weight[j, i] · base(x_i) + spline_scaler[j, i] · Σ_g spline_weight[j, i, g] · B_g(x_i).

    B_g are B-splines whose knots, `grid`, are equally spaced and reach K intervals beyond −1 and 1.
    """

    grid: Tensor

    def __init__(self, in_dim: int, dim: int, grid_size: int = 5, spline_order: int = 3, base: Base = "silu") -> None:
        super().__init__()
        self.spline_order = spline_order
        self.base = BASES[base]()
        knots = torch.arange(-spline_order, grid_size + spline_order + 1) * (2 / grid_size) - 1
        self.register_buffer("grid", knots.expand(in_dim, -1).contiguous())
        self.base_weight, self.spline_scaler = (nn.Parameter(torch.empty(dim, in_dim)) for _ in range(2))
        self.spline_weight = nn.Parameter(torch.empty(dim, in_dim, grid_size + spline_order))
        for weight in (self.base_weight, self.spline_scaler):
            nn.init.kaiming_uniform_(weight, a=5**0.5)
        nn.init.uniform_(self.spline_weight, -0.05 / grid_size, 0.05 / grid_size)

    def forward(self, x: Tensor) -> Tensor:  # … C_in
        weight = self.spline_weight * self.spline_scaler.unsqueeze(2)  # C_out C_in G+K
        splines = b_splines(x, self.grid, self.spline_order)  # … C_in G+K
        return linear(self.base(x), self.base_weight) + linear(splines.flatten(-2), weight.flatten(1))


def b_splines(x: Tensor, grid: Tensor, order: int) -> Tensor:  # … C, C knots → … C knots − 1 − order
    """Values of all B-splines of an order, by the recursion of Cox and de Boor; zero outside of the knots."""
    away = x.unsqueeze(-1) - grid
    passed = (away >= 0).to(grid.dtype)
    splines = passed[..., :-1] - passed[..., 1:]
    for k in range(1, order + 1):
        splines = splines / (grid[:, k:] - grid[:, :-k])
        splines = away[..., : -k - 1] * splines[..., :-1] - away[..., k + 1 :] * splines[..., 1:]
    return splines
