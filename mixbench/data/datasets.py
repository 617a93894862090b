"""The table of datasets.  Neither torch nor any data is needed to read it."""

from dataclasses import dataclass

from mixbench.errors import RequestError, nearest


@dataclass(frozen=True)
class Dataset:
    """mean and std are of the training images scaled to [0, 1], per channel.

    `image_size` is what a model sees, pixels a side; `train_side` what training images are decoded to before their
    augmentation (0: the same).  `folder` is that of an `image_folder`, empty for those in the table.
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
    train_side: int = 0
    folder: str = ""


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
            source="scikit-learn's load_digits (UCI optical digits, test part); stratified 80/20 split, random_state 0",
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
    )
}


def find_dataset(name: str, image_size: int | None = None, image_folder: str | None = None) -> Dataset:
    """The dataset of the table, at another image size where one is given; or the images of a folder.

    Raises RequestError with the nearest names where there is no such dataset.
    """
    if name not in DATASETS:
        raise RequestError(f"no dataset is called {name!r}{nearest(name, DATASETS)}")
    return DATASETS[name]
