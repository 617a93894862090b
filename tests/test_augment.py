"""Augmentation equals torchvision's tensor transforms to the pixel; its draws depend on the sample, not the rank."""

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor
from torch.nn.functional import cross_entropy
from torchvision.transforms import ColorJitter as TorchvisionsColorJitter
from torchvision.transforms import InterpolationMode, RandomErasing, RandomResizedCrop, v2
from torchvision.transforms import functional as F
from torchvision.transforms.autoaugment import RandAugment as TorchvisionsRandAugment
from torchvision.transforms.autoaugment import _apply_op
from torchvision.transforms.functional import resize

from mixbench.data import loader
from mixbench.data.augment import color, kernels
from mixbench.data.augment.draws import CropBox, Draws, Stream, hashed_uniforms, jitter_factors
from mixbench.data.loader import TrainLoader, epoch_order
from mixbench.data.store import Images
from mixbench.suite.datasets import Dataset
from mixbench.suite.recipe import Augment, ColorJitter, Erasing, RandAugment, ResizeCrop
from mixbench.system.precision import products

UNLIKELY = 0.001  # the p-value that each of some twenty checks with fixed seeds must exceed
SCALE, RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
EVERYTHING = Augment(
    flip=True,
    crop_padding=2,
    resize_crop=ResizeCrop(),
    randaugment=RandAugment(num_ops=2, magnitude=12),
    color_jitter=ColorJitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    erasing=Erasing(probability=0.5, fill="noise"),
    mixup=0.8,
    cutmix=1.0,
)


def pictures(count: int, channels: int = 3, side: int = 32, seed: int = 0) -> Tensor:
    """uint8 images: of noise, of few grey levels, smooth and dark, and flat ones, which divide by zero if anything."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, channels, side, side), generator=generator, dtype=torch.uint8)
    images[1::4] = images[1::4] // 64 * 64
    images[2::4] = (torch.arange(side) * 2).to(torch.uint8) + images[2::4] // 32
    images[3::8] = images[3::8, :1, :1, :1]
    images[7::8] = images[7::8, :1]  # grey, in as many channels
    return images


def made(count: int = 203, channels: int = 3, train_side: int = 20) -> tuple[Images, Dataset]:
    """A data set in which a sample's label is its index."""
    data = Images(pictures(count, channels, train_side), torch.arange(count))
    return data, Dataset(
        "made",
        image_size=16,
        channels=channels,
        classes=count,
        train_images=count,
        test_images=0,
        mean=(0.4,) * channels,
        std=(0.3,) * channels,
        source="these tests",
        train_side=train_side,
    )


