"""What is left out of DeepSpeed's steps changes no weight that they come to."""

from itertools import chain, count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mixbench.data.loader import TrainLoader
from mixbench.data.store import Splits
from mixbench.errors import TrialError
from mixbench.suite.trial import Trial
from mixbench.train import loop
from mixbench.train.distributed import World
from mixbench.train.engine import make_engine
from mixbench.train.model import build_model
from tests.trials import RECIPE, SMALL, plan_trials

SGD = {"name": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 0.01}
ADAMW = {"name": "adamw", "lr": 0.001, "eps": 1e-4, "decay_vectors": False}
STEPS = 8


def trial_of(folder: Path, precision: str, **recipe: Any) -> Trial:
    [trial] = plan_trials(folder, models=[SMALL["splitmixer"]], precision=precision, recipe=RECIPE | recipe)
    return trial


def trained(trial: Trial, world: World) -> tuple[list[Tensor], list[Tensor], Any]:
    """All weights and buffers after some steps, the fp32 weights behind bf16's, and the norm of the last gradient."""
    engine = make_engine(build_model(trial, world), trial, world)
    for _ in range(STEPS * trial.recipe.gradient_accumulation):
        loop.train_step(engine, trial, torch.randn(35, 1, 8, 8), torch.randint(10, (35,)))
    assert engine.global_steps == STEPS and engine.skipped_steps == 0
    masters: list[Tensor] = []
    if hasattr(engine.optimizer, "fp32_groups"):
        masters, weights = (list(chain(*getattr(engine.optimizer, name))) for name in ("fp32_groups", "fp16_groups"))
        assert all(torch.equal(weight, master.bfloat16()) for weight, master in zip(weights, masters, strict=True))
        assert {each.grad for each in (*weights, *masters)} == {None}
        assert engine.optimizer.state_dict()["cur_iter"] == STEPS and engine.optimizer.loss_scale == 1
    state = [value.clone() for value in engine.module.state_dict().values()]
    engine.destroy()
    return state, masters, engine.get_global_grad_norm()


