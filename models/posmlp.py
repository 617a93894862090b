"""PosMLP: a gate whose maps of a window's tokens are made from relative positions. arXiv:2207.07284.

B batch, H W grid, C channels, N tokens of a window, M maps
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from mixbench.zoo.initialization import truncated
from mixbench.zoo.layers import ConvNHWC, DropPath, at_least_one, divides, drop_paths, same_length
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)


@register_model(
    family="PosMLP",
    paper="arXiv:2207.07284",
    variants={
        "posmlp_t": dict(dims=(96, 192, 384, 768), depths=(2, 2, 18, 2), **IMAGENET),
        "posmlp_s": dict(dims=(128, 256, 512, 1024), depths=(2, 2, 18, 2), **IMAGENET),
        "posmlp_b": dict(dims=(192, 384, 768, 1536), depths=(2, 2, 18, 2), **IMAGENET),
    },
)
class PosMLP(nn.Module):
    """A number for each stage: `windows`, their sides; `maps` of a window's tokens, which channels share in turn.

    S's width is the one whose parameters are the paper's 37 million.  B's width and depths are inferred likewise.
    """

    published_names = (
        (r"gate_unit\.pos\.rel_indices$", ""),
        (r"^patch_embed\.projs\.0", "stem.0"),
        (r"^patch_embed\.norms\.0", "stem.1"),
        (r"^patch_embed\.projs\.1", "stem.3"),
        (r"^patch_embed\.norms\.1", "stem.4"),
        (r"^patch_embed\.projs\.2", "stem.6"),
        (r"^patch_embed\.norms\.2", "stem.7"),
        (r"^levels\.(\d)\.pool\.conv", r"downs.\1.0.proj"),
        (r"^levels\.(\d)\.pool\.norm", r"downs.\1.1"),
        (r"^levels\.(\d)\.encoder", r"stages.\1"),
        (r"proj_c_e", "expand"),
        (r"proj_c_s", "contract"),
        (r"gate_unit\.pos\.attention_centers", "gate.centers"),
        (r"gate_unit\.pos\.attention_spreads", "gate.spreads"),
        (r"gate_unit\.pos\.token_proj_n_bias", "gate.bias"),
    )

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        windows: tuple[int, ...] = (14, 14, 14, 7),
        maps: tuple[int, ...] = (8, 16, 32, 64),
        mlp_ratios: tuple[int, ...] = (4, 4, 4, 2),
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        same_length(dims=dims, depths=depths, windows=windows, maps=maps, mlp_ratios=mlp_ratios)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        half = divides("halves:", 2, "dims", dims[0])
        for width, dim in pairwise(dims):
            divides("a stage's dims", width, "the next's", dim)
        self.stem = nn.Sequential(
            nn.Conv2d(in_chans, half, 3, 2, 1), nn.BatchNorm2d(half, 1e-6), nn.GELU(),
            nn.Conv2d(half, dims[0], 3, 2, 1), nn.BatchNorm2d(dims[0], 1e-6), nn.GELU(),
            nn.Conv2d(dims[0], dims[0], 1), nn.BatchNorm2d(dims[0], 1e-6),
        )  # fmt: skip
        self.downs = nn.ModuleDict(
            {
                str(stage): nn.Sequential(ConvNHWC(width, dim, 3, 2, 1, groups=width), nn.LayerNorm(dim, 1e-6))
                for stage, (width, dim) in enumerate(pairwise(dims), 1)
            }
        )
        self.stages, side = nn.ModuleList(), (image_size + 3) // 4
        for stage, rates in enumerate(drop_paths(drop_path, depths)):
            if stage:
                side = (side + 1) // 2
            divides("windows", windows[stage], "the side of the map", side)
            block = (dims[stage], mlp_ratios[stage] * dims[stage], windows[stage], maps[stage])
            self.stages.append(nn.Sequential(*[PosBlock(*block, rate) for rate in rates]))
        self.norm = nn.LayerNorm(dims[-1], 1e-6)
        self.head = nn.Linear(dims[-1], num_classes)
        self.apply(truncated)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x).permute(0, 2, 3, 1)  # B H W C
        for index, stage in enumerate(self.stages):
            x = stage(self.downs[str(index)](x) if index else x)
        return self.head(self.norm(x).mean((1, 2)))  # B classes


class PosBlock(nn.Module):
    """One residual around an MLP over the channels, whose hidden ones are mixed along the window and gated."""

    def __init__(self, dim: int, hidden_dim: int, window: int, maps: int, drop_path: float) -> None:
        super().__init__()
        half = divides("halves:", 2, "mlp_ratios · dims", hidden_dim)
        self.norm = nn.LayerNorm(dim, 1e-6)
        self.expand = nn.Linear(dim, hidden_dim)
        self.act = nn.GELU()
        self.gate = PositionalGate(half, window, maps)
        self.contract = nn.Linear(half, dim)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        y = self.gate(self.act(self.expand(self.norm(x))))  # mixes H and W
        return x + self.drop_path(self.contract(y))  # mixes C


class PositionalGate(nn.Module):
    """The first half of the channels, mixed along each window, times the second half.

    A map gives a target token shares of its window's tokens: a Gaussian of their distances to it, whose inverse
    covariance is `spreads` · `spreads`ᵀ and whose centre is `centers`; channel k is mixed by map k mod M.
    """

    def __init__(self, dim: int, window: int, maps: int) -> None:
        super().__init__()
        divides("maps", maps, "half of the hidden channels", dim)
        self.window = window
        self.centers = nn.Parameter(0.01 * torch.randn(maps, 2))
        self.spreads = nn.Parameter(torch.eye(2) + 0.01 * torch.randn(maps, 2, 2))
        self.bias = nn.Parameter(torch.zeros(1, window**2, 1))

    def shares(self) -> Tensor:  # M N_target N_source
        places = torch.arange(self.window, device=self.bias.device)
        row, column = places.repeat_interleave(self.window), places.repeat(self.window)
        dx, dy = column - column[:, None], row[:, None] - row  # N_target N_source
        distances = torch.stack([dx**2, dy**2, dx * dy, dx, dy], -1).to(self.spreads.dtype)  # N N 5
        (a, b), (d, c) = torch.matmul(self.spreads, self.spreads.mT).permute(1, 2, 0)  # M each
        x, y = self.centers.unbind(1)
        weights = torch.stack([a, c, b + d, -2 * (a * x + b * y), -2 * (c * y + d * x)], -1)  # M 5
        return linear(distances, -weights / 2).permute(2, 0, 1).softmax(2)

    def forward(self, x: Tensor) -> Tensor:  # B H W 2C
        k, maps = self.window, self.centers.shape[0]
        u, v = x.chunk(2, 3)
        b, h, w, _ = u.shape
        windows = u.reshape(b, h // k, k, w // k, k, -1, maps).permute(6, 2, 4, 0, 1, 3, 5)  # M K K B H/K W/K C/M
        mixed = torch.bmm(self.shares(), windows.reshape(maps, k * k, -1)) + self.bias  # M N …
        mixed = mixed.reshape(windows.shape).permute(3, 4, 1, 5, 2, 6, 0).reshape(u.shape)  # B H W C
        return mixed * v
