"""Augmentation of a batch: torchvision's tensor transforms, with separate parameters for each image.

B images, C channels, H W pixels.  Parameters are drawn by the caller and lie on the host, a row per image, so that
grouping images with equal parameters never waits for the device.  Equal to torchvision's float path to the pixel.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional
from torchvision.transforms import functional as F
from torchvision.transforms.v2.functional import equalize_image

Bounds = tuple[float, float]
MAGNITUDES = 31  # RandAugment's magnitude is one of so many steps
TRIES = 10  # boxes that torchvision draws before it gives up


def groups(keys: Tensor, device: torch.device) -> Iterator[tuple[int, Tensor]]:
    """Yield each integer in `keys` (B, on the host) with the positions where it occurs (on the device)."""
    places = keys.argsort(stable=True).to(device)
    for key, where in enumerate(places.split(keys.bincount().tolist())):
        if len(where):
            yield key, where


def crop(images: Tensor, offset: Tensor, padding: int) -> Tensor:
    """Pad each image with zeros on all sides, and crop it to its size at its offset (row, column; B 2)."""
    height, width = images.shape[-2:]
    padded = functional.pad(images, (padding,) * 4)
    return _columns(_rows(padded, offset[:, 0], height), offset[:, 1], width)


def _rows(images: Tensor, starts: Tensor, count: int) -> Tensor:
    """`count` rows of each image, from its own start (B)."""
    return _columns(images.mT, starts, count).mT


def _columns(images: Tensor, starts: Tensor, count: int) -> Tensor:
    """`count` columns of each image, from its own start (B)."""
    columns = starts[:, None].to(images.device) + torch.arange(count, device=images.device)
    return images.gather(-1, columns[:, None, None, :].expand(*images.shape[:-1], -1))


def crop_boxes(
    height: int, width: int, uniforms: NDArray[np.floating], scale: Bounds, ratio: Bounds
) -> NDArray[np.int64]:
    """(top, left, box height, box width) of each image of this size, as RandomResizedCrop.get_params.   B 4

    `uniforms` in [0, 1), B 10 4, give area, aspect ratio, top and left of ten tries.
    """
    wide, tall = _sides(height * width, uniforms, scale, ratio)
    fits = (wide > 0) & (wide <= width) & (tall > 0) & (tall <= height)
    boxes = _first_that_fits(height, width, tall, wide, fits, uniforms)
    boxes[~fits.any(axis=1)] = _central_box(height, width, ratio)
    return boxes


def erasing_boxes(
    height: int, width: int, uniforms: NDArray[np.floating], scale: Bounds, ratio: Bounds
) -> NDArray[np.int64]:
    """As crop_boxes, for RandomErasing.get_params; if no try fits, the box is empty and nothing is erased.   B 4"""
    tall, wide = _sides(height * width, uniforms, scale, ratio)
    fits = (wide < width) & (tall < height)
    boxes = _first_that_fits(height, width, tall, wide, fits, uniforms)
    boxes[~fits.any(axis=1)] = 0
    return boxes


def _sides(area: int, uniforms: NDArray[np.floating], scale: Bounds, ratio: Bounds) -> tuple[NDArray, NDArray]:
    """Two sides of each box, both B 10; its aspect ratio is the first divided by the second."""
    areas = area * (scale[0] + (scale[1] - scale[0]) * uniforms[..., 0].astype(np.float64))
    low, high = math.log(ratio[0]), math.log(ratio[1])
    aspects = np.exp(low + (high - low) * uniforms[..., 1].astype(np.float64))
    return np.sqrt(areas * aspects).round().astype(np.int64), np.sqrt(areas / aspects).round().astype(np.int64)


def _first_that_fits(
    height: int, width: int, tall: NDArray, wide: NDArray, fits: NDArray, uniforms: NDArray
) -> NDArray[np.int64]:
    """(top, left, box height, box width) of each image's first try that fits, at a drawn position.   B 4"""
    image, chosen = np.arange(len(fits)), fits.argmax(axis=1)
    tall, wide, uniforms = tall[image, chosen], wide[image, chosen], uniforms[image, chosen].astype(np.float64)
    top = (uniforms[:, 2] * (height - tall + 1)).astype(np.int64)
    left = (uniforms[:, 3] * (width - wide + 1)).astype(np.int64)
    return np.stack([top, left, tall, wide], axis=1)


def _central_box(height: int, width: int, ratio: Bounds) -> tuple[int, int, int, int]:
    """The largest central box whose aspect ratio is within bounds."""
    tall, wide = height, width
    if width / height < ratio[0]:
        tall = round(width / ratio[0])
    elif width / height > ratio[1]:
        wide = round(height * ratio[1])
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def resize(images: Tensor, size: int) -> Tensor:
    """Resize whole images (uint8 B C H W) to size × size, bilinear, antialiased."""
    return F.resize(images, [size, size], antialias=True)


def resized_crops(images: Tensor, boxes: Tensor, size: int) -> Tensor:
    """Resize each image's box (top, left, height, width; B 4) to size × size, as F.resized_crop, bilinear, antialiased.

    The filter is separable: resizes the columns of all boxes of one width together, then the rows of all boxes of one
    height, which makes far fewer groups than boxes equal in both.
    """
    wide = images.new_empty((*images.shape[:-1], size), dtype=torch.float32)
    for width, where in groups(boxes[:, 3], images.device):
        lefts = boxes[boxes[:, 3] == width, 1]
        columns = _columns(images[where], lefts, width).float()
        wide[where] = functional.interpolate(columns, (images.shape[-2], size), mode="bilinear", antialias=True)
    resized = wide.new_empty((*images.shape[:-2], size, size))
    for height, where in groups(boxes[:, 2], images.device):
        tops = boxes[boxes[:, 2] == height, 0]
        rows = _rows(wide[where], tops, height)
        resized[where] = functional.interpolate(rows, (size, size), mode="bilinear", antialias=True)
    return resized.round_().to(images.dtype)


