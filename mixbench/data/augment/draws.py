"""Random draws of an epoch's augmentation: each depends on the seed, the epoch and the sample only."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from mixbench.data.augment import kernels
from mixbench.data.augment.color import color_jitter
from mixbench.suite.recipe import Augment, ColorJitter, ResizeCrop
from mixbench.system.precision import products


class Stream(IntEnum):
    """Independent streams of random numbers: adding one augmentation changes no draw of the others."""

    ORDER = 0
    FLIP_AND_OFFSET = 1
    CROP_BOX = 2
    OPERATION = 3
    SIGN = 4
    JITTER_ORDER = 5
    JITTER_FACTOR = 6
    ERASED = 7
    ERASING_BOX = 8
    NOISE = 9
    MIXUP_SHARE = 10
    CUTMIX_SHARE = 11
    CUTMIX_CENTRE = 12
    MIXUP_OR_CUTMIX = 13


def generator(seed: int, epoch: int, stream: Stream) -> torch.Generator:
    """torch's generator, seeded for one stream of one epoch."""
    return torch.Generator().manual_seed(_key(seed, epoch, stream) >> 1)


def _key(seed: int, epoch: int, stream: Stream) -> int:
    """A uint64 that is unique to a stream of an epoch."""
    return int(np.random.SeedSequence([seed, epoch, int(stream)]).generate_state(1, np.uint64)[0])


class Draws:
    """The draws for each of an epoch's `images` samples; the same on whichever rank a sample is processed.

    Most are drawn for all samples at once.  Boxes and noise, too many numbers to keep, are computed from a sample's
    index when it is processed.
    """

    def __init__(self, images: int, augment: Augment, seed: int, epoch: int):
        self.images, self.augment, self.seed, self.epoch = images, augment, seed, epoch
        first = self._generator(Stream.FLIP_AND_OFFSET)
        self.padding = augment.crop_padding
        self.flip = torch.rand(images, generator=first) < 0.5 if augment.flip else None
        self.offset = torch.randint(2 * self.padding + 1, (images, 2), generator=first) if self.padding else None
        if augment.randaugment:
            shape, kinds = (images, augment.randaugment.num_ops), len(kernels.RANDAUGMENT)
            generator = self._generator(Stream.OPERATION)
            self.operations = torch.randint(kinds, shape, generator=generator, dtype=torch.uint8)
            self.negative = torch.rand(shape, generator=self._generator(Stream.SIGN)) < 0.5
        if augment.color_jitter:
            self.jitter_order = self._uniform(Stream.JITTER_ORDER, 4).argsort(dim=1).to(torch.uint8)
            self.jitter = jitter_factors(augment.color_jitter, self._uniform(Stream.JITTER_FACTOR, 4))
        if augment.erasing:
            self.erased = self._uniform(Stream.ERASED, 1)[:, 0] < augment.erasing.probability
        self.mixes = bool(augment.mixup or augment.cutmix)
        if self.mixes:
            self._draw_mixing()

    def _draw_mixing(self) -> None:
        """Draw which samples get CutMix, the others mixup, and each one's share and CutMix centre."""
        mixup, cutmix = self.augment.mixup, self.augment.cutmix
        cuts = 0.5 if mixup and cutmix else float(cutmix > 0)
        self.is_cut = self._uniform(Stream.MIXUP_OR_CUTMIX, 1)[:, 0] < cuts
        of_mixup, of_cutmix = self._beta(Stream.MIXUP_SHARE, mixup), self._beta(Stream.CUTMIX_SHARE, cutmix)
        self.share = torch.where(self.is_cut, of_cutmix, of_mixup)
        self.centre = self._uniform(Stream.CUTMIX_CENTRE, 2)

    def apply(self, images: Tensor, index: Tensor, size: int | None = None) -> Tensor:
        """Augment the uint8 images of the samples `index` (on the host); the result is size × size, if given."""
        device, augment = images.device, self.augment
        size = size or images.shape[-1]
        with products(
            "ieee"
        ):  # torchvision's grids and blurs are matrix products: full precision, whatever the trial's
            if augment.resize_crop:
                boxes = CropBox(augment.resize_crop, self.seed, self.epoch).all(index, *images.shape[-2:])
                images = kernels.resized_crops(images, boxes, size)
            elif images.shape[-2:] != (size, size):
                images = kernels.resize(images, size)
            if self.offset is not None:
                images = kernels.crop(images, self.offset[index].to(device), self.padding)
            if self.flip is not None:
                images = torch.where(self.flip[index].to(device)[:, None, None, None], images.flip(-1), images)
            if augment.randaugment:
                operations, negative = self.operations[index], self.negative[index]
                images = kernels.randaugment(images, operations, negative, augment.randaugment.magnitude)
            if augment.color_jitter:
                images = color_jitter(images, self.jitter[index], self.jitter_order[index])
        return images

    def erase(self, images: Tensor, index: Tensor) -> Tensor:
        """Apply random erasing to normalised images B C H W."""
        options = self.augment.erasing
        if not options:
            return images
        erased = self.erased[index].nonzero()[:, 0]
        where = erased.to(images.device)
        uniforms = box_uniforms(self.seed, self.epoch, Stream.ERASING_BOX, index[erased])
        height, width = images.shape[-2:]
        boxes = kernels.erasing_boxes(height, width, uniforms, options.scale, options.ratio)
        part = images[where]
        fill = self.noise(index[erased], part) if options.fill == "noise" else 0.0
        return images.index_copy(0, where, kernels.erase(part, torch.from_numpy(boxes), fill))

    def noise(self, index: Tensor, like: Tensor) -> Tensor:
        """Standard normal noise of the samples `index`, with the shape, type and device of `like` (B C H W)."""
        key = _key(self.seed, self.epoch, Stream.NOISE)
        uniforms = hashed_uniforms(key, index.to(like.device), like[0].numel() if len(like) else 0)
        return torch.special.ndtri(uniforms).to(like.dtype).view_as(like)

    def mix(
        self, images: Tensor, labels: Tensor, index: Tensor, partner: Tensor, classes: int
    ) -> tuple[Tensor, Tensor]:
        """Apply mixup or CutMix to each image and the image at its position in `partner` (B).

        Returns (images B C H W, targets B classes).
        """
        device, height, width = images.device, *images.shape[-2:]
        is_cut, share, partner = self.is_cut[index], self.share[index], partner.to(device)
        centre = (self.centre[index] * torch.tensor([height, width])).long()
        boxes = kernels.cutmix_boxes(share, centre, height, width)
        of_targets = torch.where(is_cut, 1 - boxes[:, 2] * boxes[:, 3] / (height * width), share)
        weights = kernels.mixing_weights(share.to(device), boxes.to(device), is_cut.to(device), height, width)
        targets = F.one_hot(labels, classes)
        mixed = weights * images + (1 - weights) * images[partner]
        of_targets = of_targets[:, None].to(device)
        return mixed, of_targets * targets + (1 - of_targets) * targets[partner]

    def _generator(self, stream: Stream) -> torch.Generator:
        return generator(self.seed, self.epoch, stream)

    def _uniform(self, stream: Stream, count: int) -> Tensor:
        return torch.rand(self.images, count, generator=self._generator(stream))

    def _beta(self, stream: Stream, alpha: float) -> Tensor:
        if not alpha:
            return torch.ones(self.images)
        drawn = np.random.default_rng([self.seed, self.epoch, int(stream)]).beta(alpha, alpha, self.images)
        return torch.from_numpy(drawn).float()


