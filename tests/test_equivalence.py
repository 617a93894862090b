"""The CIFAR suite's recipe against the loop that everyone writes: same images and draws, the same losses."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils import data as torch_data
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF
from torchvision.transforms.autoaugment import RandAugment, _apply_op

from mixbench.data import store
from mixbench.data.augment.draws import Draws
from mixbench.data.loader import TrainLoader, epoch_order
from mixbench.suite.datasets import find_dataset
from mixbench.suite.load import load
from mixbench.suite.trial import Trial
from mixbench.train.distributed import connect
from mixbench.train.engine import make_engine
from mixbench.train.loop import fit, train_step
from mixbench.train.model import build_model
from mixbench.zoo.registry import create_model
from tests import small_sets

STEPS = 30
BATCH = 32
SMALL = ("models.0.dim=32", "models.0.depth=2", f"recipe.global_batch_size={BATCH}", "recipe.epochs=2")


@pytest.fixture(scope="module")
def images() -> store.Images:
    """Fashion-MNIST's first 480 real training images at CIFAR's size: 32×32, three channels."""
    small_sets.need_fashion_mnist()
    whole = store.load(find_dataset("fashion_mnist")).train
    count = STEPS // 2 * BATCH
    larger = TF.resize(whole.images[:count], [32, 32], antialias=True)
    return store.Images(larger.expand(-1, 3, -1, -1).contiguous(), whole.labels[:count])


class UsualDataset(torch_data.Dataset):
    """An image at a time through torchvision's tensor transforms, with the draws of an epoch."""

    def __init__(self, images: store.Images, trial: Trial, epoch: int):
        self.images, self.data = images, trial.data
        self.draws = Draws(len(images.labels), trial.recipe.augment, trial.seed, epoch)
        operations = RandAugment()._augmentation_space(31, (32, 32))
        self.operations = [(name, *operations[name]) for name in operations]

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        image = self.images.images[index]
        assert self.draws.flip is not None
        if self.draws.flip[index]:
            image = TF.hflip(image)
        for kind, negative in zip(self.draws.operations[index].tolist(), self.draws.negative[index], strict=True):
            name, magnitudes, signed = self.operations[kind]
            magnitude = float(magnitudes[12]) if magnitudes.ndim else 0.0
            magnitude = -magnitude if signed and negative else magnitude
            image = _apply_op(image, name, magnitude, InterpolationMode.NEAREST, None)
        image = TF.normalize(TF.convert_image_dtype(image), list(self.data.mean), list(self.data.std))
        return image, int(self.images.labels[index])


def usual_losses(trial: Trial, images: store.Images) -> list[float]:
    """The authors' recipe by hand: AdamW, the learning rate through four points, gradients clipped to 1."""
    torch.manual_seed(trial.seed)
    model = create_model(trial.model, **trial.arguments).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.05, weight_decay=0.005)
    losses: list[float] = []
    for epoch in range(2):
        order = epoch_order(len(images.labels), trial.seed, epoch)
        loader = torch_data.DataLoader(UsualDataset(images, trial, epoch), batch_sampler=order.split(BATCH))
        for inputs, labels in loader:
            done = len(losses) + 1
            optimizer.param_groups[0]["lr"] = np.interp(done, np.array([0, 0.4, 0.8, 1]) * STEPS, [0, 0.05, 0.0025, 0])
            loss = F.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            losses.append(loss.item())
    return losses


def test_the_cifar_suites_recipe_is_the_usual_loop_at_each_of_30_steps(
    tmp_path: Path, images: store.Images, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, trials = load("cifar", (*SMALL, "precision=fp32"))
    trial = next(each for each in trials if each.label == "SplitMixer-I" and each.dataset == "cifar10")
    world = connect(tmp_path / "meeting.json")
    ours: list[float] = []

    def noted(*arguments: object) -> Tensor:
        loss = train_step(*arguments)  # type: ignore[arg-type]
        ours.append(loss.item())
        return loss

    monkeypatch.setattr("mixbench.train.loop.train_step", noted)
    engine = make_engine(build_model(trial, world), trial, world)
    loader = TrainLoader(images, trial.data, trial.recipe.augment, BATCH, world.rank, world.size)
    fit(engine, None, trial, loader, images, world, lambda *_: None)
    theirs = usual_losses(trial, images)
    assert len(ours) == len(theirs) == STEPS
    assert ours == pytest.approx(theirs, abs=1e-4)
    assert theirs[-1] < 0.8 * theirs[0], "and it learns"
