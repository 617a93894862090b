"""Wave-MLP: tokens as waves, their amplitudes and phases computed from the input, added in windows. arXiv:2111.12294.

B batch, C channels, H W grid
"""

from typing import Literal

import torch
from torch import Tensor, nn

from mixbench.zoo.initialization import truncated_linear
from mixbench.zoo.layers import (
    NORMS,
    PERMUTATOR_NAMES,
    MetaFormerBlock,
    Norm,
    PointwiseMLP,
    Reweight,
    at_least_one,
    conv_norm,
    drop_paths,
    map_sides,
    pyramid,
    same_length,
)
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)
DIMS = (64, 128, 320, 512)
WINDOW = 7


@register_model(
    family="Wave-MLP",
    paper="arXiv:2111.12294",
    variants={
        "wavemlp_t_dw": dict(dims=DIMS, depths=(2, 2, 4, 2), mlp_ratios=(4, 4, 4, 4), phase="depthwise", **IMAGENET),
        "wavemlp_t": dict(dims=DIMS, depths=(2, 2, 4, 2), mlp_ratios=(4, 4, 4, 4), **IMAGENET),
        "wavemlp_s": dict(dims=DIMS, depths=(2, 3, 10, 3), mlp_ratios=(4, 4, 4, 4), norm="group", **IMAGENET),
        "wavemlp_m": dict(
            dims=DIMS, depths=(3, 4, 18, 3), mlp_ratios=(8, 8, 4, 4), norm="group", norm_after_conv=False, **IMAGENET
        ),
        "wavemlp_b": dict(
            dims=(96, 192, 384, 768), depths=(2, 2, 18, 2), mlp_ratios=(4, 4, 4, 4), norm="group",
            norm_after_conv=False, **IMAGENET,
        ),
    },
)  # fmt: skip
class WaveMLP(nn.Module):
    """`phase`: computed by a 1×1 convolution (pointwise) or by a 3×3 depthwise one.

    `norm_after_conv`: whether the stem and the downsampling convolutions are normalised.  `patch_size` is the stride of
    the stem, whose kernel is 7 × 7; `strides` are those between the stages.
    """

    published_names = (
        (r"^patch_embed\.proj", "stem.0"),
        (r"^patch_embed\.norm", "stem.1"),
        (r"^network\.(\d+)\.proj", r"stages.\1.0"),
        (r"^network\.(\d+)\.norm", r"stages.\1.1"),
        (r"\.attn\.fc_h", ".mix.along_width.amplitude"),
        (r"\.attn\.fc_w", ".mix.along_height.amplitude"),
        (r"\.attn\.theta_h_conv", ".mix.along_width.phase"),
        (r"\.attn\.theta_w_conv", ".mix.along_height.phase"),
        (r"\.attn\.tfc_h", ".mix.along_width.window"),
        (r"\.attn\.tfc_w", ".mix.along_height.window"),
        (r"\.attn\.fc_c", ".mix.channels"),
        *PERMUTATOR_NAMES,
    )

    def __init__(
        self,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        mlp_ratios: tuple[int, ...],
        phase: Literal["pointwise", "depthwise"] = "pointwise",
        norm: Norm = "batch",
        norm_after_conv: bool = True,
        strides: tuple[int, ...] = (2, 2, 2),
        patch_size: int = 4,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        same_length(dims=dims, depths=depths, mlp_ratios=mlp_ratios, strides=(1, *strides))
        at_least_one(patch_size=patch_size, image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        map_sides(image_size, patch_size, strides)
        of_conv = norm if norm_after_conv else "none"
        self.stem = nn.Sequential(*conv_norm(in_chans, dims[0], 7, stride=patch_size, padding=2, norm=of_conv))
        self.stages = pyramid(
            dims,
            strides,
            drop_paths(drop_path, depths),
            lambda width, dim, stride: nn.Sequential(*conv_norm(width, dim, 3, stride=stride, padding=1, norm=of_conv)),
            lambda stage, _, rate: wave_block(dims[stage], mlp_ratios[stage], phase == "depthwise", norm, rate),
        )
        self.norm = NORMS[norm](dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)
        truncated_linear(self.head)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x)  # B C H W
        x = self.stages(x)  # B C H W
        return self.head(self.norm(x).mean((2, 3)))  # B classes


def wave_block(dim: int, mlp_ratio: int, depthwise_phase: bool, norm: Norm, drop_path: float) -> nn.Module:
    mix, mlp = WaveMixer(dim, depthwise_phase), PointwiseMLP(dim, mlp_ratio * dim)
    return MetaFormerBlock(dim, mix, mlp, drop_path, NORMS[norm])


class WaveMixer(nn.Module):
    def __init__(self, dim: int, depthwise_phase: bool) -> None:
        super().__init__()
        self.along_width = PhaseAwareSum(dim, (1, WINDOW), depthwise_phase)
        self.along_height = PhaseAwareSum(dim, (WINDOW, 1), depthwise_phase)
        self.channels = nn.Conv2d(dim, dim, 1, bias=False)
        self.reweight = Reweight(dim, axes=(2, 3))
        self.merge = nn.Conv2d(dim, dim, 1)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        return self.merge(self.reweight(self.along_width(x), self.along_height(x), self.channels(x)))


class PhaseAwareSum(nn.Module):
    """Amplitude · (cos phase, sin phase), summed with learnt weights in a window."""

    def __init__(self, dim: int, window: tuple[int, int], depthwise_phase: bool) -> None:
        super().__init__()
        theta = nn.Conv2d(dim, dim, 3, padding=1, groups=dim, bias=False) if depthwise_phase else nn.Conv2d(dim, dim, 1)
        self.phase = nn.Sequential(theta, nn.BatchNorm2d(dim), nn.ReLU())
        self.amplitude = nn.Conv2d(dim, dim, 1, bias=False)
        self.window = nn.Conv2d(2 * dim, dim, window, padding="same", groups=dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        phase, amplitude = self.phase(x), self.amplitude(x)
        wave = torch.cat([amplitude * phase.cos(), amplitude * phase.sin()], 1)  # B 2C H W
        return self.window(wave)  # each group: two neighbouring channels of the 2C, as in the authors' code
