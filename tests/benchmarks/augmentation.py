"""RandAugment(2, 12) and flips of 32×32×3 batches of 512 on one CPU thread, batched against torchvision on PIL images.

Run with: python tests/benchmarks/augmentation.py.  Prints images per second of both and the ratio of each round, in
which they take turns.
"""

import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import Compose, PILToTensor, RandomHorizontalFlip
from torchvision.transforms import RandAugment as TorchvisionsRandAugment

sys.path.insert(0, str(Path(__file__).parents[2]))

from mixbench.data.augment.draws import Draws
from mixbench.suite.recipe import Augment, RandAugment

BATCH, ROUNDS = 512, 25


def seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def through_pil(images: np.ndarray) -> Tensor:
    """As torchvision's CIFAR10 does it, which keeps its images as an array B H W C."""
    transform = Compose([RandomHorizontalFlip(), TorchvisionsRandAugment(num_ops=2, magnitude=12), PILToTensor()])
    return torch.stack([transform(Image.fromarray(image)) for image in images])


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    images = torch.randint(256, (BATCH * (ROUNDS + 1), 3, 32, 32), dtype=torch.uint8)
    arrays = images.permute(0, 2, 3, 1).numpy().copy()
    draws = Draws(len(images), Augment(flip=True, randaugment=RandAugment(num_ops=2, magnitude=12)), seed=0, epoch=0)
    batched, pil = [], []
    for index in torch.arange(len(images)).split(BATCH):
        batched.append(seconds(lambda index=index: draws.apply(images[index], index)))  # type: ignore[misc]
        pil.append(seconds(lambda index=index: through_pil(arrays[index])))  # type: ignore[misc]
    ratios = sorted(theirs / ours for theirs, ours in zip(pil[1:], batched[1:], strict=True))  # the first warms up
    speeds = [BATCH / statistics.median(times[1:]) for times in (batched, pil)]
    print(
        f"batched {speeds[0]:,.0f} images/s, PIL {speeds[1]:,.0f} images/s: ratio {statistics.median(ratios):.2f} "
        f"(quartiles {ratios[len(ratios) // 4]:.2f}–{ratios[-1 - len(ratios) // 4]:.2f}, "
        f"range {ratios[0]:.2f}–{ratios[-1]:.2f}, {ROUNDS} rounds, torch {torch.__version__})"
    )


if __name__ == "__main__":
    main()
