"""Checkpoints: complete or absent, gone on from to the bit in every mode, never used when damaged or another's."""

import hashlib
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from mixbench.data.store import Splits
from mixbench.errors import TrialError
from mixbench.launch.cost import needed_bytes
from mixbench.measure import accuracy
from mixbench.run.claim import Claim, Taken
from mixbench.run.flags import Kind
from mixbench.run.folder import Run, complete
from mixbench.run.parts import Epoch
from mixbench.suite.trial import Checkpointing, Trial
from mixbench.system.signals import Stop, Stopped
from mixbench.train import loop
from mixbench.train.checkpoint import Checkpoints
from mixbench.train.distributed import World
from mixbench.train.engine import make_engine
from mixbench.train.model import build_model
from mixbench.train.save_times import SaveTimes
from mixbench.train.schedule import lr_share
from tests.trials import RECIPE, SMALL, plan_trials

ALWAYS = Checkpointing(minutes=1e-9)
FACETS: dict[str, Any] = {
    "ema": 0.9,
    "gradient_accumulation": 2,
    "drop_last": False,
    "drop_path": 0.2,
    "augment": {"flip": True, "mixup": 0.4},
    "evaluate_every": 2,
}


class Interrupted(Exception):
    pass


class At(Run):
    """A run all of whose trials lie in its folder itself."""

    def trial_folder(self, trial_id: str) -> Path:
        return self.folder


