"""RaMLP: a linear map over a few distant positions and some channels at a time, and a gate. IJCAI 2023.

github.com/xiaolai-sqlai/RaMLP.  B batch, H W grid, C channels, E expanded channels, K positions apart, D channels a run
"""

import torch
from torch import Tensor, nn

from mixbench.zoo.initialization import truncated
from mixbench.zoo.layers import ConvNHWC, DropPath, at_least_one, divides, drop_paths, map_sides, same_length
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)


@register_model(
    family="RaMLP",
    paper="IJCAI 2023",
    variants={
        "ramlp_t": dict(dims=(64, 128, 256, 512), depths=(3, 3, 12, 3), **IMAGENET),
        "ramlp_s": dict(dims=(64, 128, 256, 512), depths=(3, 8, 26, 3), **IMAGENET),
        "ramlp_b": dict(dims=(80, 160, 320, 640), depths=(3, 8, 26, 3), **IMAGENET),
    },
)
class RaMLP(nn.Module):
    """A number for each stage: `positions`, those a side that are mapped together, each as far from the next as can be;
    `run_dims`, the channels that are; `expansions` of the channels before; `mlp_ratios`; `scaled`, learnt factors.
    """

    published_names = (
        (r"^down_0\.conv", "downs.0.0.proj"),
        (r"^down_0\.post_norm", "downs.0.1"),
        (r"^down_(\d)\.pre_norm", r"downs.\1.0"),
        (r"^down_(\d)\.conv", r"downs.\1.1.proj"),
        (r"\.cpe", ".position.proj"),
        (r"token_mixer\.pwconv1", "mix.expand"),
        (r"token_mixer\.dwconv1", "mix.local.proj"),
        (r"token_mixer\.sfc", "mix.regions"),
        (r"token_mixer\.bn1", "mix.norm"),
        (r"token_mixer\.pwconv2", "mix.gate"),
        (r"token_mixer\.bn2", "mix.gate_norm"),
        (r"token_mixer\.proj", "mix.contract"),
        (r"res_scale(\d)\.scale", r"scale\1"),
        (r"mlp\.fc1", "channel_mlp.0"),
        (r"mlp\.act\.bias", "channel_mlp.1.offset"),
        (r"mlp\.fc2", "channel_mlp.2"),
        (r"^head\.fc1", "head.0"),
        (r"^head\.norm", "head.2"),
        (r"^head\.fc2", "head.3"),
    )

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        positions: tuple[int, ...] = (8, 4, 2, 1),
        run_dims: tuple[int, ...] = (1, 4, 16, 64),
        expansions: tuple[int, ...] = (3, 3, 2, 2),
        mlp_ratios: tuple[int, ...] = (4, 4, 3, 3),
        scaled: tuple[bool, ...] = (False, False, True, True),
        patch_size: int = 4,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        same_length(dims=dims, depths=depths, positions=positions, run_dims=run_dims, expansions=expansions,
                    mlp_ratios=mlp_ratios, scaled=tuple(1 for _ in scaled))  # fmt: skip
        at_least_one(patch_size=patch_size, image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        self.downs, self.stages = nn.ModuleList(), nn.ModuleList()
        sides, width = map_sides(image_size, patch_size, (2,) * (len(dims) - 1)), in_chans
        for stage, (dim, rates) in enumerate(zip(dims, drop_paths(drop_path, depths), strict=True)):
            if stage:
                self.downs.append(nn.Sequential(nn.LayerNorm(width, 1e-6), ConvNHWC(width, dim, 3, 2, 1)))
            else:
                self.downs.append(nn.Sequential(ConvNHWC(width, dim, 7, patch_size, 2), nn.LayerNorm(dim, 1e-6)))
            divides("positions", positions[stage], "the side of the map", sides[stage])
            divides("run_dims", run_dims[stage], "the expanded channels", expansions[stage] * dim)
            blocks = [
                RaBlock(
                    dim,
                    RegionMixing(dim, expansions[stage] * dim, positions[stage], run_dims[stage]),
                    mlp_ratios[stage],
                    scaled[stage],
                    rate,
                )
                for rate in rates
            ]
            self.stages.append(nn.Sequential(*blocks))
            width = dim
        self.norm = nn.LayerNorm(width, 1e-6)
        self.head = nn.Sequential(
            nn.Linear(width, 4 * width), SquaredReLU(learnt=False), nn.LayerNorm(4 * width),
            nn.Linear(4 * width, num_classes),
        )  # fmt: skip
        self.apply(truncated)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = x.permute(0, 2, 3, 1)
        for down, stage in zip(self.downs, self.stages, strict=True):
            x = stage(down(x))  # B H W C
        return self.head(self.norm(x.mean((1, 2))))  # B classes


class RaBlock(nn.Module):
    def __init__(self, dim: int, mix: nn.Module, mlp_ratio: int, scaled: bool, drop_path: float) -> None:
        super().__init__()
        self.position = ConvNHWC(dim, dim, 3, padding=1, groups=dim, bias=False)
        self.norm1 = nn.LayerNorm(dim, 1e-6)
        self.mix = mix
        self.norm2 = nn.LayerNorm(dim, 1e-6)
        hidden_dim = mlp_ratio * dim
        self.channel_mlp = nn.Sequential(
            nn.Linear(dim, hidden_dim, bias=False), SquaredReLU(), nn.Linear(hidden_dim, dim, bias=False)
        )
        self.scale1, self.scale2 = (nn.Parameter(torch.ones(dim)) if scaled else None for _ in range(2))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        x = x + self.position(x)
        kept = x if self.scale1 is None else self.scale1 * x
        x = kept + self.drop_path(self.mix(self.norm1(x)))  # mixes H and W
        kept = x if self.scale2 is None else self.scale2 * x
        return kept + self.drop_path(self.channel_mlp(self.norm2(x)))  # mixes C


class RegionMixing(nn.Module):
    """One linear map for all groups of K × K positions, H/K and W/K apart, and D neighbouring channels; then a gate."""

    def __init__(self, dim: int, hidden_dim: int, positions: int, run_dim: int) -> None:
        super().__init__()
        self.positions, self.run_dim = positions, run_dim
        size = positions**2 * run_dim
        self.expand = nn.Linear(dim, hidden_dim, bias=False)
        self.local = ConvNHWC(hidden_dim, hidden_dim, 5, padding=2, groups=hidden_dim, bias=False)
        self.regions = nn.Linear(size, size, bias=False)
        self.norm = nn.BatchNorm1d(hidden_dim)
        self.gate = nn.Linear(dim, hidden_dim, bias=False)
        self.gate_norm = nn.BatchNorm1d(hidden_dim)
        self.contract = nn.Linear(hidden_dim, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        b, h, w, _ = x.shape
        k, d = self.positions, self.run_dim
        a = self.local(self.expand(x)).reshape(b, k, h // k, k, w // k, -1, d)
        groups = a.permute(0, 2, 4, 5, 6, 1, 3).flatten(4)  # B H/K W/K E/D DKK
        groups = self.regions(groups / groups.shape[-1]).unflatten(4, (d, k, k))
        a = groups.permute(0, 5, 1, 6, 2, 3, 4).reshape(b * h * w, -1)  # BHW E
        gate = self.gate(x).flatten(0, 2)
        return self.contract(self.norm(a) * self.gate_norm(gate)).unflatten(0, (b, h, w))


class SquaredReLU(nn.Module):
    """relu(x)², plus a learnt number that begins as 0."""

    def __init__(self, learnt: bool = True) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(1)) if learnt else None

    def forward(self, x: Tensor) -> Tensor:
        squared = x.relu().square()
        return squared if self.offset is None else squared + self.offset
