"""MDMLP: MLPs over height, width, colour channels and width of overlapping patches, by turns. arXiv:2205.14477.

B batch, H W grid of patches, K colour channels, D width
"""

from torch import Tensor, nn

from mixbench.zoo.layers import MLP, at_least_one, divides
from mixbench.zoo.registry import register_model


@register_model(
    family="MDMLP",
    paper="arXiv:2205.14477",
    variants={
        "mdmlp_d64_l8": dict(dim=64, depth=8, patch_size=4, overlap=2, image_size=32, num_classes=10),
        "mdmlp_d64_l8_p14": dict(dim=64, depth=8, patch_size=14, overlap=7, image_size=224, num_classes=102),
    },
)
class MDMLP(nn.Module):
    """`overlap`: pixels that a patch shares with the next."""

    published_names = (
        (r"^(stem|head)\.Linear", r"\1"),
        (r"^blocks\.MDLayer(\d+)\.hlayer", r"blocks.\1.height"),
        (r"^blocks\.MDLayer(\d+)\.wlayer", r"blocks.\1.width"),
        (r"^blocks\.MDLayer(\d+)\.clayer", r"blocks.\1.colour"),
        (r"^blocks\.MDLayer(\d+)\.dlayer", r"blocks.\1.depth"),
        (r"\.dense1", ".mlp.expand"),
        (r"\.dense2", ".mlp.contract"),
    )

    def __init__(
        self,
        dim: int,
        depth: int,
        patch_size: int,
        overlap: int,
        mlp_ratio: int = 4,
        image_size: int = 32,
        in_chans: int = 3,
        num_classes: int = 10,
    ) -> None:
        super().__init__()
        at_least_one(dim=dim, depth=depth, patch_size=patch_size, mlp_ratio=mlp_ratio)
        at_least_one(image_size=image_size, in_chans=in_chans, num_classes=num_classes)
        if not 0 <= overlap < patch_size <= image_size:
            raise ValueError(
                f"overlap is {overlap}, it must be below patch_size {patch_size}, and that within the image"
            )
        step = patch_size - overlap
        side = divides("the step between patches,", step, "image_size - patch_size", image_size - patch_size) + 1
        self.patch_size, self.step = patch_size, step
        self.stem = nn.Linear(patch_size**2, dim)
        self.blocks = nn.Sequential(*[MDBlock(side, in_chans, dim, mlp_ratio) for _ in range(depth)])
        self.head = nn.Linear(dim, num_classes)

    def forward(self, x: Tensor) -> Tensor:  # B K image image
        x = x.unfold(2, self.patch_size, self.step).unfold(3, self.patch_size, self.step)  # B K H W p p
        x = self.stem(x.flatten(4).permute(0, 2, 3, 1, 4))  # B H W K D
        x = self.blocks(x)  # B H W K D
        return self.head(x.mean((1, 2, 3)))  # B classes


class MDBlock(nn.Module):
    def __init__(self, side: int, in_chans: int, dim: int, mlp_ratio: int) -> None:
        super().__init__()
        self.height = AxisMLP(1, side, dim, mlp_ratio)
        self.width = AxisMLP(2, side, dim, mlp_ratio)
        self.colour = AxisMLP(3, in_chans, dim, mlp_ratio)
        self.depth = AxisMLP(4, dim, dim, mlp_ratio)

    def forward(self, x: Tensor) -> Tensor:  # B H W K D
        return self.depth(self.colour(self.width(self.height(x))))


class AxisMLP(nn.Module):
    """x + GELU(MLP over one axis of LN(x))"""

    def __init__(self, axis: int, size: int, dim: int, mlp_ratio: int) -> None:
        super().__init__()
        self.axis = axis
        self.norm = nn.LayerNorm(dim)
        self.mlp = MLP(size, mlp_ratio * size)
        self.act = nn.GELU()

    def forward(self, x: Tensor) -> Tensor:  # B H W K D
        return x + self.act(self.mlp(self.norm(x).transpose(self.axis, 4))).transpose(self.axis, 4)
