"""Batches as they reach the model: the right images, each once, in an order that does not depend on the world size."""

import gzip
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional as F

from mixbench.data import store
from mixbench.data.augment.draws import Draws
from mixbench.data.augment.kernels import crop
from mixbench.data.loader import Normalize, TrainLoader, epoch_order, evaluation_batches
from mixbench.data.readers import idx
from mixbench.data.store import Images
from mixbench.errors import RequestError
from mixbench.suite.datasets import find_dataset
from mixbench.suite.recipe import Augment, RandAugment
from tests.small_sets import need_fashion_mnist


def test_digits_are_scikit_learns_in_its_stratified_split(digits: store.Splits) -> None:
    digits_set = load_digits()
    images, target = digits_set.images, digits_set.target
    parts = train_test_split(images, target, test_size=0.2, stratify=target, random_state=0)
    for ours, images, labels in ((digits.train, parts[0], parts[2]), (digits.test, parts[1], parts[3])):
        assert ours.images[:, 0].tolist() == (images * (255 / 16)).round().tolist()
        assert ours.labels.tolist() == labels.tolist()
    shares = digits.test.labels.bincount() / (digits.test.labels.bincount() + digits.train.labels.bincount())
    assert shares.min() > 0.19 and shares.max() < 0.21


@pytest.mark.parametrize("name", ["digits", "fashion_mnist"])
def test_the_tables_mean_and_std_are_those_of_the_training_images(name: str) -> None:
    if name == "fashion_mnist":
        need_fashion_mnist()
    dataset, images = find_dataset(name), store.load(find_dataset(name)).train.images.double() / 255
    assert images.mean().item() == pytest.approx(dataset.mean[0], abs=1e-4)
    assert images.std(correction=0).item() == pytest.approx(dataset.std[0], abs=1e-4)
    normal = Normalize(dataset, torch.device("cpu"))(store.load(find_dataset(name)).train.images)
    assert normal.mean().item() == pytest.approx(0, abs=1e-3) and normal.std().item() == pytest.approx(1, abs=1e-3)


def test_fashion_mnist_is_all_70000_images_ten_classes_of_equal_size() -> None:
    need_fashion_mnist()
    splits = store.load(find_dataset("fashion_mnist"))
    assert splits.train.labels.bincount().tolist() == [6000] * 10
    assert splits.test.labels.bincount().tolist() == [1000] * 10
    assert splits.train.images.shape == (60_000, 1, 28, 28) and splits.train.images.dtype == torch.uint8


@pytest.mark.parametrize("damage", ["changed", "cut", "not gzip"])
def test_a_damaged_file_is_named_and_never_used(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "train-labels-idx1-ubyte.gz"
    whole = gzip.compress(b"\0\0\x08\x01\0\0\0\x02ab")
    path.write_bytes({"changed": whole, "cut": whole[:-9], "not gzip": b"<html>"}[damage])
    with pytest.raises(RequestError, match=r"train-labels-idx1-ubyte\.gz (is damaged|cannot be unpacked)"):
        idx(path, lambda name, packed, unpacked: packed == gzip.compress(b"what was published"))


def test_unknown_dataset_names_the_choices() -> None:
    with pytest.raises(RequestError, match="fashion_mnist"):
        find_dataset("fashion-mnist")


def order_at(digits: store.Splits, world_size: int, pieces: int, augment: Augment) -> list[torch.Tensor]:
    """The global batches that `world_size` ranks make together."""
    loaders = [
        TrainLoader(digits.train, find_dataset("digits"), augment, 96, rank, world_size) for rank in range(world_size)
    ]
    per_rank = [[images for images, _ in loader.epoch(seed=3, epoch=1, pieces=pieces)] for loader in loaders]
    assert all(len(batches) == loaders[0].steps() * pieces for batches in per_rank)
    whole = []
    for step in range(loaders[0].steps()):
        whole.append(torch.cat([b for rank in per_rank for b in rank[step * pieces : (step + 1) * pieces]]))
    return whole


@pytest.mark.parametrize(("world_size", "pieces"), [(2, 1), (4, 1), (1, 3), (2, 4)])
def test_training_batches_are_the_same_images_in_the_same_order_at_any_world_size(
    digits: store.Splits, world_size: int, pieces: int
) -> None:
    augment = Augment(flip=True, crop_padding=2)
    alone, together = order_at(digits, 1, 1, augment), order_at(digits, world_size, pieces, augment)
    assert len(alone) == 1437 // 96
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_an_epochs_order_is_a_permutation_that_depends_on_seed_and_epoch() -> None:
    orders = [epoch_order(1000, seed, epoch) for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1))]
    assert all(torch.equal(order.sort().values, torch.arange(1000)) for order in orders)
    assert torch.equal(orders[0], epoch_order(1000, 0, 0))
    assert len({tuple(order.tolist()) for order in orders}) == 4


@pytest.mark.parametrize("world_size", [1, 2, 3, 7])
def test_evaluation_shares_out_every_test_image_exactly_once(world_size: int) -> None:
    images = torch.arange(101, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8)
    data = Images(images, torch.arange(101))
    shares = [evaluation_batches(data, find_dataset("digits"), 16, rank, world_size) for rank in range(world_size)]
    labels = torch.cat([labels for share in shares for _, labels in share])
    assert labels.sort().values.tolist() == list(range(101))