class ScriptedDraws:
    """Stands in for torch's draws within torchvision's get_params: each try takes a row of four given uniforms."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, uniforms: np.ndarray):
        self.uniforms, self.sides, self.places = uniforms, 0, 0
        monkeypatch.setattr(torch.Tensor, "uniform_", lambda tensor, low, high: tensor.fill_(self.side(low, high)))
        monkeypatch.setattr(torch, "randint", lambda low, high, size: torch.tensor([self.place(low, high)]))

    def side(self, low: float, high: float) -> float:
        row, column = divmod(self.sides, 2)
        self.sides += 1
        return float(low) + (float(high) - float(low)) * self.uniforms[row, column]

    def place(self, low: int, high: int) -> int:
        self.places += 1
        return low + int(self.uniforms[self.sides // 2 - 1, 1 + self.places] * (high - low))


@pytest.mark.parametrize("shape", [(3, 32), (1, 28), (1, 8)], ids=str)
@pytest.mark.parametrize("kind", range(14), ids=list(kernels.RANDAUGMENT))
def test_an_operation_is_torchvisions_at_every_magnitude_of_either_sign(kind: int, shape: tuple[int, int]) -> None:
    images = pictures(8, *shape)
    space = TorchvisionsRandAugment()._augmentation_space(31, (shape[1], shape[1]))
    name, (magnitudes, signed) = list(space.items())[kind]
    operations = torch.full((8, 1), kind)
    for step in range(31):
        magnitude = float(magnitudes[step]) if magnitudes.ndim else 0.0
        for negative in (False, True):
            by = -magnitude if negative and signed else magnitude
            theirs = torch.stack([_apply_op(image, name, by, InterpolationMode.NEAREST, None) for image in images])
            ours = kernels.randaugment(images, operations, torch.full((8, 1), negative), step)
            assert torch.equal(ours, theirs), (name, step, negative)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_image_of_a_batch_goes_through_its_own_operations_in_turn(channels: int) -> None:
    images, before = pictures(64, channels), pictures(64, channels)
    draws = Draws(64, Augment(randaugment=RandAugment(num_ops=3, magnitude=17)), seed=4, epoch=0)
    ours = draws.apply(images, torch.arange(64))
    space = list(TorchvisionsRandAugment()._augmentation_space(31, (32, 32)).items())
    for image, kinds, negative, one in zip(images, draws.operations, draws.negative, ours, strict=True):
        for kind, minus in zip(kinds.tolist(), negative.tolist(), strict=True):
            name, (magnitudes, signed) = space[kind]
            magnitude = float(magnitudes[17]) if magnitudes.ndim else 0.0
            image = _apply_op(
                image, name, -magnitude if minus and signed else magnitude, InterpolationMode.NEAREST, [0.0]
            )
        assert torch.equal(one, image)
    assert torch.equal(images, before), "the images given are left as they were"


@pytest.mark.parametrize(("channels", "train_side", "side"), [(3, 32, 32), (1, 28, 28), (3, 48, 32), (3, 20, 32)])
def test_resized_crops_are_torchvisions(channels: int, train_side: int, side: int) -> None:
    images = pictures(96, channels, train_side)
    draws = Draws(96, Augment(resize_crop=ResizeCrop()), seed=1, epoch=2)
    boxes = [CropBox(ResizeCrop(), 1, 2)(sample, train_side, train_side) for sample in range(96)]
    assert len(set(boxes)) > 90
    theirs = [F.resized_crop(image, *box, [side, side]) for image, box in zip(images, boxes, strict=True)]
    assert torch.equal(draws.apply(images, torch.arange(96), side), torch.stack(theirs))


def test_on_a_gpu_torchvisions_products_are_not_rounded_to_tf32_and_the_trials_still_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[str] = []
    randaugment = kernels.randaugment

    def watched(*arguments: Any) -> Tensor:
        seen.extend(precisions())
        return randaugment(*arguments)

    monkeypatch.setattr(kernels, "randaugment", watched)
    with products("tf32"):
        Draws(8, Augment(randaugment=RandAugment()), seed=0, epoch=0).apply(pictures(8), torch.arange(8))
        assert precisions() == ["tf32", "tf32"]
    assert seen == ["ieee", "ieee"]


def precisions() -> list[str]:
    return [torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision]  # type: ignore[attr-defined]


def test_without_crops_larger_images_are_resized() -> None:
    images = pictures(8, side=40)
    ours = Draws(8, Augment(), seed=0, epoch=0).apply(images, torch.arange(8), 32)
    assert torch.equal(ours, F.resize(images, [32, 32], antialias=True))


@pytest.mark.parametrize("size", [(32, 32), (375, 500), (20, 400), (400, 20)], ids=str)
def test_a_crops_box_is_torchvisions_for_the_same_draws(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    rng, image = np.random.default_rng(0), torch.empty(3, *size)
    fallbacks = 0
    for uniforms in rng.random((300, 10, 4)):
        with monkeypatch.context() as patch:
            script = ScriptedDraws(patch, uniforms)
            theirs = RandomResizedCrop.get_params(image, SCALE, RATIO)
        assert tuple(kernels.crop_boxes(*size, uniforms[None], SCALE, RATIO)[0]) == theirs
        fallbacks += script.places == 0
    assert (fallbacks > 50) == (max(size) == 400), "narrow images need the fallback"


@pytest.mark.parametrize(("scale", "ratio"), [((0.02, 1 / 3), (0.3, 3.3)), ((0.6, 1.0), (0.3, 3.3))], ids=["", "large"])
def test_an_erased_box_is_torchvisions_for_the_same_draws(
    scale: tuple[float, float], ratio: tuple[float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    images, uniforms = torch.rand(300, 3, 24, 32), np.random.default_rng(1).random((300, 10, 4))
    uniforms[:100, 1:] = uniforms[:100, :1]  # one try: often it does not fit
    boxes = torch.from_numpy(kernels.erasing_boxes(24, 32, uniforms, scale, ratio))
    theirs = []
    for image, draws in zip(images, uniforms, strict=True):
        with monkeypatch.context() as patch:
            ScriptedDraws(patch, draws)
            *box, value = RandomErasing.get_params(image, scale, ratio, [0.0])
        theirs.append(F.erase(image, *box, value))
    assert torch.equal(kernels.erase(images, boxes, 0.0), torch.stack(theirs))
    assert ((boxes[:, 2] == 0).sum() > 20) == (scale[0] == 0.6), "large boxes do not always fit"


def test_the_ratio_of_an_erased_box_is_its_height_over_its_width() -> None:
    uniforms = np.random.default_rng(0).random((100, 10, 4), dtype=np.float32)
    boxes = kernels.erasing_boxes(64, 64, uniforms, (0.1, 0.1), (3.9, 4.1))
    height, width = boxes[:, 2], boxes[:, 3]
    assert (abs(height / width - 4) < 0.3).all()


def test_colour_operations_differ_from_pils_as_much_as_the_suites_say() -> None:
    """suites/cifar.yaml: by one grey level, in some 18 % of the values of colour, contrast and sharpness."""
    generator = torch.Generator().manual_seed(0)
    smooth = resize(torch.rand(24, 3, 8, 8, generator=generator), [32, 32])
    noise = 0.1 * torch.randn(24, 3, 32, 32, generator=generator)
    shares = []
    for adjust in (F.adjust_saturation, F.adjust_contrast, F.adjust_sharpness):
        for image in (255 * (smooth + noise).clamp(0, 1)).to(torch.uint8):
            for factor in (0.64, 1.36):
                theirs = F.pil_to_tensor(adjust(F.to_pil_image(image), factor))
                differences = (adjust(image, factor).int() - theirs.int()).abs()
                assert differences.max() <= 1
                shares.append(differences.float().mean().item())
    assert 0.1 < np.mean(shares) < 0.25


def test_noise_fills_the_erased_boxes_and_nothing_else() -> None:
    images, index = torch.rand(200, 3, 16, 16), torch.arange(200).flip(0)
    draws = Draws(200, Augment(erasing=Erasing(probability=0.5, fill="noise")), seed=0, epoch=0)
    noise, ours = draws.noise(index, images), draws.erase(images, index)
    changed = ours != images
    assert torch.equal(changed.flatten(1).any(1), draws.erased[index])
    assert torch.equal(ours[changed], noise[changed])
    rows, columns = changed.any(1).any(2).sum(1), changed.any(1).any(1).sum(1)
    assert torch.equal(changed.sum((1, 2, 3)), 3 * rows * columns), "what has changed is a box"
    assert stats.kstest(noise.flatten().numpy(), "norm").pvalue > UNLIKELY
    assert torch.equal(draws.noise(index[7:9], images[7:9]), noise[7:9])


@pytest.mark.parametrize("channels", [1, 3])
def test_color_jitter_is_torchvisions_in_each_images_own_order(channels: int) -> None:
    options = ColorJitter(brightness=0.7, contrast=1.5, saturation=0.9, hue=0.5)
    images, draws = pictures(256, channels), Draws(256, Augment(color_jitter=options), seed=0, epoch=0)
    theirs = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation, F.adjust_hue)
    expected = []
    for image, factors, order in zip(images, draws.jitter.tolist(), draws.jitter_order.tolist(), strict=True):
        for kind in order:
            image = theirs[kind](image, factors[kind])
        expected.append(image)
    assert torch.equal(draws.apply(images, torch.arange(256)), torch.stack(expected))


@pytest.mark.parametrize("shift", [-0.5, -0.1, 0.0, 0.25, 0.5])
def test_every_colour_of_a_grid_is_turned_as_torchvision_turns_it(shift: float) -> None:
    levels = torch.arange(0, 256, 5, dtype=torch.uint8)
    colours = torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, len(levels), -1)
    assert torch.equal(color.adjust_hue(colours, torch.tensor([shift])), F.adjust_hue(colours, shift))


def test_jitter_factors_span_torchvisions_ranges() -> None:
    options = ColorJitter(brightness=0.4, contrast=1.5, saturation=0.0, hue=0.1)
    theirs = TorchvisionsColorJitter(0.4, 1.5, 0.0, 0.1)
    ends = jitter_factors(options, torch.tensor([[0.0] * 4, [1.0] * 4])).T.tolist()
    assert ends[:2] == [pytest.approx(theirs.brightness), pytest.approx(theirs.contrast)]
    assert ends[2:] == [[1.0, 1.0], pytest.approx(theirs.hue)]


def test_cutmix_boxes_and_shares_are_torchvisions(monkeypatch: pytest.MonkeyPatch) -> None:
    share, transform = torch.rand(200, generator=torch.Generator().manual_seed(0)), v2.CutMix(num_classes=3)
    centre = torch.stack([torch.arange(200) % 24, torch.arange(200) * 7 % 32], dim=1)
    boxes = kernels.cutmix_boxes(share, centre, 24, 32)
    for one, (row, column), box in zip(share, centre.tolist(), boxes.tolist(), strict=True):
        drawn = iter([column, row])
        with monkeypatch.context() as patch:
            patch.setattr(transform._dist, "sample", lambda _, one=one: one)
            patch.setattr(torch, "randint", lambda _, size, drawn=drawn: torch.tensor([next(drawn)]))
            theirs = transform.make_params([torch.empty(2, 3, 24, 32)])
        top, left, height, width = box
        assert (left, top, left + width, top + height) == theirs["box"]
        assert 1 - height * width / (24 * 32) == pytest.approx(theirs["lam_adjusted"])


def is_uniform(counts: Tensor) -> bool:
    return bool(stats.chisquare(counts.numpy()).pvalue > UNLIKELY)


def test_operations_signs_and_orders_are_uniform_and_independent() -> None:
    draws = Draws(28_000, EVERYTHING, seed=0, epoch=0)
    first, second = draws.operations.long().T
    assert is_uniform(first.bincount(minlength=14))
    assert is_uniform((first * 14 + second).bincount(minlength=196))
    assert is_uniform(draws.negative.flatten().long().bincount())
    orders = (draws.jitter_order.long() * torch.tensor([64, 16, 4, 1])).sum(1).bincount()
    assert (orders > 0).sum() == 24 and is_uniform(orders[orders > 0])
    assert is_uniform(draws.is_cut.long().bincount())
    assert draws.erased.float().mean().item() == pytest.approx(0.5, abs=0.01)


def test_shares_follow_their_beta_distributions() -> None:
    draws = Draws(20_000, EVERYTHING, seed=0, epoch=0)
    cut, mixed = draws.share[draws.is_cut], draws.share[~draws.is_cut]
    assert stats.kstest(cut.numpy(), stats.beta(1.0, 1.0).cdf).pvalue > UNLIKELY
    assert stats.kstest(mixed.numpy(), stats.beta(0.8, 0.8).cdf).pvalue > UNLIKELY
    assert not Draws(100, Augment(mixup=0.2), 0, 0).is_cut.any() and Draws(100, Augment(cutmix=0.2), 0, 0).is_cut.all()


def test_hashed_uniforms_are_uniform_and_depend_on_key_and_index_alone() -> None:
    drawn = hashed_uniforms(2**64 - 5, torch.arange(2_000), 40)
    assert stats.kstest(drawn.flatten().numpy(), "uniform").pvalue > UNLIKELY
    assert abs(np.corrcoef(drawn.numpy(), rowvar=False) - np.eye(40)).max() < 0.1
    assert torch.equal(hashed_uniforms(2**64 - 5, torch.tensor([1_999, 3]), 40), drawn[[1_999, 3]])
    assert not torch.isin(hashed_uniforms(2**64 - 4, torch.arange(100), 40), drawn).any()
    # SplitMix64's published first numbers from the state 1234567
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    expected = [((number >> 12) + 0.5) * 2.0**-52 for number in published]
    assert hashed_uniforms(1234567, torch.tensor([0]), 3)[0].tolist() == expected


@pytest.mark.parametrize("field", [name for name in Augment.model_fields if name not in ("flip", "crop_padding")])
def test_leaving_out_one_augmentation_changes_no_draw_of_the_others(field: str) -> None:
    every = vars(Draws(50, EVERYTHING, seed=2, epoch=3))
    fewer = vars(Draws(50, EVERYTHING.model_copy(update={field: Augment.model_fields[field].default}), 2, 3))
    kept = [name for name in every if name in fewer and isinstance(every[name], Tensor)]
    assert len(kept) >= 8
    mixing = {"is_cut", "share"} if field in ("mixup", "cutmix") else set()
    assert all(torch.equal(every[name], fewer[name]) for name in kept if name not in mixing)


def test_every_stream_of_every_epoch_is_its_own() -> None:
    assert len(set(Stream)) == len(Stream.__members__)
    draws = [Draws(50, EVERYTHING, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0))]
    for name, value in vars(draws[0]).items():
        if isinstance(value, Tensor):
            assert all(not torch.equal(value, getattr(other, name)) for other in draws[1:]), name
    assert len({CropBox(ResizeCrop(), *each)(3, 500, 500) for each in ((0, 0), (0, 1), (1, 0))}) == 3
    shares = {
        tuple(Draws(50, Augment(mixup=0.8), seed, epoch).share.tolist()) for seed, epoch in ((0, 0), (0, 1), (1, 0))
    }
    assert len(shares) == 3


def epoch_of(parts: Augment, batch: int, world_size: int, pieces: int, channels: int = 3) -> tuple[Tensor, Tensor]:
    """Images and targets of an epoch of all ranks together, in the epoch's order."""
    data, dataset = made(channels=channels)
    ranks = [
        list(TrainLoader(data, dataset, parts, batch, rank, world_size, drop_last=False).epoch(5, 6, pieces))
        for rank in range(world_size)
    ]
    steps = range(0, len(ranks[0]), pieces)
    shards = [piece for step in steps for rank in ranks for piece in rank[step : step + pieces]]
    return torch.cat([images for images, _ in shards]), torch.cat([labels for _, labels in shards])