@pytest.mark.parametrize(
    ("precision", "recipe"),
    [
        ("bf16", {"optimizer": SGD}),
        ("bf16", {"optimizer": ADAMW}),
        ("bf16", {"optimizer": ADAMW, "gradient_accumulation": 2}),
        ("bf16", {"optimizer": {"name": "lamb", "lr": 0.01}}),
        ("bf16", {"optimizer": ADAMW, "zero_stage": 1}),
        ("bf16", {"optimizer": SGD, "zero_stage": 2}),
        ("fp32", {"optimizer": ADAMW, "zero_stage": 2}),
    ],
)
def test_without_clipping_the_weights_are_deepspeeds_own_to_the_bit(
    precision: str, recipe: dict[str, Any], tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = trial_of(tmp_path, precision, **recipe)
    state, masters, _ = trained(trial, world)
    monkeypatch.setattr("mixbench.train.engine.patch_steps", lambda *_: None)
    its_state, its_masters, _ = trained(trial, world)
    assert len(masters) == len(its_masters) == (0 if trial.recipe.zero_stage else 30)
    assert all(map(torch.equal, state + masters, its_state + its_masters))


@pytest.mark.parametrize("optimizer", [SGD, ADAMW], ids=["sgd", "adamw"])
def test_with_clipping_bf16s_weights_are_deepspeeds_own_but_for_the_last_digits_of_the_fp32_ones_behind_them(
    optimizer: dict[str, Any], tmp_path: Path, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The norm is summed in another order.  Where that rounds a bf16 weight otherwise, the next gradient tells."""
    trial = trial_of(tmp_path, "bf16", optimizer=optimizer, clip_grad_norm=0.1)
    _, masters, norm = trained(trial, world)
    _, unclipped, _ = trained(trial_of(tmp_path, "bf16", optimizer=optimizer), world)
    monkeypatch.setattr("mixbench.train.engine.patch_steps", lambda *_: None)
    _, its_masters, its_norm = trained(trial, world)
    assert float(norm) == pytest.approx(its_norm, rel=0.01) and its_norm > 0.2, "it is clipped by half and more"
    assert farthest(masters, its_masters) < 1e-5 < 1e-3 < farthest(unclipped, its_masters)


def farthest(ours: list[Tensor], theirs: list[Tensor]) -> float:
    return max(float((one - other).detach().abs().max()) for one, other in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("zero_stage", [1, 3])
def test_after_a_trial_in_amp_fp16_zero_scales_no_loss_of_another(
    zero_stage: int, tmp_path: Path, world: World
) -> None:
    trial = trial_of(tmp_path, "fp32", optimizer=SGD, clip_grad_norm=0.1, zero_stage=zero_stage)
    _, _, norm = trained(trial, world)
    trained(trial_of(tmp_path, "amp-fp16", optimizer=SGD), world)
    _, _, again = trained(trial, world)
    assert float(norm) == float(again)


@pytest.mark.parametrize(
    ("precision", "recipe"),
    [
        ("fp32", {}),
        ("bf16", {}),
        ("bf16", {"clip_grad_norm": 1.0}),
        ("fp32", {"zero_stage": 1}),
        ("bf16", {"zero_stage": 2}),
    ],
)
def test_after_a_gradient_that_is_no_number_the_next_loss_is_none(
    precision: str, recipe: dict[str, Any], tmp_path: Path, world: World
) -> None:
    trial = trial_of(tmp_path, precision, **recipe)
    engine = make_engine(build_model(trial, world), trial, world)
    images, labels = torch.randn(70, 1, 8, 8), torch.arange(70) % 10
    assert loop.train_step(engine, trial, images, labels, share=float("inf")).isfinite()
    assert loop.train_step(engine, trial, images, labels).isnan()


@pytest.mark.parametrize("decay", [0.0, 0.5])
def test_the_first_step_in_bf16_begins_with_the_models_own_weights(decay: float, tmp_path: Path, world: World) -> None:
    """Adam's first step is the learning rate in each weight's direction, whatever the gradient; its second is not."""
    optimizer = {"name": "adamw", "lr": 0.125, "weight_decay": decay, "betas": [0.5, 0.5], "eps": 1e-30}
    trial = trial_of(tmp_path, "bf16", optimizer=optimizer)
    model = build_model(trial, world)
    before = [weight.detach().bfloat16().float() for weight in model.parameters()]
    engine = make_engine(model, trial, world)
    masters = list(chain(*engine.optimizer.fp32_groups))
    assert all(map(torch.equal, masters, before))
    loop.train_step(engine, trial, torch.randn(35, 1, 8, 8), torch.randint(10, (35,)))
    for old, new in zip(before, masters, strict=True):
        moved = new - old * (1 - 0.125 * decay)
        assert (moved[moved != 0].abs() - 0.125).abs().max() < 1e-5, "zeros had no gradient"
    assert {int(state["step"]) for state in engine.optimizer.optimizer.state.values()} == {1}
    engine.destroy()


def test_lambs_own_count_of_steps_begins_with_the_first_in_bf16(tmp_path: Path, world: World) -> None:
    trial = trial_of(tmp_path, "bf16", optimizer={"name": "lamb", "lr": 0.01})
    engine = make_engine(build_model(trial, world), trial, world)
    loop.train_step(engine, trial, torch.randn(35, 1, 8, 8), torch.randint(10, (35,)))
    assert {int(group["step"]) for group in engine.optimizer.param_groups} == {1}
    engine.destroy()


@pytest.mark.parametrize("zero_stage", [0, 1])
def test_a_last_step_that_leaves_weights_that_are_no_numbers_is_named(
    zero_stage: int, tmp_path: Path, world: World, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own loss was fine, and no other follows."""
    trial = trial_of(tmp_path, "bf16", zero_stage=zero_stage)
    engine = make_engine(build_model(trial, world), trial, world)
    loader = TrainLoader(digits.train, trial.data, trial.recipe.augment, trial.recipe.global_batch_size, 0, 1)
    steps, taken, step = loader.steps(), count(1), loop.train_step

    def breaks_at_last(engine: Any, trial: Trial, images: Tensor, targets: Tensor, share: float) -> Tensor:
        return step(engine, trial, images, targets, float("inf") if next(taken) == steps else share)

    monkeypatch.setattr(loop, "train_step", breaks_at_last)
    with pytest.raises(TrialError, match=rf"^a weight is no number at step {steps} of {steps}, epoch 1 of 1, lr 0$"):
        loop.fit(engine, None, trial, loader, digits.test, world, lambda *_: None)
    engine.destroy()
