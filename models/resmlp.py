"""ResMLP: a linear layer over the tokens, an MLP over the channels, no normalisation. arXiv:2105.03404.

B batch, N tokens, C channels
"""

import math

import torch
from torch import Tensor, nn

from mixbench.zoo.layers import MLP, DropPath, PatchTokens, at_least_one, divides
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)


@register_model(
    family="ResMLP",
    paper="arXiv:2105.03404",
    variants={
        "resmlp_s12": dict(dim=384, depth=12, patch_size=16, layer_scale=0.1, **IMAGENET),
        "resmlp_s24": dict(dim=384, depth=24, patch_size=16, layer_scale=1e-5, **IMAGENET),
        "resmlp_s36": dict(dim=384, depth=36, patch_size=16, layer_scale=1e-6, **IMAGENET),
        "resmlp_b24": dict(dim=768, depth=24, patch_size=16, layer_scale=1e-6, **IMAGENET),
        "resmlp_b24_p8": dict(dim=768, depth=24, patch_size=8, layer_scale=1e-6, **IMAGENET),
    },
)
class ResMLP(nn.Module):
    """`layer_scale` is the initial value of the factors, learnt for each channel, that scale each branch's output.

    Initialised as in its authors' code: linear layers from a truncated normal of standard deviation 0.02 with zero
    biases, the patch embedding with torch's default.
    """

    published_names = (  # timm's
        (r"^norm\.", "affine."),
        (r"\.norm([12])\.", r".affine\1."),
        (r"\.ls([12])", r".scale\1"),
        (r"linear_tokens", "token_map"),
        (r"mlp_channels\.fc1", "channel_mlp.expand"),
        (r"mlp_channels\.fc2", "channel_mlp.contract"),
    )

    def __init__(
        self,
        dim: int,
        depth: int,
        patch_size: int,
        layer_scale: float,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        at_least_one(dim=dim, depth=depth, patch_size=patch_size)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        if not math.isfinite(layer_scale):
            raise ValueError(f"layer_scale is {layer_scale}, it must be a finite number")
        tokens = divides("patch_size", patch_size, "image_size", image_size) ** 2
        self.stem = PatchTokens(in_chans, dim, patch_size)
        self.blocks = nn.Sequential(*[ResMLPBlock(tokens, dim, layer_scale, drop_path) for _ in range(depth)])
        self.affine = Affine(dim)
        self.head = nn.Linear(dim, num_classes)
        self.apply(initialise)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x)  # B N C
        x = self.blocks(x)  # B N C
        return self.head(self.affine(x).mean(1))  # B classes


class ResMLPBlock(nn.Module):
    def __init__(self, tokens: int, dim: int, layer_scale: float, drop_path: float) -> None:
        super().__init__()
        self.affine1 = Affine(dim)
        self.token_map = nn.Linear(tokens, tokens)
        self.scale1 = nn.Parameter(torch.full((dim,), layer_scale))
        self.affine2 = Affine(dim)
        self.channel_mlp = MLP(dim, 4 * dim)
        self.scale2 = nn.Parameter(torch.full((dim,), layer_scale))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:  # B N C
        x = x + self.drop_path(self.scale1 * self.token_map(self.affine1(x).mT).mT)  # mixes N
        return x + self.drop_path(self.scale2 * self.channel_mlp(self.affine2(x)))  # mixes C


class Affine(nn.Module):
    """alpha · x + beta, both learnt for each channel."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(dim))
        self.beta = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:  # B N C
        return torch.addcmul(self.beta, self.alpha, x)


def initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