@pytest.fixture
def measured(world: World, digits: Splits, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Train in a folder, interrupted before step `stop`: what is learnt, its weights, the notes and the steps taken.

    The loss is `wrong` times too large from step 27 on.
    """
    train_step = loop.train_step

    def measure(trial: Trial, folder: Path, stop: int = 0, wrong: float = 1.0) -> Any:
        steps = 0

        def step(*arguments: Any) -> Tensor:
            nonlocal steps
            steps += 1
            if steps == stop:
                raise Interrupted
            return train_step(*arguments) * (wrong if steps >= 27 else 1)

        monkeypatch.setattr(loop, "train_step", step)
        checkpoints, kept = Checkpoints(At(folder), trial, world), folder / "weights.safetensors"
        write = partial(At(folder).write_predictions, trial.id)
        curve = accuracy.measure(trial, digits, world, lambda *_: None, kept, checkpoints, write)
        learnt = [replace(epoch, seconds=0.0) for epoch in curve.epochs]
        return (
            (learnt, curve.predictions, hashlib.sha256(kept.read_bytes()).hexdigest()),
            [str(flag) for flag in checkpoints.flags],
            steps,
        )

    return measure


def small_trial(folder: Path, checkpoint: Checkpointing = ALWAYS, model: str = "mixer", **keys: Any) -> Trial:
    recipe = RECIPE | {"epochs": 2, "optimizer": {"name": "adamw", "lr": 0.01}} | keys.pop("recipe", {})
    [trial] = plan_trials(folder, models=[SMALL[model]], recipe=recipe, **keys)
    return trial.model_copy(update={"checkpoint": checkpoint})


@pytest.mark.parametrize(
    ("precision", "zero_stage", "facets"),
    [
        ("fp32", 0, {}),
        ("fp32", 0, FACETS),
        ("fp32", 1, FACETS),
        ("fp32", 2, {}),
        ("fp32", 3, {}),
        ("bf16", 0, {}),
        ("bf16", 1, {}),
        ("amp-bf16", 1, FACETS),
        ("amp-fp16", 0, FACETS),
    ],
    ids=lambda value: ("plain", "facets")[bool(value)] if isinstance(value, dict) else str(value),
)
def test_an_interrupted_training_goes_on_to_the_same_bits(
    precision: str, zero_stage: int, facets: dict[str, Any], tmp_path: Path, measured: Callable[..., Any]
) -> None:
    recipe, model = {"zero_stage": zero_stage} | facets, "mixer" if facets else "splitmixer"
    trial = small_trial(tmp_path, model=model, precision=precision, recipe=recipe)
    undisturbed, _, steps = measured(trial, folder(tmp_path, "whole"))
    interrupted = folder(tmp_path, "interrupted")
    with pytest.raises(Interrupted):
        measured(trial, interrupted, stop=steps * 2 // 3)
    resumed, notes, rest = measured(trial, interrupted)
    assert resumed == undisturbed
    assert notes == [] and rest <= steps - steps * 2 // 3 + 2, "it did not begin anew"


def test_a_job_that_is_told_to_end_saves_after_the_step_at_hand_and_goes_on_from_there(
    tmp_path: Path, world: World, digits: Splits, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, stop, taken = small_trial(tmp_path, Checkpointing()), Stop(), count(1)
    train_step = loop.train_step

    def step(*arguments: Any) -> Tensor:
        if next(taken) == 27:
            stop.signal = "SIGTERM"
        return train_step(*arguments)

    def trained(name: str, world: World) -> list[Epoch]:
        checkpoints = Checkpoints(At(tmp_path / name), trial, world)
        curve = accuracy.measure(trial, digits, world, lambda *_: None, None, checkpoints).epochs
        return [replace(point, seconds=0.0) for point in curve]

    undisturbed = trained("whole", world)
    monkeypatch.setattr(loop, "train_step", step)
    with pytest.raises(Stopped):
        trained("stopped", replace(world, stop=stop))
    assert [path.name for path in complete(tmp_path / "stopped" / "checkpoint")] == ["step-00000027"]
    assert trained("stopped", replace(world, stop=Stop())) == undisturbed
    assert next(taken) == 41, "each of the 40 steps was taken once"


def folder(parent: Path, name: str) -> Path:
    path = parent / name
    path.mkdir()
    return path


def interrupted(trial: Trial, place: Path, measured: Callable[..., Any]) -> Path:
    """The folder of the only checkpoint of a training that was interrupted after step 25."""
    with pytest.raises(Interrupted):
        measured(trial, place, stop=26)
    assert sorted(path.name for path in (place / "checkpoint").iterdir()) == ["latest", "step-00000025"]
    assert (place / "checkpoint" / "latest").read_text() == "step-00000025"
    return place / "checkpoint" / "step-00000025"


def damage(path: Path, rng: random.Random) -> str:
    """Flip bytes of a file, cut it short, empty it, fill it with something else, or take it away."""
    kind, whole = rng.choice(["flip", "cut", "empty", "garbage", "gone", "folder"]), path.read_bytes()
    if kind == "flip":
        at = rng.randrange(len(whole))
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
    elif kind == "gone":
        path.unlink()
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    else:
        other = {"cut": whole[: rng.randrange(len(whole))], "empty": b"", "garbage": rng.randbytes(200)}
        path.write_bytes(other[kind])
    return kind


def test_a_damaged_checkpoint_is_set_aside_named_and_not_used(
    tmp_path: Path, measured: Callable[..., Any], world: World
) -> None:
    trial = small_trial(tmp_path)
    undisturbed, _, _ = measured(trial, folder(tmp_path, "whole"))
    run = Run(tmp_path / "run")
    run.trial_folder(trial.id).mkdir(parents=True)
    good = interrupted(trial, run.trial_folder(trial.id), measured).parent
    model = build_model(trial, world)
    engine = make_engine(model, trial, world)
    rng, harmless = random.Random(0), 0
    for index in range(60):
        copy = tmp_path / str(index) / "checkpoint"
        shutil.copytree(good, copy)
        victim = rng.choice(["manifest.json", "shared.pt", "rank-0.pt"])
        kind = damage(copy / "step-00000025" / victim, rng)
        checkpoints = Checkpoints(At(copy.parent), trial, world)
        position = checkpoints.load(engine, None)
        if position.epoch == 1:  # a letter of the manifest's `made_with` may change: only its note does
            assert (victim, kind) == ("manifest.json", "flip") and len(checkpoints.flags) <= 1
            harmless += 1
            continue
        assert position.step == position.epoch == 0, (victim, kind)
        [flag] = checkpoints.flags
        assert flag.kind == Kind.DAMAGED_CHECKPOINT
        assert str(flag).startswith("checkpoint step-00000025 set aside: "), flag
        assert sorted(path.name for path in copy.iterdir()) == ["latest", "step-00000025.damaged-1"]
    assert harmless < 5
    engine.destroy()

    damage(good / "step-00000025" / "shared.pt", rng)
    resumed, [_], steps = measured(trial, good.parent)
    assert resumed == undisturbed and steps == 40, "it began anew"
    run.clear(trial.id)
    assert [path.name for path in good.iterdir()] == ["step-00000025.damaged-1"], "only that is kept"


def test_a_disk_that_is_full_costs_no_checkpoint_and_with_room_again_the_training_goes_on(
    disk: Path, tmp_path: Path, measured: Callable[..., Any]
) -> None:
    trial = small_trial(tmp_path)
    undisturbed, _, _ = measured(trial, folder(tmp_path, "whole"))
    place, filling = folder(disk, "place"), disk / "filling"
    with pytest.raises(Interrupted):
        measured(trial, place, stop=11)
    subprocess.run(["dd", "if=/dev/zero", f"of={filling}", "bs=4k"], capture_output=True)
    with pytest.raises(TrialError, match=r"^the checkpoint could not be written: No space left on device$"):
        measured(trial, place)
    assert sorted(path.name for path in (place / "checkpoint").iterdir()) == ["latest", "step-00000010"]
    filling.unlink()
    resumed, notes, steps = measured(trial, place)
    assert resumed == undisturbed and notes == [] and steps == 30


def test_an_earlier_complete_checkpoint_takes_the_place_of_a_damaged_one(
    tmp_path: Path, measured: Callable[..., Any]
) -> None:
    trial = small_trial(tmp_path)
    undisturbed, _, _ = measured(trial, folder(tmp_path, "whole"))
    place = folder(tmp_path, "place")
    with pytest.raises(Interrupted):
        measured(trial, place, stop=11)
    shutil.copytree(place / "checkpoint" / "step-00000010", tmp_path / "kept")
    with pytest.raises(Interrupted):
        measured(trial, place, stop=16)  # from step 10 on
    shutil.copytree(tmp_path / "kept", place / "checkpoint" / "step-00000010")
    (place / "checkpoint" / "step-00000025" / "shared.pt").write_bytes(b"")
    resumed, [note], steps = measured(trial, place)
    assert resumed == undisturbed and steps == 30 and "step-00000025 set aside: shared.pt is damaged" in note


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"trial_id": "another"}, "it is of another, schema version 1"),
        ({"schema_version": 99}, "schema version 99"),
        ({"world_size": 2}, "it is of 2 processes, not 1"),
        ({"model_code": "0123456789abcdef"}, "the source of its model has changed since"),
    ],
    ids=["trial", "schema", "processes", "source"],
)
def test_a_checkpoint_of_something_else_is_refused_with_the_reason(
    change: dict[str, Any], why: str, tmp_path: Path, measured: Callable[..., Any]
) -> None:
    trial = small_trial(tmp_path)
    place = folder(tmp_path, "place")
    manifest = interrupted(trial, place, measured) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | change))
    _, [note], steps = measured(trial, place)
    assert why in note and steps == 40


def test_what_another_torch_began_is_gone_on_with_and_said(tmp_path: Path, measured: Callable[..., Any]) -> None:
    trial = small_trial(tmp_path)
    place = folder(tmp_path, "place")
    manifest = interrupted(trial, place, measured) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"made_with": "torch 1.0 on an abacus"}))
    _, notes, steps = measured(trial, place)
    assert notes == ["begun with torch 1.0 on an abacus"] and steps == 15


def test_what_is_to_be_known_of_a_training_outlives_a_second_interruption(
    tmp_path: Path, measured: Callable[..., Any]
) -> None:
    trial = small_trial(tmp_path)
    place = folder(tmp_path, "place")
    manifest = interrupted(trial, place, measured) / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"made_with": "an abacus"}))
    with pytest.raises(Interrupted):
        measured(trial, place, stop=4)
    assert measured(trial, place)[1] == ["begun with an abacus"]


def test_the_checkpoint_of_an_epochs_last_step_stays_until_that_of_its_end_is_good(
    tmp_path: Path, measured: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trial, place = small_trial(tmp_path, Checkpointing(minutes=1e-9, epochs=1)), folder(tmp_path, "place")
    replace, seen = os.replace, []

    def interrupted(source: Path, target: Path) -> None:
        if Path(target).name.startswith("step-"):
            seen.append(Path(target).name)
            if len(seen) == 21:
                raise Interrupted
        replace(source, target)

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(Interrupted):
        measured(trial, place)
    monkeypatch.setattr(os, "replace", replace)
    assert seen[-2:] == ["step-00000020", "step-00000020-ended"]
    assert [path.name for path in complete(place / "checkpoint")] == ["step-00000020"]
    assert measured(trial, place)[2] == 20


def test_who_has_lost_the_run_neither_writes_nor_deletes_checkpoints(
    tmp_path: Path, world: World, digits: Splits
) -> None:
    trial, mine = small_trial(tmp_path), Claim(tmp_path / "lock", 1)
    mine.folder.mkdir()
    mine.file.touch()
    left = tmp_path / "checkpoint" / ".step-00000001.tmp"
    left.mkdir(parents=True)
    Claim(mine.folder, 2).file.touch()
    with pytest.raises(Taken):
        accuracy.measure(trial, digits, world, lambda *_: None, None, Checkpoints(At(tmp_path, mine), trial, world))
    left.rmdir()
    with pytest.raises(Taken):
        accuracy.measure(trial, digits, world, lambda *_: None, None, Checkpoints(At(tmp_path, mine), trial, world))
    assert not list((tmp_path / "checkpoint").iterdir())


@pytest.mark.parametrize(
    ("zero_stage", "precision", "optimizer"),
    [(0, "fp32", "adamw"), (1, "fp32", "sgd"), (2, "fp32", "adamw"), (3, "fp32", "adamw"), (1, "bf16", "adamw")],
)
def test_the_room_that_is_asked_for_is_what_a_checkpoint_takes(
    zero_stage: int, precision: str, optimizer: str, tmp_path: Path, measured: Callable[..., Any]
) -> None:
    wide = SMALL["mixer"] | {"dim": 128, "token_dim": 64, "channel_dim": 512, "depth": 4}
    momentum = {"momentum": 0.9} if optimizer == "sgd" else {}
    recipe = RECIPE | {"zero_stage": zero_stage, "optimizer": {"name": optimizer, "lr": 0.01} | momentum}
    [trial] = plan_trials(tmp_path, models=[wide], recipe=recipe, precision=precision, checkpoint={"minutes": 1e-9})
    with pytest.raises(Interrupted):
        measured(trial, folder(tmp_path, "place"), stop=3)
    taken = sum(path.stat().st_size for path in tmp_path.glob("place/checkpoint/step-*/*"))
    assert needed_bytes([trial], 1)[1] / 2 == pytest.approx(taken, rel=0.05)


class Evil:
    def __reduce__(self) -> Any:
        return (Path.touch, (Path("executed"),))


def test_nothing_in_a_checkpoint_is_executed(
    tmp_path: Path, measured: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    trial = small_trial(tmp_path)
    place = folder(tmp_path, "place")
    at = interrupted(trial, place, measured)
    torch.save({"module": Evil()}, at / "shared.pt")
    manifest = json.loads((at / "manifest.json").read_text())
    manifest["files"]["shared.pt"] = hashlib.sha256((at / "shared.pt").read_bytes()).hexdigest()
    (at / "manifest.json").write_text(json.dumps(manifest))
    _, [note], steps = measured(trial, place)
    assert "shared.pt cannot be read with mixbench" in note and steps == 40
    assert not Path("executed").exists()


def test_a_state_that_does_not_fit_fails_once_and_is_then_begun_anew(
    tmp_path: Path, measured: Callable[..., Any]
) -> None:
    trial = small_trial(tmp_path)
    place = folder(tmp_path, "place")
    at = interrupted(trial, place, measured)
    state = torch.load(at / "shared.pt", weights_only=True)
    del state["module"]["stem.proj.weight"]
    torch.save(state, at / "shared.pt")
    manifest = json.loads((at / "manifest.json").read_text())
    manifest["files"]["shared.pt"] = hashlib.sha256((at / "shared.pt").read_bytes()).hexdigest()
    (at / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(TrialError, match="it is set aside, the same command begins this trial anew"):
        measured(trial, place)
    assert measured(trial, place)[2] == 40


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_the_first_step_whose_loss_is_no_number_is_named_and_never_saved(
    wrong: float, tmp_path: Path, measured: Callable[..., Any]
) -> None:
    trial = small_trial(tmp_path)
    place = folder(tmp_path, "place")
    lr = 0.01 * lr_share(trial.recipe.schedule, 26, 40, 20)
    with pytest.raises(TrialError, match=rf"^the training loss is {wrong} at step 7 of 20, epoch 2 of 2, lr {lr:.3g}$"):
        measured(trial, place, wrong=wrong)
    assert [path.name for path in (place / "checkpoint").glob("step-*")] == ["step-00000026"]


def test_checkpoints_come_by_the_clock_or_at_the_end_of_epochs_or_never(
    tmp_path: Path, measured: Callable[..., Any], world: World
) -> None:
    def names(checkpoint: Checkpointing, stop: int) -> list[str]:
        trial = small_trial(tmp_path, checkpoint, recipe={"epochs": 3, "global_batch_size": 350})
        place = folder(tmp_path, f"{checkpoint} {stop}")
        with pytest.raises(Interrupted):
            measured(trial, place, stop=stop)
        return [path.name for path in place.glob("checkpoint/step-*")]

    assert names(Checkpointing(minutes=0), stop=12) == []
    assert names(Checkpointing(), stop=12) == [], "ten minutes have not gone by"
    assert names(Checkpointing(minutes=0, epochs=2), stop=8) == []
    assert names(Checkpointing(minutes=0, epochs=2), stop=12) == ["step-00000008-ended"]
    assert names(ALWAYS, stop=4) == ["step-00000003"]
    last = small_trial(tmp_path, Checkpointing(epochs=3), recipe={"epochs": 3})
    assert not SaveTimes(last, world).due_after_epoch(3), "the record is next"


@pytest.mark.parametrize("checkpoint", [ALWAYS, Checkpointing(minutes=0, epochs=1)], ids=["steps", "epochs"])
def test_the_seconds_of_training_are_those_since_the_last_point_without_what_saving_took(
    checkpoint: Checkpointing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, world: World, digits: Splits
) -> None:
    recipe, now = {"epochs": 3, "evaluate_every": 2}, [0.0]
    trial = small_trial(tmp_path, checkpoint, recipe=recipe)
    monkeypatch.setattr("mixbench.train.loop.time.perf_counter", lambda: now[0])
    save, train_step = Checkpoints.save, loop.train_step

    def slow_save(self: Checkpoints, *arguments: Any) -> None:
        save(self, *arguments)
        now[0] += 1000

    def timed_step(*arguments: Any) -> Tensor:
        if now[0] % 1000 == stop:
            raise Interrupted
        now[0] += 1
        return train_step(*arguments)

    def curve() -> list[tuple[int, float]]:
        checkpoints = Checkpoints(At(tmp_path), trial, world)
        points = accuracy.measure(trial, digits, world, lambda *_: None, None, checkpoints).epochs
        return [(point.epoch, point.seconds) for point in points]

    monkeypatch.setattr(Checkpoints, "save", slow_save)
    monkeypatch.setattr(loop, "train_step", timed_step)
    stop = 27  # in the second epoch, the first of which is no point
    with pytest.raises(Interrupted):
        curve()
    stop = -1
    assert curve() == [(2, 40), (3, 20)]