@pytest.fixture(scope="module")
def alone() -> tuple[Tensor, Tensor]:
    return epoch_of(EVERYTHING, 203, 1, 1)


@pytest.mark.parametrize("pieces", [1, 3])
@pytest.mark.parametrize("world_size", [1, 2, 4])
@pytest.mark.parametrize("batch", [96, 48, 36])
def test_images_and_targets_are_the_same_at_any_batch_size_world_size_and_number_of_pieces(
    batch: int, world_size: int, pieces: int, alone: tuple[Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        loader, "AUGMENTED_VALUES", 80 * 3 * 16 * 16
    )  # of 96 images one batch at a time, of 36 two or more
    images, targets = epoch_of(EVERYTHING, batch, world_size, pieces)
    kept = 203 if 203 % batch >= world_size * pieces else 203 - 203 % batch
    assert len(images) == kept
    assert torch.equal(images, alone[0][:kept]) and torch.equal(targets, alone[1][:kept])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_an_image_is_mixed_with_its_neighbour_in_the_order_and_so_are_their_labels(
    mixup: float, cutmix: float, channels: int
) -> None:
    parts = EVERYTHING.model_copy(update={"mixup": mixup, "cutmix": cutmix})
    plain, labels = epoch_of(parts.model_copy(update={"mixup": 0.0, "cutmix": 0.0}), 36, 2, 3, channels)
    mixed, targets = epoch_of(parts, 36, 2, 3, channels)
    order, cut_somewhere = epoch_order(203, 5, 6), 0
    draws = Draws(203, parts, 5, 6)
    assert torch.equal(labels, order) and targets.dtype == torch.float32 and targets.shape == (203, 203)
    assert torch.allclose(targets.sum(1), torch.ones(203))
    for place in range(203):
        other = min(place ^ 1, 202)
        share = targets[place, labels[place]].item() if other != place else 0.5
        if other != place:
            assert targets[place, labels[other]].item() == pytest.approx(1 - share, abs=1e-6)
        if draws.is_cut[order[place]]:
            own = (mixed[place] == plain[place]).all(0)
            others = (mixed[place] == plain[other]).all(0)
            assert (own | others).all()
            assert (~own).float().mean().item() <= 1 - share + 1e-6 <= others.float().mean().item() + 2e-6
            cut_somewhere += bool(share < 1)
        else:
            assert torch.allclose(mixed[place], share * plain[place] + (1 - share) * plain[other], atol=1e-5)
    assert (cut_somewhere > 50) == bool(cutmix)


def test_targets_go_through_cross_entropy_as_labels_do() -> None:
    data, dataset = made()
    [(_, labels)] = TrainLoader(data, dataset, Augment(flip=True), 203, 0, 1).epoch(0, 0)
    [(_, targets)] = TrainLoader(data, dataset, Augment(mixup=0.2), 203, 0, 1).epoch(0, 0)
    logits = torch.randn(203, 203, generator=torch.Generator().manual_seed(0))
    assert labels.dtype == torch.int64
    assert cross_entropy(logits, targets, label_smoothing=0.1).item() == pytest.approx(
        -(logits.log_softmax(1) * (0.9 * targets + 0.1 / 203)).sum(1).mean().item(), rel=1e-5
    )