@dataclass(frozen=True)
class CropBox:
    """An epoch's boxes of `resize_crop`: (sample index, height, width) → (top, left, box height, box width)."""

    options: ResizeCrop
    seed: int
    epoch: int

    def __call__(self, sample_index: int, height: int, width: int) -> tuple[int, int, int, int]:
        top, left, tall, wide = self.all(torch.tensor([sample_index]), height, width)[0].tolist()
        return top, left, tall, wide

    def all(self, index: Tensor, height: int, width: int) -> Tensor:
        """The boxes of samples whose images are all of this size.   B 4"""
        uniforms = box_uniforms(self.seed, self.epoch, Stream.CROP_BOX, index)
        return torch.from_numpy(kernels.crop_boxes(height, width, uniforms, self.options.scale, self.options.ratio))


def box_uniforms(seed: int, epoch: int, stream: Stream, index: Tensor) -> np.ndarray:
    """Uniforms in (0, 1) from which kernels.crop_boxes or erasing_boxes computes the samples' boxes.   B 10 4"""
    uniforms = hashed_uniforms(_key(seed, epoch, stream), index, kernels.TRIES * 4)
    return uniforms.view(-1, kernels.TRIES, 4).numpy()


def jitter_factors(options: ColorJitter, uniforms: Tensor) -> Tensor:
    """Factors of brightness, contrast and saturation, and the shift of hue, from uniforms B 4.   B 4, float64"""
    wide = torch.tensor([options.brightness, options.contrast, options.saturation], dtype=torch.float64)
    low, high = (1 - wide).clamp(min=0), 1 + wide
    factors = low + (high - low) * uniforms[:, :3]
    return torch.cat([factors, options.hue * (2 * uniforms[:, 3:].double() - 1)], dim=1)


def hashed_uniforms(key: int, index: Tensor, count: int) -> Tensor:
    """`count` float64 numbers in (0, 1) for each of B indices, a function of key, index and count only.   B count

    SplitMix64 (Steele et al. 2014, doi:10.1145/2660193.2660195), whose n-th number is computed without the others.
    """
    number = index[:, None] * count + torch.arange(1, count + 1, device=index.device)
    state = _signed(key) + number * _signed(0x9E3779B97F4A7C15)
    state = (state ^ _shifted(state, 30)) * _signed(0xBF58476D1CE4E5B9)
    state = (state ^ _shifted(state, 27)) * _signed(0x94D049BB133111EB)
    return (_shifted(state ^ _shifted(state, 31), 12).double() + 0.5) * 2.0**-52


def _shifted(values: Tensor, bits: int) -> Tensor:
    """int64 shifted right as an unsigned number."""
    return (values >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    """The int64 with the bits of a uint64."""
    return value - (1 << 64) if value >> 63 else value
