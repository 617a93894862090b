"""Accuracy: what is trained on and evaluated, in which mode, in which type, and how it is scored."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mixbench.data.loader import TrainLoader, evaluation_batches
from mixbench.data.store import Images, Splits
from mixbench.errors import TrialError
from mixbench.measure import accuracy
from mixbench.measure.timed_model import ImagePools, TimedModel
from mixbench.run.parts import Curve, Epoch
from mixbench.suite.trial import Trial
from mixbench.train import classification
from mixbench.train.classification import evaluate
from mixbench.train.distributed import World
from mixbench.train.engine import make_engine
from mixbench.train.model import MEMORY_FORMATS, build_model
from mixbench.train.schedule import lr_share
from mixbench.zoo.registry import create_model
from tests.trials import RECIPE, SMALL, plan_trials


def measured(trial: Trial, data: Splits, world: World) -> tuple[Curve, list[float]]:
    """The curve, and how many images were trained on for each of its points by the speed that is reported."""
    speeds: dict[int, float] = {}

    def report(epoch: int, loss: float, speed: float) -> None:
        speeds[epoch] = speed

    curve = accuracy.measure(trial, data, world, report)
    assert list(speeds) == list(range(1, trial.recipe.epochs + 1))
    return curve, [speeds[epoch.epoch] * epoch.seconds for epoch in curve.epochs]


def test_after_an_evaluation_batchnorm_trains_on_as_in_plain_pytorch(
    tmp_path: Path, world: World, digits: Splits
) -> None:
    [trial] = plan_trials(tmp_path, models=[SMALL["splitmixer"]], recipe=RECIPE | {"epochs": 2})
    curve, _ = measured(trial, digits, world)
    losses = [(epoch.train_loss, epoch.test_loss) for epoch in curve.epochs]
    for ours, theirs in zip(losses, plain_losses(trial, digits), strict=True):
        assert ours == pytest.approx(theirs, abs=1e-4)


def plain_losses(trial: Trial, data: Splits) -> list[tuple[float, float]]:
    """Plain PyTorch: the mean training and test loss of each epoch."""
    torch.manual_seed(trial.seed)
    model, recipe = create_model(trial.model, **trial.arguments), trial.recipe
    loader = TrainLoader(data.train, trial.data, recipe.augment, recipe.global_batch_size, 0, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=recipe.optimizer.momentum)
    steps, losses = loader.steps(), []
    for epoch in range(recipe.epochs):
        model.train()
        total = 0.0
        for step, (images, labels) in enumerate(loader.epoch(trial.seed, epoch), start=epoch * steps):
            share = lr_share(recipe.schedule, step, recipe.epochs * steps, steps)
            optimizer.param_groups[0]["lr"] = recipe.optimizer.lr * share
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images), labels)
            loss.backward()
            optimizer.step()
            total += loss.item() / steps
        model.eval()
        [(images, labels)] = evaluation_batches(data.test, trial.data, 512, 0, 1)
        with torch.no_grad():
            losses.append((total, F.cross_entropy(model(images), labels).item()))
    return losses


def test_an_epoch_trains_on_its_last_smaller_batch_where_it_is_not_dropped(
    tmp_path: Path, world: World, digits: Splits
) -> None:
    for drop_last, images in ((True, 1400), (False, 1437)):
        [trial] = plan_trials(tmp_path, recipe=RECIPE | {"drop_last": drop_last})
        assert measured(trial, digits, world)[1] == [pytest.approx(images)]


def test_epochs_that_are_not_evaluated_are_trained_as_those_that_are(
    tmp_path: Path, world: World, digits: Splits
) -> None:
    points: dict[int, list[Epoch]] = {}
    for every in (1, 2, 5):
        [trial] = plan_trials(tmp_path, recipe=RECIPE | {"epochs": 3, "evaluate_every": every})
        curve, images = measured(trial, digits, world)
        points[every] = [replace(epoch, seconds=0.0) for epoch in curve.epochs]
        assert sum(images) == pytest.approx(3 * 1400)
    assert [point.epoch for point in points[1]] == [1, 2, 3]
    assert points[2] == points[1][1:] and points[5] == points[1][2:]


def test_a_validation_split_is_evaluated_kept_out_of_training_and_leaves_the_test_set_alone(
    tmp_path: Path, world: World, digits: Splits
) -> None:
    [trial] = plan_trials(tmp_path, recipe=RECIPE | {"split": "val", "drop_last": False})
    untouched = Splits(digits.train, Images(digits.test.images[:0], digits.test.labels[:0]))
    curve, [trained_on] = measured(trial, untouched, world)
    held_out = sum(int(count) // 10 for count in digits.train.labels.bincount())
    assert curve.test_images == held_out <= 143
    assert trained_on == pytest.approx(1437 - held_out)


class Known:
    """A model of known logits, whatever the images; in evaluation mode only."""

    def __init__(self, logits: Tensor):
        self.module, self.logits = nn.Identity(), logits

    def eval(self) -> None:
        self.module.eval()

    def __call__(self, images: Tensor) -> Tensor:
        assert not self.module.training
        batch, self.logits = self.logits.split([len(images), len(self.logits) - len(images)])
        return batch


@pytest.mark.parametrize(("classes", "top5"), [(10, 100 * 5 / 8), (6, 100 * 5 / 8), (5, None), (3, None)])
def test_scores_are_the_mean_loss_and_the_share_of_images_whose_label_is_first_or_among_five(
    classes: int, top5: float | None, tmp_path: Path, world: World
) -> None:
    [trial] = plan_trials(tmp_path)
    trial = trial.model_copy(update={"data": replace(trial.data, classes=classes)})
    ranks = torch.tensor([0, 0, 0, 1, 4, 5, 9, 9]).clamp(max=classes - 1).repeat(75)  # 600: two batches, unequal
    labels = torch.randint(classes, ranks.shape)
    # the label's logit is outdone by as many others as its rank says
    logits = -((torch.arange(classes) + (ranks - labels)[:, None]) % classes).float()
    images = Images(torch.zeros(len(labels), 1, 8, 8, dtype=torch.uint8), labels)
    scores, predictions = evaluate(Known(logits), trial, images, world)
    assert scores["top1"] == pytest.approx(100 * 3 / 8) and scores["top5"] == pytest.approx(top5)
    assert scores["test_loss"] == pytest.approx(F.cross_entropy(logits, labels).item())
    best, log_probabilities = logits.argmax(1), logits.log_softmax(1)
    of_label, of_best = (log_probabilities.gather(1, each[:, None])[:, 0] for each in (labels, best))
    assert torch.equal(predictions, torch.stack([best.float(), of_best, of_label]))


@pytest.mark.parametrize(
    ("seen", "astray"), [(range(300), 0), (range(299), 1), ([0, 0, *range(2, 300)], 1), (range(299, -1, -1), 300)]
)
def test_an_image_that_is_left_out_doubled_or_out_of_order_is_an_error(
    seen: Sequence[int], astray: int, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    [trial] = plan_trials(tmp_path)
    labels = torch.arange(300) % 10
    images = Images(torch.zeros(300, 1, 8, 8, dtype=torch.uint8), labels)
    batch = images.images[list(seen)].float(), labels[list(seen)]
    monkeypatch.setattr(classification, "evaluation_batches", lambda *_: [batch])
    if not astray:
        assert evaluate(Known(torch.zeros(300, 10)), trial, images, world)[0]["top1"] == 10
        return
    with pytest.raises(TrialError, match=f"^{astray} of 300 images were not evaluated, or not in their place$"):
        evaluate(Known(torch.zeros(300, 10)), trial, images, world)


@pytest.mark.parametrize(("odd", "figure"), [(math.nan, "nan"), (math.inf, "nan"), (-math.inf, "inf")])
def test_a_test_loss_that_is_not_finite_fails_with_its_epoch_and_its_number_of_images(
    odd: float, figure: str, tmp_path: Path, world: World
) -> None:
    [trial] = plan_trials(tmp_path, recipe=RECIPE | {"epochs": 9})
    logits, labels = torch.zeros(300, 10), torch.zeros(300, dtype=torch.int64)
    logits[[7, 140], 0] = odd
    images = Images(torch.zeros(300, 1, 8, 8, dtype=torch.uint8), labels)
    for epoch, when in ((4, "after epoch 4 of 9"), (0, "with the given weights")):
        expected = f"the test loss is {figure} {when}: 2 of 300 images have no finite one"
        with pytest.raises(TrialError, match=f"^{expected}$"):
            evaluate(Known(logits), trial, images, world, epoch)


def test_a_class_that_a_model_rules_out_is_no_fault(tmp_path: Path, world: World) -> None:
    [trial] = plan_trials(tmp_path)
    logits = torch.zeros(4, 10)
    logits[:, 9] = -float("inf")
    images = Images(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64))
    assert evaluate(Known(logits), trial, images, world)[0]["test_loss"] == pytest.approx(math.log(9))


Seen = set[tuple[Any, ...]]


def watch(patch: pytest.MonkeyPatch, kind: type[nn.Module], note: Callable[[nn.Module, Tensor, Tensor], Any]) -> Seen:
    """What is noted of each forward of the built models' first module of this kind, with whether it trains."""
    seen: Seen = set()

    def watched(trial: Trial, world: World) -> nn.Module:
        model = build_model(trial, world)
        first = next(module for module in model.modules() if isinstance(module, kind))
        first.register_forward_hook(lambda module, args, out: seen.add((module.training, note(module, args[0], out))))
        return model

    patch.setattr(accuracy, "build_model", watched)
    return seen


