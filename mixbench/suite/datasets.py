"""The table of datasets.  Reading it needs neither torch nor the datasets' files."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mixbench.errors import RequestError, cut, nearest, printable
from mixbench.suite.image_folder import counted, identity, problems_of, scan
from mixbench.suite.recipe import Recipe
from mixbench.system.words import plural

HELD_OUT = 10
"""`split: val` holds out one training image in so many, of each class."""
MOST_NAMED = 10
"""Classes that are named in a line; of more, the rest is counted."""
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Dataset:
    """A dataset of images with one label each.

    `image_size`: pixels a side of a model's input.  `train_side`: pixels a side of training images before augmentation
    (0: the same).  `mean` and `std`: per channel, of the training images scaled to [0, 1].
    `streamed`: images are decoded again in each epoch; a training image is cropped to the box that its augmentation
    draws, a test image is resized and centre-cropped.  Images of other datasets are decoded once, and resized to a
    square without keeping their aspect ratio.  `resampling`: of streamed test images.
    `decoded`: a streamed dataset's images are decoded once, into a cache; they are the same images, so datasets that
    differ only in this are equal.
    `folder`: path of an `image_folder`, empty for a dataset of the table; `contents`: hash of its images (see
    `image_folder.identity`), part of a trial's id.  `bits`: of 16 in a 16-bit image, those that are used (0: not said).
    `class_images`: training and test images of each class; `skipped`: hidden names; `not_read`: files by their suffix.
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
    bits: int = 0
    class_images: dict[str, tuple[int, int]] = field(default_factory=dict, compare=False)
    skipped: int = field(default=0, compare=False)
    not_read: dict[str, int] = field(default_factory=dict, compare=False)

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
    name: str, image_size: int | None = None, image_folder: str | None = None, decoded: bool = False, bits: int = 0
) -> Dataset:
    """Return a dataset of the table, at `image_size` if given, or that of the images in a folder.

    At another size `train_side` is scaled with it.  Raises RequestError if there is no such dataset (with the nearest
    names), if the folder's layout is wrong, or if `decoded` is given for a dataset that is not streamed, `bits` for one
    of the table.
    """
    if image_folder is not None:
        return replace(_folder_dataset(name, Path(image_folder), image_size or 224, bits), decoded=decoded)
    if name not in DATASETS:
        raise RequestError(f"no dataset is called {name!r}{nearest(name, DATASETS)}")
    dataset = DATASETS[name]
    if decoded and not dataset.streamed:
        raise RequestError(f"decoded: {name} is kept decoded in any case; it is for imagenet or an image_folder")
    if bits:
        raise RequestError(f"bits: {name} has images of 8 bits; it is for an image_folder")
    size = image_size or dataset.image_size
    side = round(dataset.train_side * size / dataset.image_size)
    return replace(dataset, image_size=size, train_side=side, decoded=decoded)


def _folder_dataset(name: str, folder: Path, image_size: int, bits: int) -> Dataset:
    if name in DATASETS:
        raise RequestError(f"image_folder: {name!r} is a dataset of the table; give the folder's a name of its own")
    layout = f"{folder} is to hold train/CLASS/*.jpg and val/CLASS/*.jpg"
    for part in ("train", "val"):
        if not (folder / part).is_dir():
            raise RequestError(f"image_folder: no folder {folder / part}; {layout}")
    parts = train, val = scan(folder, "train"), scan(folder, "val")
    for found in parts:
        if not found.classes:
            raise RequestError(f"image_folder: no images in {found.folder}; {layout}")
    if problems := problems_of(parts):
        raise RequestError(f"image_folder: {problems}; {layout}")
    counts = {label: (len(images), len(val.classes.get(label, []))) for label, images in train.classes.items()}
    return Dataset(
        name,
        image_size=image_size,
        channels=3,
        classes=len(counts),
        train_images=sum(images for images, _ in counts.values()),
        test_images=sum(images for _, images in counts.values()),
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        splits="train/ for training, val/ as the test set",
        source="an image_folder; mean and std are ImageNet's",
        streamed=True,
        folder=str(folder.absolute()),
        contents=identity(parts) + (f", {bits} of 16 bits" if bits not in (0, 16) else ""),
        bits=bits,
        class_images=counts,
        skipped=train.skipped + val.skipped,
        not_read=dict(train.not_read + val.not_read),
    )


def folder_facts(dataset: Dataset) -> str:
    """A line on the images and classes of an `image_folder`, and on what is not used; empty for any other dataset."""
    if not dataset.class_images:
        return ""
    untested = [name for name, (_, test) in dataset.class_images.items() if not test]
    facts = [
        f"{plural(dataset.train_images, 'training image')} and {plural(dataset.test_images, 'test image')} of "
        f"{plural(dataset.classes, 'class')} ({_names(list(dataset.class_images))})",
        f"no test image of {_names(untested)}" if untested else "",
        f"{plural(dataset.skipped, 'hidden name')} skipped" if dataset.skipped else "",
        f"{plural(sum(dataset.not_read.values()), 'file')} not read ({counted(dataset.not_read)})"
        if dataset.not_read
        else "",
    ]
    return f"{dataset.name}: {', '.join(filter(None, facts))}"


def _names(classes: list[str]) -> str:
    more = f" and {len(classes) - MOST_NAMED} more" if len(classes) > MOST_NAMED else ""
    return ", ".join(printable(cut(name, 40)) for name in classes[:MOST_NAMED]) + more


def training_images(dataset: Dataset, recipe: Recipe) -> int:
    """Number of images to train on, at least: `split: val` holds out a tenth of each class, rounded down."""
    return dataset.train_images - (dataset.train_images // HELD_OUT if recipe.split == "val" else 0)