@dataclass(frozen=True)
class Operation:
    """One of RandAugment's operations.  Its magnitude goes linearly from `start` to `end` over MAGNITUDES steps."""

    kernel: Callable[[Tensor, float], Tensor]
    start: float = 0.0
    end: float = 0.0  # per pixel of the image's side where `of_side`
    of_side: bool = False
    signed: bool = False

    def magnitude(self, step: int, side: int) -> float:
        """The magnitude at a step.  In float32 as torchvision's, as translations are truncated to whole pixels."""
        end = self.end * side if self.of_side else self.end
        return float(torch.linspace(self.start, end, MAGNITUDES)[step])


def _shear(images: Tensor, across: float, down: float) -> Tensor:
    degrees = [math.degrees(math.atan(across)), math.degrees(math.atan(down))]
    return F.affine(images, angle=0.0, translate=[0, 0], scale=1.0, shear=degrees, center=[0, 0])


def _translate(images: Tensor, across: float, down: float) -> Tensor:
    return F.affine(images, angle=0.0, translate=[int(across), int(down)], scale=1.0, shear=[0.0, 0.0])


RANDAUGMENT = {  # in torchvision's order
    "Identity": Operation(lambda images, _: images),
    "ShearX": Operation(lambda images, by: _shear(images, by, 0.0), end=0.3, signed=True),
    "ShearY": Operation(lambda images, by: _shear(images, 0.0, by), end=0.3, signed=True),
    "TranslateX": Operation(lambda images, by: _translate(images, by, 0), end=150 / 331, of_side=True, signed=True),
    "TranslateY": Operation(lambda images, by: _translate(images, 0, by), end=150 / 331, of_side=True, signed=True),
    "Rotate": Operation(F.rotate, end=30.0, signed=True),
    "Brightness": Operation(lambda images, by: F.adjust_brightness(images, 1.0 + by), end=0.9, signed=True),
    "Color": Operation(lambda images, by: F.adjust_saturation(images, 1.0 + by), end=0.9, signed=True),
    "Contrast": Operation(lambda images, by: F.adjust_contrast(images, 1.0 + by), end=0.9, signed=True),
    "Sharpness": Operation(lambda images, by: F.adjust_sharpness(images, 1.0 + by), end=0.9, signed=True),
    "Posterize": Operation(lambda images, bits: F.posterize(images, round(bits)), start=8.0, end=4.0),
    "Solarize": Operation(F.solarize, start=255.0),
    "AutoContrast": Operation(lambda images, _: F.autocontrast(images)),
    "Equalize": Operation(lambda images, _: equalize_image(images)),  # transforms.functional's loops over images
}


def randaugment(images: Tensor, operations: Tensor, negative: Tensor, magnitude: int) -> Tensor:
    """Apply each image's operations (indices into RANDAUGMENT) with their signs, both B num_ops, to uint8 B C H W."""
    kinds = list(RANDAUGMENT.values())
    signed = torch.tensor([kind.signed for kind in kinds])
    images = images.clone()
    for operation, minus in zip(operations.long().T, negative.T, strict=True):
        for key, where in groups(2 * operation + (minus & signed[operation]), images.device):
            kind = kinds[key // 2]
            by = kind.magnitude(magnitude, images.shape[-1])
            images[where] = kind.kernel(images[where], -by if key % 2 else by)
    return images


def erase(images: Tensor, boxes: Tensor, fill: Tensor | float) -> Tensor:
    """Replace each image's box (top, left, height, width; B 4) by `fill`, in float B C H W."""
    return torch.where(_inside(boxes.to(images.device), *images.shape[-2:]), fill, images)


def _inside(boxes: Tensor, height: int, width: int) -> Tensor:
    """Mask of the pixels inside each image's box.   B 1 H W"""
    top, left, tall, wide = (column[:, None] for column in boxes.T)
    row, column = torch.arange(height, device=boxes.device), torch.arange(width, device=boxes.device)
    rows, columns = (row >= top) & (row < top + tall), (column >= left) & (column < left + wide)
    return (rows[:, :, None] & columns[:, None, :])[:, None]


def cutmix_boxes(share: Tensor, centre: Tensor, height: int, width: int) -> Tensor:
    """(top, left, height, width) of boxes with 1 − share (B) of the image's area, around centre (pixels; B 2).   B 4

    As torchvision's CutMix: half sides are truncated to whole pixels, and boxes are clipped to the image.
    """
    size = torch.tensor([height, width])
    half = (0.5 * (1 - share.double()).sqrt()[:, None] * size).long()
    first, last = (centre - half).clamp(min=0), torch.minimum(centre + half, size)
    return torch.cat([first, last - first], dim=1)


def mixing_weights(share: Tensor, boxes: Tensor, is_cut: Tensor, height: int, width: int) -> Tensor:
    """Weight of an image's own pixels: `share` (B) for mixup; for CutMix 0 inside the box, 1 outside.   B 1 H W"""
    mixed = share.float()[:, None, None, None].expand(-1, 1, height, width)
    return torch.where(is_cut[:, None, None, None], (~_inside(boxes, height, width)).float(), mixed)