@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_images_reach_the_model_in_the_memory_format_of_the_trial(
    memory_format: str, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = dict(datasets=["cifar10"], models=[SMALL["splitmixer"]], memory_format=memory_format)
    [trial] = plan_trials(tmp_path, **keys)  # of three channels: those of one lie alike in both formats
    images = Images(torch.randint(256, (70, 3, 32, 32), dtype=torch.uint8), torch.randint(10, (70,)))
    seen = watch(monkeypatch, type(create_model(trial.model)), lambda module, given, out: format_of(given))
    accuracy.measure(trial, Splits(images, images), world, lambda *_: None)
    assert seen == {(True, memory_format), (False, memory_format)}
    timed = TimedModel(trial, world, ImagePools(world))
    assert format_of(timed.batch("training")) == memory_format
    timed.close()


def format_of(images: Tensor) -> str:
    [name] = [name for name, form in MEMORY_FORMATS.items() if images.is_contiguous(memory_format=form)]
    return name


@pytest.mark.parametrize(
    ("precision", "ema", "weights", "computed"),
    [
        ("fp32", 0.0, torch.float32, torch.float32),
        ("bf16", 0.0, torch.bfloat16, torch.bfloat16),
        ("amp-bf16", 0.0, torch.float32, torch.bfloat16),
        ("amp-bf16", 0.5, torch.float32, torch.bfloat16),
        ("amp-fp16", 0.5, torch.float32, torch.float16),
    ],
)
def test_a_linear_layer_computes_in_the_trials_precision_in_training_and_evaluation(
    precision: str,
    ema: float,
    weights: torch.dtype,
    computed: torch.dtype,
    tmp_path: Path,
    world: World,
    digits: Splits,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    [trial] = plan_trials(tmp_path, recipe=RECIPE | {"ema": ema}, precision=precision)
    seen = watch(monkeypatch, nn.Linear, lambda module, given, out: (module.weight.dtype, out.dtype))
    measured(trial, digits, world)
    assert seen == {(True, (weights, computed)), (False, (weights, computed))}


@pytest.mark.parametrize("wanted", [False, True])
def test_the_model_is_compiled_where_the_trial_says_so(
    wanted: bool, tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    [trial] = plan_trials(tmp_path, compile=wanted)
    compiled: list[nn.Module] = []
    monkeypatch.setattr(nn.Module, "compile", lambda module: compiled.append(module))
    model = build_model(trial, world)
    make_engine(model, trial, world).destroy()
    assert compiled == ([model] if wanted else [])