def test_crop_cuts_each_image_at_its_own_offset_from_a_zero_padded_one() -> None:
    images = torch.randint(1, 256, (5, 3, 6, 6), dtype=torch.uint8)
    offset = torch.tensor([[0, 0], [4, 4], [2, 2], [1, 3], [4, 0]])
    padded = F.pad(images, (2, 2, 2, 2))
    expected = torch.stack([padded[i, :, r : r + 6, c : c + 6] for i, (r, c) in enumerate(offset.tolist())])
    assert torch.equal(crop(images, offset, 2), expected)
    assert torch.equal(crop(images, offset, 2)[2], images[2]), "the middle offset is the image itself"


def test_half_the_images_are_flipped_and_offsets_are_uniform() -> None:
    draws = Draws(20_000, Augment(flip=True, crop_padding=2), seed=0, epoch=0)
    assert draws.flip is not None and draws.offset is not None
    assert draws.flip.float().mean().item() == pytest.approx(0.5, abs=0.02)
    assert (draws.offset[:, 0].bincount() / 20_000).tolist() == pytest.approx([0.2] * 5, abs=0.02)
    images = torch.arange(8, dtype=torch.uint8).expand(20_000, 1, 8, 8)
    flipped = Draws(20_000, Augment(flip=True), seed=0, epoch=0).apply(images, torch.arange(20_000))
    is_flipped = (flipped[:, 0, 0, 0] == 7).float().mean().item()
    assert is_flipped == pytest.approx(0.5, abs=0.02)


def test_flips_and_offsets_are_those_of_the_first_version() -> None:
    """Results stay comparable with that version: one generator draws flips, then offsets, before all other draws."""
    draws = Draws(1_000, Augment(flip=True, crop_padding=4, randaugment=RandAugment(), mixup=0.2), seed=3, epoch=7)
    state = np.random.SeedSequence([3, 7, 1]).generate_state(1, np.uint64)[0]
    generator = torch.Generator().manual_seed(int(state) >> 1)
    assert draws.flip is not None and draws.offset is not None
    assert torch.equal(draws.flip, torch.rand(1_000, generator=generator) < 0.5)
    assert torch.equal(draws.offset, torch.randint(9, (1_000, 2), generator=generator))


@pytest.mark.parametrize(
    ("batch", "world_size", "pieces", "last"),
    [(96, 1, 1, [93]), (96, 4, 1, [23, 23, 23, 24]), (96, 2, 3, [15, 15, 16, 15, 16, 16]), (718, 1, 1, [1])],
)
def test_an_epochs_last_smaller_batch_is_split_evenly_and_no_image_is_left_out(
    digits: store.Splits, batch: int, world_size: int, pieces: int, last: list[int]
) -> None:
    ranks = [
        TrainLoader(digits.train, find_dataset("digits"), Augment(), batch, rank, world_size, drop_last=False)
        for rank in range(world_size)
    ]
    steps = 1437 // batch + 1
    assert all(loader.steps(pieces) == steps for loader in ranks)
    assert [ranks[0].batch_size(step) for step in range(steps)] == [batch] * (steps - 1) + [sum(last)]
    per_rank = [[labels for _, labels in loader.epoch(0, 0, pieces)] for loader in ranks]
    assert [len(labels) for one in per_rank for labels in one[-pieces:]] == last
    assert {len(labels) for one in per_rank for labels in one[:-pieces]} == {batch // world_size // pieces}
    together = torch.cat([labels for one in per_rank for labels in one])
    assert torch.equal(together.bincount(), digits.train.labels.bincount())


@pytest.mark.parametrize(("world_size", "pieces"), [(2, 1), (1, 2)])
def test_a_last_batch_that_would_leave_a_piece_empty_is_dropped(
    digits: store.Splits, world_size: int, pieces: int
) -> None:
    loader = TrainLoader(digits.train, find_dataset("digits"), Augment(), 718, 0, world_size, drop_last=False)
    batches = [labels for _, labels in loader.epoch(0, 0, pieces)]
    assert loader.steps(pieces) == 2 and [len(labels) for labels in batches] == [359] * len(batches)


def test_the_loader_gets_images_by_batches_only_on_the_device_of_the_labels() -> None:
    """Thus images may stay on the host, or in files."""

    class Elsewhere:
        labels = torch.arange(20)
        asked: ClassVar[list[torch.device]] = []

        def batches(self, indices: Iterable[torch.Tensor], device: torch.device) -> Iterator[torch.Tensor]:
            self.asked.append(device)
            for index in indices:
                yield index.to(torch.uint8)[:, None, None, None].expand(-1, 1, 8, 8)

    elsewhere = cast(Images, Elsewhere())
    digits = find_dataset("digits")
    loaders = (
        TrainLoader(elsewhere, digits, Augment(), 5, 0, 1).epoch(0, 0),
        evaluation_batches(elsewhere, digits, 7, 0, 1),
    )
    for batches in loaders:
        seen = [(images * 0.3760 + 0.3054)[:, 0, 0, 0] * 255 - labels for images, labels in batches]
        assert len(torch.cat(seen)) == 20 and torch.cat(seen).abs().max() < 1e-3
    assert Elsewhere.asked == [elsewhere.labels.device] * 2


def test_normalised_images_are_floats_whatever_the_draws(digits: store.Splits) -> None:
    loader = TrainLoader(digits.train, find_dataset("digits"), Augment(), 64, 0, 1)
    images, labels = next(iter(loader.epoch(0, 0)))
    order = epoch_order(1437, 0, 0)[:64]
    expected = (digits.train.images[order].double() / 255 - 0.3054) / 0.3760
    assert torch.allclose(images.double(), expected, atol=1e-6)
    assert torch.equal(labels, digits.train.labels[order])
