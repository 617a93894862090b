"""The table of datasets.  Reading it needs neither torch nor the datasets' files."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mixbench.errors import RequestError, nearest
from mixbench.suite.recipe import Recipe

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Those of torchvision's ImageFolder; case does not matter."""
HELD_OUT = 10
"""`split: val` holds out one training image in so many, of each class."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Dataset:
    """A dataset of images with one label each.

    `image_size`: pixels a side of a model's input.  `train_side`: pixels a side of training images before augmentation
    (0: the same).  `mean` and `std`: per channel, of the training images scaled to [0, 1].
    `streamed`: images are decoded again in each epoch; a training image is cropped to the box that its augmentation
    draws, a test image is resized and centre-cropped.  Images of other datasets are decoded once, and resized to a
    square without keeping their aspect ratio.  `resampling`: of streamed test images.
    `folder`: path of an `image_folder`, empty for a dataset of the table; `contents`: hash of the names of its classes
    and images, part of a trial's id.  `decoded`: a streamed dataset's images are decoded once, into a cache; they are
    the same images, so datasets that differ only in this are equal.
    """

    name: str
    image_size: int
    channels: int
    classes: int
    train_images: int
    test_images: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    source: str
    splits: str = "the official ones"
    train_side: int = 0
    resampling: Literal["bilinear", "bicubic"] = "bilinear"
    streamed: bool = False
    folder: str = ""
    contents: str = ""
    decoded: bool = field(default=False, compare=False)

    @property
    def decoded_bytes(self) -> int:
        """Bytes of both splits as uint8 arrays, in memory or in a cache; if streamed, of the cache of `decoded`."""
        train_side = self.train_side or self.image_size
        pixels = self.train_images * train_side**2 + self.test_images * self.image_size**2
        return self.channels * pixels


DATASETS = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "digits",
            image_size=8,
            channels=1,
            classes=10,
            train_images=1437,
            test_images=360,
            mean=(0.3054,),
            std=(0.3760,),
            splits="stratified 80/20, random_state 0",
            source="scikit-learn's load_digits (UCI optical digits, test part)",
        ),
        Dataset(
            "mnist",
            image_size=28,
            channels=1,
            classes=10,
            train_images=60_000,
            test_images=10_000,
            mean=(0.1307,),
            std=(0.3081,),
            source="LeCun, Cortes and Burges; torchvision's download",
        ),
        Dataset(
            "fashion_mnist",
            image_size=28,
            channels=1,
            classes=10,
            train_images=60_000,
            test_images=10_000,
            mean=(0.2860,),
            std=(0.3530,),
            source="Xiao et al., arXiv:1708.07747; Debian's dataset-fashion-mnist, else torchvision's download",
        ),
        Dataset(
            "cifar10",
            image_size=32,
            channels=3,
            classes=10,
            train_images=50_000,
            test_images=10_000,
            mean=(0.4914, 0.4822, 0.4465),
            std=(0.2023, 0.1994, 0.2010),
            source="Krizhevsky 2009; torchvision's download; mean and std as SplitMixer's recipe has them",
        ),
        Dataset(
            "cifar100",
            image_size=32,
            channels=3,
            classes=100,
            train_images=50_000,
            test_images=10_000,
            mean=(0.5071, 0.4867, 0.4408),
            std=(0.2675, 0.2565, 0.2761),
            splits="the official ones, fine labels",
            source="Krizhevsky 2009; torchvision's download; mean and std as SplitMixer's recipe has them",
        ),
        Dataset(
            "flowers102",
            image_size=224,
            channels=3,
            classes=102,
            train_images=2040,
            test_images=6149,
            mean=(0.507, 0.487, 0.441),
            std=(0.267, 0.256, 0.276),
            splits="official train + val (1,020 each) for training, the official test",
            source="Nilsback and Zisserman 2008; torchvision's download; training images squashed to 230 × 230 as "
            "SplitMixer's Food-101 recipe does: its Flowers recipe does not say",
            train_side=230,
        ),
        Dataset(
            "food101",
            image_size=224,
            channels=3,
            classes=101,
            train_images=75_750,
            test_images=25_250,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            source="Bossard et al. 2014; torchvision's download; training images squashed to 230 × 230 as "
            "SplitMixer's Resize((230, 230)) does, test images to 224 × 224",
            train_side=230,
        ),
        Dataset(
            "imagenet",
            image_size=224,
            channels=3,
            classes=1000,
            train_images=1_281_167,
            test_images=50_000,
            mean=IMAGENET_MEAN,
            std=IMAGENET_STD,
            splits="official train, official val as the test set",
            source="ILSVRC 2012, arXiv:1409.0575; behind a login: to be put in place by hand",
            streamed=True,
        ),
        Dataset(
            "synthetic",
            image_size=224,
            channels=3,
            classes=1000,
            train_images=2048,
            test_images=512,
            mean=(0.5, 0.5, 0.5),
            std=(0.2887, 0.2887, 0.2887),
            splits="drawn",
            source="noise from a fixed seed under random labels: it times training, and says nothing of accuracy",
        ),
    )
}


def find_dataset(
    name: str, image_size: int | None = None, image_folder: str | None = None, decoded: bool = False
) -> Dataset:
    """Return a dataset of the table, at `image_size` if given, or that of the images in a folder.

    At another size `train_side` is scaled with it.  Raises RequestError if there is no such dataset (with the nearest
    names), if the folder's layout is wrong, or if `decoded` is given for a dataset that is not streamed.
    """
    if image_folder is not None:
        return replace(_folder_dataset(name, Path(image_folder), image_size or 224), decoded=decoded)
    if name not in DATASETS:
        raise RequestError(f"no dataset is called {name!r}{nearest(name, DATASETS)}")
    dataset = DATASETS[name]
    if decoded and not dataset.streamed:
        raise RequestError(f"decoded: {name} is kept decoded in any case; it is for imagenet or an image_folder")
    size = image_size or dataset.image_size
    side = round(dataset.train_side * size / dataset.image_size)
    return replace(dataset, image_size=size, train_side=side, decoded=decoded)


def _folder_dataset(name: str, folder: Path, image_size: int) -> Dataset:
    if name in DATASETS:
        raise RequestError(f"image_folder: {name!r} is a dataset of the table; give the folder's a name of its own")
    layout = f"{folder} is to hold train/CLASS/*.jpg and val/CLASS/*.jpg"
    counts, contents = {}, hashlib.sha256()
    for part in ("train", "val"):
        if not (folder / part).is_dir():
            raise RequestError(f"image_folder: no folder {folder / part}; {layout}")
        names = {label: sorted(image_files(folder / part / label)) for label in classes_in(folder, part)}
        counts[part] = {label: len(images) for label, images in names.items()}
        contents.update(repr((part, names)).encode("utf-8", "surrogateescape"))
        if not sum(counts[part].values()):
            raise RequestError(f"image_folder: no images in {folder / part}; {layout}")
    if unknown := sorted(set(counts["val"]) - set(counts["train"])):
        raise RequestError(f"image_folder: class {unknown[0]!r} is in {folder / 'val'} but not in {folder / 'train'}")
    return Dataset(
        name,
        image_size=image_size,
        channels=3,
        classes=len(counts["train"]),
        train_images=sum(counts["train"].values()),
        test_images=sum(counts["val"].values()),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        splits="train/ for training, val/ as the test set",
        source="an image_folder; mean and std are ImageNet's",
        streamed=True,
        folder=str(folder.absolute()),
        contents=contents.hexdigest()[:16],
    )


def classes_in(folder: Path, part: str) -> list[str]:
    """Names of the class folders of a part (train or val), in the order of their labels."""
    return sorted(entry.name for entry in os.scandir(folder / part) if entry.is_dir())


def image_files(folder: Path) -> Iterator[str]:
    """Names of the images in a folder, in no particular order."""
    return (entry.name for entry in os.scandir(folder) if entry.name.lower().endswith(IMAGE_SUFFIXES))


def training_images(dataset: Dataset, recipe: Recipe) -> int:
    """Number of images to train on, at least: `split: val` holds out a tenth of each class, rounded down."""
    return dataset.train_images - (dataset.train_images // HELD_OUT if recipe.split == "val" else 0)
