"""The table of datasets agrees with the papers, and the readers with the official file formats."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mixbench.data.readers import read
from mixbench.data.store import load
from mixbench.errors import RequestError
from mixbench.suite.datasets import DATASETS, find_dataset
from tests import small_sets
from tests.small_sets import write_tree


@pytest.mark.parametrize(
    ("name", "image_size", "train_side", "classes", "train_images", "test_images", "mean", "std"),
    [
        ("cifar10", 32, 0, 10, 50_000, 10_000, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
        ("cifar100", 32, 0, 100, 50_000, 10_000, (0.5071, 0.4867, 0.4408), (0.2675, 0.2565, 0.2761)),
        ("flowers102", 224, 230, 102, 2040, 6149, (0.507, 0.487, 0.441), (0.267, 0.256, 0.276)),
        ("food101", 224, 230, 101, 75_750, 25_250, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("imagenet", 224, 0, 1000, 1_281_167, 50_000, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    ],
)
def test_the_papers_sets_are_as_the_papers_have_them(
    name: str,
    image_size: int,
    train_side: int,
    classes: int,
    train_images: int,
    test_images: int,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> None:
    row = find_dataset(name)
    assert (row.image_size, row.train_side, row.classes) == (image_size, train_side, classes)
    assert (row.train_images, row.test_images, row.mean, row.std) == (train_images, test_images, mean, std)


def test_another_image_size_scales_the_decoded_size_and_keeps_everything_else() -> None:
    assert find_dataset("cifar10", image_size=32) == DATASETS["cifar10"]
    large, small = find_dataset("cifar10", image_size=224), find_dataset("food101", image_size=112)
    assert (large.image_size, large.train_side, large.classes) == (224, 0, 10)
    assert (small.image_size, small.train_side) == (112, 115)
    assert small.decoded_bytes == 3 * (75_750 * 115**2 + 25_250 * 112**2)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100"])
def test_arrays_in_the_official_format_are_read_to_the_last_byte(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = small_sets.write(name, tmp_path, monkeypatch)
    splits = load(small.dataset)
    for part, images, labels in (
        (splits.train, small.train, small.train_labels),
        (splits.test, small.test, small.test_labels),
    ):
        assert part.images.dtype == torch.uint8 and np.array_equal(part.images.numpy(), images)
        assert part.labels.dtype == torch.int64 and part.labels.tolist() == labels
    assert not (tmp_path / "cache").exists(), "what is read this fast needs no cache"


@pytest.mark.parametrize("name", ["flowers102", "food101"])
def test_photographs_in_the_official_layout_are_squashed_to_230_for_training_and_224_for_testing(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.transforms import Resize
    from torchvision.transforms.functional import pil_to_tensor

    small = small_sets.write(name, tmp_path, monkeypatch)
    splits = load(small.dataset)
    for part, paths, labels, side in (
        (splits.train, small.train, small.train_labels, 230),
        (splits.test, small.test, small.test_labels, 224),
    ):
        expected = torch.stack([pil_to_tensor(Resize((side, side))(Image.open(path))) for path in paths])
        assert torch.equal(part.images, expected) and part.labels.tolist() == labels


def test_official_train_and_val_of_flowers_are_the_training_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = small_sets.write("flowers102", tmp_path, monkeypatch)
    train, test = read(small.dataset)
    assert [path.name for path in train.images] == [f"image_{n:05d}.jpg" for n in (3, 1, 9, 2, 8, 15)]
    assert len(test.images) == 9 and not set(train.images) & set(test.images)


@pytest.mark.parametrize(
    ("name", "file", "said"),
    [
        (
            "cifar10",
            "cifar-10-batches-py/data_batch_3",
            "cifar10: .* a checksum is wrong; .*fetch cifar10",
        ),
        ("cifar100", "cifar-100-python/meta", "cifar100: the files in .* a checksum is wrong"),
        ("flowers102", "flowers-102/setid.mat", "flowers102: the files in .* a checksum is wrong"),
        ("mnist", "MNIST/raw/train-labels-idx1-ubyte.gz", "train-labels-idx1-ubyte.gz is damaged"),
        ("food101", "food-101/meta/test.json", "food101: the files in .* are damaged"),
    ],
)
def test_a_damaged_official_file_is_refused(
    name: str, file: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = small_sets.write(name, tmp_path, monkeypatch)
    data = bytearray((tmp_path / file).read_bytes())
    data[4] ^= 1  # of a gzip header that is its time: the contents are the same, the checksum is not
    (tmp_path / file).write_bytes(data if name != "food101" else b"{")
    with pytest.raises(RequestError, match=said):
        load(small.dataset)


def test_an_incomplete_dataset_is_refused_with_its_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small_sets.write("food101", tmp_path, monkeypatch)
    with pytest.raises(
        RequestError, match=r"found 6 training images and 6 labels, where 75750 belong; .*data fetch food101"
    ):
        load(find_dataset("food101"))


def test_a_photograph_that_cannot_be_decoded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = small_sets.write("food101", tmp_path, monkeypatch)
    small.train[4].write_bytes(small.train[4].read_bytes()[:300])
    with pytest.raises(RequestError, match=f"{small.train[4]} cannot be decoded as an image"):
        load(small.dataset)


def test_synthetic_images_are_the_same_noise_each_time() -> None:
    dataset = find_dataset("synthetic", image_size=8)
    splits, again = load(dataset), load(dataset)
    assert splits.train.images.shape == (2048, 3, 8, 8) and splits.test.images.shape == (512, 3, 8, 8)
    assert torch.equal(splits.train.images, again.train.images) and torch.equal(splits.test.labels, again.test.labels)
    assert not torch.equal(splits.train.images[:512], splits.test.images)
    normal = splits.train.images.double() / 255
    assert normal.mean().item() == pytest.approx(dataset.mean[0], abs=2e-3)
    assert normal.std().item() == pytest.approx(dataset.std[0], abs=2e-3)
    assert splits.train.labels.unique().numel() > 800 and splits.train.labels.max() < 1000
    assert find_dataset("synthetic").image_size == 224 and "says nothing of accuracy" in dataset.source


def test_an_image_folder_gives_its_classes_and_counts(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "mine", {"cat": (3, 1), "ant": (2, 2)}, suffix=".png")
    (folder / "train/cat/notes.txt").write_text("no image")
    dataset = find_dataset("pets", image_folder=str(folder))
    assert (dataset.name, dataset.classes, dataset.train_images, dataset.test_images) == ("pets", 2, 5, 3)
    assert (dataset.image_size, dataset.folder) == (224, str(folder))
    assert find_dataset("pets", 64, str(folder)).image_size == 64
    train, test = read(dataset)
    assert [f"{path.parent.name}/{path.name}" for path in train.images] == [
        "ant/ant_0.png", "ant/ant_1.png", "cat/cat_0.png", "cat/cat_1.png", "cat/cat_2.png",
    ]  # fmt: skip
    assert train.labels.tolist() == [0, 0, 1, 1, 1] and test.labels.tolist() == [0, 0, 1]


def test_a_bad_image_folder_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"no folder .*train; .* train/CLASS/\*.jpg and val/CLASS"):
        find_dataset("pets", image_folder=str(tmp_path))
    (tmp_path / "train/cat").mkdir(parents=True)
    with pytest.raises(RequestError, match=r"no folder .*val;"):
        find_dataset("pets", image_folder=str(tmp_path))
    write_tree(tmp_path, {"cat": (1, 1), "dog": (0, 1)})
    with pytest.raises(RequestError, match=r"class 'dog' is in .*val but not in .*train"):
        find_dataset("pets", image_folder=str(tmp_path))
    with pytest.raises(RequestError, match="'cifar10' is a dataset of the table"):
        find_dataset("cifar10", image_folder=str(tmp_path))


def test_a_folder_that_changed_since_the_plan_is_refused(tmp_path: Path) -> None:
    dataset = find_dataset("pets", image_folder=str(write_tree(tmp_path, {"cat": (2, 1)})))
    (tmp_path / "train/cat/cat_0.JPEG").unlink()
    with pytest.raises(RequestError, match=r"pets: the images in .* have changed since the suite was planned"):
        read(dataset)
