"""torchvision's ColorJitter with separate factors for each image: the same float32 arithmetic, equal to the pixel.

B images, uint8, 1 or 3 channels; factors B, float64, on the host, as torchvision's are Python numbers.  Saturation and
hue leave a grey image (1 channel) unchanged.
"""

import torch
from torch import Tensor
from torchvision.transforms import functional as F

from mixbench.data.augment.kernels import groups


def color_jitter(images: Tensor, factors: Tensor, order: Tensor) -> Tensor:
    """Apply four adjustments to each image (uint8 B C H W), in its own order: a permutation of 0 … 3 (B 4).

    factors (B 4): brightness, contrast, saturation (1: unchanged), and the shift of hue (0: unchanged).
    """
    images = images.clone()
    for kinds in order.long().T:
        for kind, where in groups(kinds, images.device):
            images[where] = ADJUSTMENTS[kind](images[where], factors[kinds == kind, kind])
    return images


def adjust_brightness(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(images, torch.zeros_like(images), factor)


def adjust_contrast(images: Tensor, factor: Tensor) -> Tensor:
    return _blend(images, F.rgb_to_grayscale(images).float().mean(dim=(-3, -2, -1), keepdim=True), factor)


def adjust_saturation(images: Tensor, factor: Tensor) -> Tensor:
    return images if images.shape[1] == 1 else _blend(images, F.rgb_to_grayscale(images), factor)


def adjust_hue(images: Tensor, shift: Tensor) -> Tensor:
    """Add `shift` to the hue, modulo 1."""
    if images.shape[1] == 1:
        return images
    hue, saturation, value = _hsv(images.float() / 255.0)
    hue = (hue + shift.float().to(images.device)[:, None, None]) % 1.0
    return (_rgb(hue, saturation, value) * (255 + 1.0 - 1e-3)).to(torch.uint8)


ADJUSTMENTS = (adjust_brightness, adjust_contrast, adjust_saturation, adjust_hue)


def _blend(images: Tensor, others: Tensor, factor: Tensor) -> Tensor:
    """factor · images + (1 − factor) · others, rounded down to uint8."""
    factor = factor.double()[:, None, None, None]
    own, rest = factor.float().to(images.device), (1.0 - factor).float().to(images.device)
    return (own * images + rest * others).clamp(0, 255).to(torch.uint8)


def _hsv(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Hue, saturation and value, each B H W in [0, 1], of RGB images in [0, 1]."""
    high, low = images.amax(1), images.amin(1)
    chroma, one = high - low, torch.ones((), device=images.device)
    is_grey = high == low
    saturation = chroma / torch.where(is_grey, one, high)
    red, green, blue = ((high[:, None] - images) / torch.where(is_grey, one, chroma)[:, None]).unbind(1)
    sixths = torch.where(high == images[:, 1], 2.0 + red - blue, 4.0 + green - red)
    sixths = torch.where(high == images[:, 0], blue - green, sixths)
    return torch.fmod(sixths / 6.0 + 1.0, 1.0), saturation, high


def _rgb(hue: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """The inverse of _hsv.  Gathers levels instead of torchvision's product with a mask, which TF32 would round."""
    sector = torch.floor(hue * 6.0)
    within = hue * 6.0 - sector
    falling = (value * (1.0 - saturation * within)).clamp(0.0, 1.0)
    rising = (value * (1.0 - saturation * (1.0 - within))).clamp(0.0, 1.0)
    levels = torch.stack([value, falling, (value * (1.0 - saturation)).clamp(0.0, 1.0), rising], dim=1)  # B 4 H W
    of_channel = torch.tensor([[0, 1, 2, 2, 3, 0], [3, 0, 0, 1, 2, 2], [2, 2, 3, 0, 0, 1]], device=hue.device)
    return levels.gather(1, of_channel[:, sector.long() % 6].transpose(0, 1))
