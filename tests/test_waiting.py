"""No step of a training waits for the device: nothing in it asks for a number that the device has yet to compute."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from mixbench.data.loader import TrainLoader
from mixbench.data.store import Splits
from mixbench.run.folder import Run
from mixbench.suite.trial import Trial
from mixbench.train.checkpoint import Checkpoints
from mixbench.train.distributed import World
from mixbench.train.ema import make_average
from mixbench.train.engine import make_engine
from mixbench.train.loop import fit
from mixbench.train.model import build_model
from tests.trials import RECIPE, SMALL, plan_trials

aten = torch.ops.aten
ANSWERS = {
    aten._local_scalar_dense.default,  # item, tolist, float, bool, if
    aten.nonzero.default,
    aten.masked_select.default,
    aten.equal.default,
    aten.bincount.default,
}
"""Operators whose result, or its shape, the host must know before it goes on."""
Watch = Callable[[Tensor | None], AbstractContextManager[Any]]
ADAMW = {"name": "adamw", "lr": 0.01}


class NoAnswers(TorchDispatchMode):
    """What sets a GPU and its host to wait for each other, refused on any device.

    Copies between the two are not seen here: on a CPU there are none.  `on_host` lies on the host on a GPU as well.
    """

    def __init__(self, on_host: Tensor | None):
        super().__init__()
        self.on_host = on_host

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        by_mask = func is aten.index.Tensor and any(each is not None and each.dtype == torch.bool for each in args[1])
        asks = (func in ANSWERS or by_mask) and (self.on_host is None or args[0].data_ptr() != self.on_host.data_ptr())
        assert not asks, f"a step waits for the device in {func}"
        return func(*args, **(kwargs or {}))


@contextmanager
def no_waiting_on_the_gpu(on_host: Tensor | None) -> Iterator[None]:
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


class Watched(TrainLoader):
    """Batches that are ready, on the device.  All that is done with one, but for the first, is done under `watch`."""

    watch: Watch
    on_host: Tensor | None

    def epoch(self, *arguments: Any) -> Iterator[tuple[Tensor, Tensor]]:
        first, *others = list(super().epoch(*arguments))
        yield first
        for batch in others:
            with self.watch(self.on_host):
                yield batch


def train_under(watch: Watch, trial: Trial, data: Splits, world: World, run: Run) -> float:
    """An epoch of the trial; the mean loss."""
    model = build_model(trial, world)
    average, engine = make_average(model, trial), make_engine(model, trial, world)
    recipe = trial.recipe
    loader = Watched(
        data.on(world.device).train, trial.data, recipe.augment, recipe.global_batch_size, world.rank, world.size
    )
    loader.watch, loader.on_host = watch, None if average is None else average.n_averaged
    checkpoints = Checkpoints(run, trial, world)
    losses: list[float] = []
    fit(engine, average, trial, loader, data.test, world, lambda _, loss, __: losses.append(loss), checkpoints)
    [loss] = losses
    return loss


WAYS: list[tuple[str, dict[str, Any]]] = [
    ("fp32", {"ema": 0.9, "clip_grad_norm": 0.1, "optimizer": ADAMW}),
    ("fp32", {"gradient_accumulation": 2, "clip_grad_norm": 0.1, "augment": {"mixup": 0.5}}),
    ("amp-bf16", {"clip_grad_norm": 0.1, "optimizer": ADAMW}),
    ("amp-fp16", {"clip_grad_norm": 0.1, "optimizer": ADAMW}),
    ("amp-fp16", {}),
    ("bf16", {"optimizer": ADAMW}),
    ("bf16", {"clip_grad_norm": 0.1}),
    ("bf16", {"gradient_accumulation": 2, "clip_grad_norm": 0.1, "optimizer": ADAMW, "augment": {"mixup": 0.5}}),
    ("fp32", {"zero_stage": 1, "optimizer": ADAMW}),
    ("amp-bf16", {"zero_stage": 2}),
    ("bf16", {"zero_stage": 1, "gradient_accumulation": 2}),
    ("bf16", {"zero_stage": 2, "optimizer": ADAMW}),
]
LAMB: list[tuple[str, dict[str, Any]]] = [
    (precision, {"clip_grad_norm": 0.1, "optimizer": {"name": "lamb", "lr": 0.01}}) for precision in ("fp32", "bf16")
]
"""timm's LAMB reads its count of steps, which lies on the host always; on a CPU that looks like a wait."""


@pytest.mark.parametrize(("precision", "recipe"), WAYS)
def test_no_step_asks_for_a_number_of_the_device(
    precision: str, recipe: dict[str, Any], tmp_path: Path, world: World, digits: Splits
) -> None:
    [trial] = plan_trials(tmp_path, models=[SMALL["splitmixer"]], precision=precision, recipe=RECIPE | recipe)
    assert 0 < train_under(NoAnswers, trial, digits, world, Run(tmp_path / "run")) < 4


@pytest.mark.parametrize("ask", [Tensor.item, Tensor.nonzero, lambda loss: loss[loss.isfinite()]])
def test_a_step_that_asks_is_noticed(
    ask: Callable[[Tensor], Any], tmp_path: Path, world: World, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    [trial] = plan_trials(tmp_path)
    monkeypatch.setattr("mixbench.train.loop.as_input", lambda images, trial: (ask(images.sum()), images)[1])
    with pytest.raises(AssertionError, match="waits for the device"):
        train_under(NoAnswers, trial, digits, world, Run(tmp_path / "run"))


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "recipe"), WAYS + LAMB)
def test_no_step_waits_for_the_gpu(
    precision: str, recipe: dict[str, Any], tmp_path: Path, world: World, digits: Splits
) -> None:
    [trial] = plan_trials(tmp_path, models=[SMALL["splitmixer"]], precision=precision, recipe=RECIPE | recipe)
    assert 0 < train_under(no_waiting_on_the_gpu, trial, digits, world, Run(tmp_path / "run")) < 4
