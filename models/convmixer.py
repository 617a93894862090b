"""ConvMixer: a depthwise k×k convolution mixes the grid, a 1×1 convolution mixes the channels. arXiv:2201.09792.

B batch, C channels, H W grid
"""

from torch import Tensor, nn

from mixbench.zoo.layers import Activation, at_least_one, conv_stem, divides, full_spatial, pooled_head, then_act_norm
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)


@register_model(
    family="ConvMixer",
    paper="arXiv:2201.09792",
    variants={
        "convmixer_256_8": dict(dim=256, depth=8, kernel_size=5, patch_size=2, image_size=32, num_classes=10),
        "convmixer_1536_20": dict(dim=1536, depth=20, kernel_size=9, patch_size=7, **IMAGENET),
        "convmixer_768_32": dict(dim=768, depth=32, kernel_size=7, patch_size=7, act="relu", **IMAGENET),
        "convmixer_1024_20_ks9_p14": dict(dim=1024, depth=20, kernel_size=9, patch_size=14, **IMAGENET),
    },
)
class ConvMixer(nn.Module):
    """Uses torch's default initialisation."""

    published_names = (  # timm's, which are the authors'
        (r"^blocks\.(\d+)\.0\.fn\.", r"blocks.\1.spatial.branch.0."),
        (r"^blocks\.(\d+)\.1\.", r"blocks.\1.channel.0."),
        (r"^blocks\.(\d+)\.3\.", r"blocks.\1.channel.2."),
        (r"^head\.(weight|bias)", r"head.2.\1"),
    )

    def __init__(
        self,
        dim: int,
        depth: int,
        kernel_size: int,
        patch_size: int,
        act: Activation = "gelu",
        image_size: int = 32,
        in_chans: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        at_least_one(dim=dim, depth=depth, kernel_size=kernel_size, patch_size=patch_size)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        divides("patch_size", patch_size, "image_size", image_size)
        self.stem = conv_stem(in_chans, dim, patch_size, act)
        self.blocks = nn.Sequential(*[ConvMixerBlock(dim, kernel_size, act) for _ in range(depth)])
        self.head = pooled_head(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x)  # B C H W
        x = self.blocks(x)  # B C H W
        return self.head(x)  # B classes


class ConvMixerBlock(nn.Module):
    def __init__(self, dim: int, kernel_size: int, act: Activation) -> None:
        super().__init__()
        self.spatial = full_spatial(dim, kernel_size, act)
        self.channel = then_act_norm(nn.Conv2d(dim, dim, 1), dim, act)

    def forward(self, x: Tensor) -> Tensor:  # B C H W
        x = self.spatial(x)  # x + BN(act(depthwise(x)))
        return self.channel(x)  # BN(act(pointwise(x))), no residual
