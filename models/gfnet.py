"""GFNet: a filter that is learnt in the frequency domain mixes all positions. arXiv:2107.00645.

B batch, H W grid, C channels
"""

import torch
from torch import Tensor, nn

from mixbench.zoo.initialization import truncated_linear
from mixbench.zoo.layers import (
    MLP,
    ConvNHWC,
    DropPath,
    at_least_one,
    divides,
    drop_paths,
    map_side,
    same_length,
)
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)
NARROW, WIDE = (64, 128, 256, 512), (96, 192, 384, 768)


@register_model(
    family="GFNet",
    paper="arXiv:2107.00645",
    variants={
        "gfnet_ti": dict(dims=(256,), depths=(12,), patch_size=16, **IMAGENET),
        "gfnet_xs": dict(dims=(384,), depths=(12,), patch_size=16, **IMAGENET),
        "gfnet_s": dict(dims=(384,), depths=(19,), patch_size=16, **IMAGENET),
        "gfnet_b": dict(dims=(512,), depths=(19,), patch_size=16, **IMAGENET),
        "gfnet_h_ti": dict(dims=NARROW, depths=(3, 3, 10, 3), patch_size=4, layer_scale=1e-3, **IMAGENET),
        "gfnet_h_s": dict(dims=WIDE, depths=(3, 3, 10, 3), patch_size=4, layer_scale=1e-5, **IMAGENET),
        "gfnet_h_b": dict(dims=WIDE, depths=(3, 3, 27, 3), patch_size=4, layer_scale=1e-6, **IMAGENET),
    },
)
class GFNet(nn.Module):
    """One stage (isotropic) or a pyramid.  `layer_scale`: initial factors of a branch's channels; 0: no factors."""

    published_names = (
        (r"^patch_embed\.proj", "embeddings.0.proj"),
        (r"^patch_embed", "embeddings"),
        (r"^pos_embed", "position"),
        (r"^blocks\.(\d+)\.(\d+)", r"stages.\1.\2"),
        (r"^blocks", "stages.0"),
        (r"filter\.complex_weight", "filter.weight"),
        (r"mlp\.fc1", "channel_mlp.expand"),
        (r"mlp\.fc2", "channel_mlp.contract"),
    )

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        patch_size: int,
        layer_scale: float = 0.0,
        mlp_ratio: int = 4,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        same_length(dims=dims, depths=depths)
        at_least_one(patch_size=patch_size, mlp_ratio=mlp_ratio)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        side, width = image_size, in_chans
        embeddings, stages = list[nn.Module](), list[nn.Module]()
        for dim, rates in zip(dims, drop_paths(drop_path, depths), strict=True):
            stride = 2 if stages else patch_size
            side = map_side(side, 2) if stages else divides("patch_size", patch_size, "image_size", image_size)
            embeddings.append(ConvNHWC(width, dim, stride, stride=stride))
            stages.append(nn.Sequential(*[FilterBlock(dim, side, mlp_ratio, layer_scale, rate) for rate in rates]))
            width = dim
        self.embeddings, self.stages = nn.ModuleList(embeddings), nn.ModuleList(stages)
        first_side = image_size // patch_size
        self.position = nn.Parameter(torch.empty(first_side, first_side, dims[0]))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Linear(width, num_classes)
        nn.init.trunc_normal_(self.position, std=0.02)
        self.apply(truncated_linear)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = x.permute(0, 2, 3, 1)  # B H W 3
        for index, (embedding, stage) in enumerate(zip(self.embeddings, self.stages, strict=True)):
            x = embedding(x)  # B H W C
            x = stage(x if index else x + self.position)
        return self.head(self.norm(x).mean((1, 2)))  # B classes


class FilterBlock(nn.Module):
    """One residual around filter and MLP."""

    def __init__(self, dim: int, side: int, mlp_ratio: int, layer_scale: float, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.filter = GlobalFilter(dim, side)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.channel_mlp = MLP(dim, mlp_ratio * dim)
        self.gamma = nn.Parameter(torch.full((dim,), layer_scale)) if layer_scale else None
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        mixed = self.channel_mlp(self.norm2(self.filter(self.norm1(x))))  # mixes H and W, then C
        return x + self.drop_path(mixed if self.gamma is None else self.gamma * mixed)


class GlobalFilter(nn.Module):
    """Each frequency of each channel times a complex number; real and imaginary parts are the weight's last axis."""

    def __init__(self, dim: int, side: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.02 * torch.randn(side, side // 2 + 1, dim, 2))

    def forward(self, x: Tensor) -> Tensor:  # B H W C
        exact = x.dtype if x.dtype == torch.float64 else torch.float32  # FFTs take no shorter ones
        weight = torch.view_as_complex(self.weight.to(exact).contiguous())
        spectrum = torch.fft.rfft2(x.to(exact), dim=(1, 2), norm="ortho")  # B H W/2+1 C
        return torch.fft.irfft2(spectrum * weight, s=x.shape[1:3], dim=(1, 2), norm="ortho").to(x.dtype)
