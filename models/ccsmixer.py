"""CCS: circulant matrices mix the tokens, one for each group of channels, by Fourier transforms. arXiv:2106.14882.

A reconstruction from the abstract: the number of groups and the two layers with a GELU between them are ours.
B batch, N tokens, C channels, G groups of channels
"""

import torch
from torch import Tensor, nn

from mixbench.zoo.initialization import xavier_mlp
from mixbench.zoo.layers import MLP, MetaFormerBlock, PatchTokens, at_least_one, divides
from mixbench.zoo.registry import register_model

IMAGENET = dict(image_size=224, num_classes=1000)


@register_model(
    family="CCS",
    paper="arXiv:2106.14882",
    reconstruction=True,
    variants={
        "ccsmixer_s16": dict(dim=512, depth=8, patch_size=16, **IMAGENET),
        "ccsmixer_b16": dict(dim=768, depth=12, patch_size=16, **IMAGENET),
    },
)
class CCSMixer(nn.Module):
    """MLP-Mixer's shape, whose token MLP is given by 2N numbers a group rather than by a matrix for all channels."""

    def __init__(
        self,
        dim: int,
        depth: int,
        patch_size: int,
        groups: int = 8,
        mlp_ratio: int = 4,
        drop_path: float = 0.0,
        image_size: int = 224,
        in_chans: int = 3,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        at_least_one(dim=dim, depth=depth, patch_size=patch_size, groups=groups, mlp_ratio=mlp_ratio)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        divides("groups", groups, "dim", dim)
        tokens = divides("patch_size", patch_size, "image_size", image_size) ** 2
        self.stem = PatchTokens(in_chans, dim, patch_size)
        self.blocks = nn.Sequential(
            *[
                MetaFormerBlock(dim, CirculantMLP(tokens, groups), MLP(dim, mlp_ratio * dim), drop_path)
                for _ in range(depth)
            ]
        )
        self.norm = nn.LayerNorm(dim)
        self.head = nn.Linear(dim, num_classes)
        self.apply(xavier_mlp)

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        x = self.stem(x)  # B N C
        x = self.blocks(x)  # B N C
        return self.head(self.norm(x).mean(1))  # B classes


class CirculantMLP(nn.Module):
    def __init__(self, tokens: int, groups: int) -> None:
        super().__init__()
        self.first = Circulant(tokens, groups)
        self.act = nn.GELU()
        self.second = Circulant(tokens, groups)

    def forward(self, x: Tensor) -> Tensor:  # B N C
        return self.second(self.act(self.first(x)))


class Circulant(nn.Module):
    """Token n of a channel becomes bias + Σ weight[(n − m) mod N] · token m, with the weight and bias of its group."""

    def __init__(self, tokens: int, groups: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(groups, tokens))
        self.bias = nn.Parameter(torch.zeros(groups, 1))
        nn.init.normal_(self.weight, std=tokens**-0.5)

    def forward(self, x: Tensor) -> Tensor:  # B N C
        exact = torch.promote_types(x.dtype, torch.float32)  # FFTs take no shorter ones
        parts = x.unflatten(2, (self.weight.shape[0], -1)).to(exact)  # B N G C/G
        spectrum = torch.fft.rfft(parts, dim=1) * torch.fft.rfft(self.weight.to(exact)).mT.unsqueeze(2)
        mixed = torch.fft.irfft(spectrum, n=x.shape[1], dim=1) + self.bias
        return mixed.flatten(2).to(x.dtype)
