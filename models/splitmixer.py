"""SplitMixer: ConvMixer with its spatial and its channel convolution split. arXiv:2207.10255.

Spatial mixing: 1×k, then k×1 depthwise convolutions.  Channel mixing, by 1×1 convolutions of contiguous channels:
I     the first `ratio` of the channels in even blocks, the last `ratio` in odd ones
II    one of `num_segments` segments, the next one in each block
III   every segment, with shared weights
IV    every segment, each with its own weights
V     the first `ratio` of the channels, then the last `ratio` of the result
full  all channels at once, as in ConvMixer

B batch, C channels, H W grid
"""

from fractions import Fraction
from typing import Literal

import torch
from torch import Tensor, nn

from mixbench.zoo.layers import (
    Activation,
    at_least_one,
    check_ratio,
    conv_stem,
    divides,
    full_spatial,
    overlap_width,
    pooled_head,
    split_spatial,
    then_act_norm,
)
from mixbench.zoo.registry import register_model

ChannelMixing = Literal["I", "II", "III", "IV", "V", "full"]
SpatialMixing = Literal["split", "full"]

CIFAR = dict(dim=256, depth=8, kernel_size=5, patch_size=2, image_size=32, num_classes=10)
IMAGENET = dict(channel_mixing="I", image_size=224, num_classes=1000)


@register_model(
    family="SplitMixer",
    paper="arXiv:2207.10255",
    variants={
        "splitmixer_i_256_8": dict(channel_mixing="I", **CIFAR),
        "splitmixer_ii_256_8": dict(channel_mixing="II", **CIFAR),
        "splitmixer_iii_256_8": dict(channel_mixing="III", **CIFAR),
        "splitmixer_iv_256_8": dict(channel_mixing="IV", **CIFAR),
        "splitmixer_v_256_8": dict(channel_mixing="V", **CIFAR),
        "splitmixer_i_1536_20": dict(dim=1536, depth=20, kernel_size=9, patch_size=7, **IMAGENET),
        "splitmixer_i_768_32": dict(dim=768, depth=32, kernel_size=7, patch_size=7, act="relu", **IMAGENET),
        "splitmixer_i_1024_20_ks9_p14": dict(dim=1024, depth=20, kernel_size=9, patch_size=14, **IMAGENET),
    },
)
class SplitMixer(nn.Module):
    """Uses torch's default initialisation.

    `ratio` is used by I and V, `num_segments` by II, III and IV; III needs segments of equal size.
    """

    def __init__(
        self,
        dim: int,
        depth: int,
        kernel_size: int,
        patch_size: int,
        channel_mixing: ChannelMixing,
        spatial_mixing: SpatialMixing = "split",
        ratio: Fraction = Fraction(2, 3),
        num_segments: int = 2,
        act: Activation = "gelu",
        image_size: int = 32,
        in_chans: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        at_least_one(dim=dim, depth=depth, kernel_size=kernel_size, patch_size=patch_size, num_segments=num_segments)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        divides("patch_size", patch_size, "image_size", image_size)
        check_ratio(ratio)
        spatial = split_spatial if spatial_mixing == "split" else full_spatial
        self.stem = conv_stem(in_chans, dim, patch_size, act)
        self.blocks = nn.Sequential()
        for index in range(depth):
            mixer = channel_mixer(channel_mixing, dim, index, ratio, num_segments)
            self.blocks.append(SplitMixerBlock(spatial(dim, kernel_size, act), then_act_norm(mixer, dim, act)))
        self.head = pooled_head(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x)  # B C H W
        x = self.blocks(x)  # B C H W
        return self.head(x)  # B classes


class SplitMixerBlock(nn.Module):
    def __init__(self, spatial: nn.Module, channel: nn.Module) -> None:
        super().__init__()
        self.spatial = spatial
        self.channel = channel

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        x = self.spatial(x)  # x + k×1(1×k(x)), each BN(act(conv(x)))
        return self.channel(x)  # BN(act(mixer(x))) of all channels, no residual


class MixSome(nn.Module):
    """A 1×1 convolution of the channels from `start` to `stop`; the others are passed through."""

    def __init__(self, dim: int, start: int, stop: int) -> None:
        super().__init__()
        self.sizes = [start, stop - start, dim - stop]
        self.map = nn.Conv2d(stop - start, stop - start, 1)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        before, mixed, after = x.split(self.sizes, dim=1)
        return torch.cat([before, self.map(mixed), after], dim=1)


class MixShared(nn.Conv2d):
    """A 1×1 convolution of each segment, all with the same weights."""

    def __init__(self, segment: int) -> None:
        super().__init__(segment, segment, 1)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        segments = x.reshape(-1, self.in_channels, *x.shape[2:])  # B·s C/s H W
        return super().forward(segments).reshape(x.shape)


class MixEach(nn.Module):
    """A 1×1 convolution of each segment, each with its own weights."""

    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.sizes = sizes
        self.maps = nn.ModuleList([nn.Conv2d(size, size, 1) for size in sizes])

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        return torch.cat([mix(part) for mix, part in zip(self.maps, x.split(self.sizes, 1), strict=True)], dim=1)


def channel_mixer(setting: ChannelMixing, dim: int, block: int, ratio: Fraction, num_segments: int) -> nn.Module:
    """The channel mixer of a block (counted from 0).  Raises ValueError if the channels cannot be split this way."""
    if setting in ("II", "III", "IV") and num_segments > dim:
        raise ValueError(f"num_segments {num_segments} is more than there are channels: dim is {dim}")
    segment = dim // num_segments
    last = dim - segment * (num_segments - 1)  # the last segment takes the remainder
    match setting:
        case "I":
            width = overlap_width(dim, ratio)
            return MixSome(dim, 0, width) if block % 2 == 0 else MixSome(dim, dim - width, dim)
        case "II":
            start = segment * (block % num_segments)
            return MixSome(dim, start, dim if block % num_segments == num_segments - 1 else start + segment)
        case "III":
            return MixShared(divides("num_segments", num_segments, "dim", dim))
        case "IV":
            return MixEach([segment] * (num_segments - 1) + [last])
        case "V":
            width = overlap_width(dim, ratio)
            return nn.Sequential(MixSome(dim, 0, width), MixSome(dim, dim - width, dim))
        case "full":
            return nn.Conv2d(dim, dim, 1)
