"""Training through DeepSpeed: the same result at any world size, the schedules, the recipe's way to DeepSpeed."""

import math
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from mixbench.data.loader import TrainLoader
from mixbench.data.store import Splits, load
from mixbench.measure import accuracy
from mixbench.suite.datasets import find_dataset
from mixbench.suite.recipe import Optimizer, Recipe, Schedule
from mixbench.suite.trial import Trial
from mixbench.system.precision import products
from mixbench.train.distributed import World, connect
from mixbench.train.ema import make_average, update_average
from mixbench.train.engine import deepspeed_config, make_engine
from mixbench.train.loop import train_step
from mixbench.train.model import build_model
from mixbench.train.optimizer import make_optimizer
from mixbench.train.schedule import lr_share
from mixbench.zoo.registry import create_model
from tests.ranks import Trained, train, two_processes
from tests.trials import RECIPE, SMALL, plan_trials

TrainByTwo = Callable[..., list[Trained]]
ODD = str(Path(__file__).with_name("odd_models.py"))


@pytest.fixture(scope="module")
def by_two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainByTwo]:
    with two_processes(tmp_path_factory.mktemp("two")) as train_by_two:
        yield train_by_two


def largest_difference(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    return max(float((ours[name].double() - theirs[name].double()).abs().max()) for name in ours)


@pytest.mark.parametrize(
    ("zero_stage", "accumulation", "optimizer"),
    [  # AdamW's usual eps of 1e-8 would turn the last digit of a vanishing gradient into a whole step
        (0, 1, RECIPE["optimizer"]),
        (1, 1, {"name": "adamw", "lr": 0.001, "eps": 1e-4}),
        (0, 5, RECIPE["optimizer"]),
    ],
    ids=["zero0-sgd", "zero1-adamw", "accumulation"],
)
def test_two_processes_train_to_the_weights_of_one_without_batchnorm(
    tmp_path: Path, zero_stage: int, accumulation: int, optimizer: dict[str, Any], world: World, by_two: TrainByTwo
) -> None:
    recipe = RECIPE | {"clip_grad_norm": 1.0, "optimizer": optimizer}
    [one] = plan_trials(tmp_path, recipe=recipe)
    split = recipe | {"zero_stage": zero_stage, "gradient_accumulation": accumulation}
    [two] = plan_trials(tmp_path, recipe=split, resources={"processes_per_node": 2})
    alone = train(one, world)
    first, second = by_two(two)
    assert largest_difference(first["trained"], second["trained"]) == 0
    assert largest_difference(first["trained"], alone["trained"]) < 1e-5
    assert first["losses"] == pytest.approx(alone["losses"], abs=1e-5)
    assert first["scores"] == second["scores"] == pytest.approx(alone["scores"], abs=1e-3)
    assert torch.equal(first["predictions"], second["predictions"])
    assert first["predictions"] == pytest.approx(alone["predictions"], abs=1e-4), "359 images, each in its place"


def test_two_processes_in_bf16_have_the_same_weights_and_near_enough_those_of_one(
    tmp_path: Path, world: World, by_two: TrainByTwo
) -> None:
    recipe = RECIPE | {"clip_grad_norm": 1.0}
    [one] = plan_trials(tmp_path, recipe=recipe, precision="bf16")
    [two] = plan_trials(tmp_path, recipe=recipe, precision="bf16", resources={"processes_per_node": 2})
    alone = train(one, world)
    first, second = by_two(two)
    assert largest_difference(first["trained"], second["trained"]) == 0
    assert largest_difference(first["trained"], alone["trained"]) < 0.01
    assert first["losses"] == pytest.approx(alone["losses"], abs=1e-3)


def test_two_processes_with_batchnorm_train_to_a_reference_that_normalises_each_shard(
    tmp_path: Path, by_two: TrainByTwo
) -> None:
    [trial] = plan_trials(tmp_path, models=[SMALL["splitmixer"]], resources={"processes_per_node": 2})
    first, second = by_two(trial)
    reference = train_in_shards(trial, shards=2)
    weights = [name for name, _ in create_model(trial.model, **trial.arguments).named_parameters()]
    of_first = {name: first["trained"][name] for name in weights}
    assert largest_difference(of_first, {name: second["trained"][name] for name in weights}) == 0
    assert largest_difference(of_first, {name: reference[name] for name in weights}) < 1e-5
    of_first, of_second, of_reference = (
        {name: state[name] for name in state if name.endswith("running_mean")}
        for state in (first["trained"], second["trained"], reference)
    )
    assert largest_difference(of_first, of_second) > 1e-4, "each shard has statistics of its own"
    assert largest_difference(of_first, of_reference) < 1e-5
    assert largest_difference(first["after"], second["after"]) == 0, "both evaluate with rank 0's running statistics"
    assert first["scores"] == second["scores"]


@pytest.mark.parametrize("zero_stage", [0, 1, 2, 3])
def test_parameters_of_every_shape_stride_and_sharing_train_as_in_plain_pytorch(
    zero_stage: int, tmp_path: Path, world: World, digits: Splits
) -> None:
    [trial] = plan_trials(
        tmp_path, models=["unlike"], plugins=[ODD], seeds=[zero_stage], recipe=RECIPE | {"zero_stage": zero_stage}
    )
    plain, ours = build_model(trial, world), build_model(trial, world)
    engine = make_engine(ours, trial, world)
    optimizer = torch.optim.SGD([weight for weight in plain.parameters() if weight.requires_grad], 0.05, 0.9)
    for group in engine.optimizer.param_groups:
        group["lr"] = 0.05
    for at in range(3):
        images, labels = digits.train.images[at * 70 :][:70].float() / 255, digits.train.labels[at * 70 :][:70]
        loss = F.cross_entropy(plain(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert train_step(engine, trial, images, labels).item() == pytest.approx(loss.item(), abs=1e-5)
    assert engine.module.alpha.item() != 0.5 and engine.module.alpha.shape == ()
    engine.destroy()


@pytest.mark.parametrize("zero_stage", [0, 3])
def test_two_processes_train_such_parameters_to_the_losses_of_one(
    zero_stage: int, tmp_path: Path, world: World, by_two: TrainByTwo
) -> None:
    odd: dict[str, Any] = dict(models=["unlike"], plugins=[ODD])
    [one] = plan_trials(tmp_path, **odd)
    [two] = plan_trials(
        tmp_path, **odd, recipe=RECIPE | {"zero_stage": zero_stage}, resources={"processes_per_node": 2}
    )
    alone = train(one, world, 257)
    first, second = by_two(two, 257)  # 129 and 128 images: one rank has an image more than a batch of 128
    assert first["losses"] == pytest.approx(alone["losses"], abs=1e-5)
    assert first["scores"] == second["scores"] == pytest.approx(alone["scores"], abs=1e-3)
    assert {name: first["after"][name].shape for name in ("columns", "mask")} == {"columns": (10, 4), "mask": (10,)}


def test_at_zero_3_two_processes_evaluate_a_single_image(tmp_path: Path, world: World, by_two: TrainByTwo) -> None:
    odd: dict[str, Any] = dict(models=["unlike"], plugins=[ODD])
    [one] = plan_trials(tmp_path, **odd)
    [two] = plan_trials(tmp_path, **odd, recipe=RECIPE | {"zero_stage": 3}, resources={"processes_per_node": 2})
    first, second = by_two(two, 1)
    assert first["predictions"].shape == (3, 1) and torch.equal(first["predictions"], second["predictions"])
    assert first["scores"] == second["scores"] == pytest.approx(train(one, world, 1)["scores"], abs=1e-3)


def train_in_shards(trial: Trial, shards: int) -> dict[str, torch.Tensor]:
    """Plain PyTorch: each shard through the model on its own, running statistics of the first shard only."""
    torch.manual_seed(trial.seed)
    model = create_model(trial.model, **trial.arguments).train()
    data, recipe = load(trial.data).train, trial.recipe
    loaders = [
        TrainLoader(data, trial.data, recipe.augment, recipe.global_batch_size, rank, shards) for rank in range(shards)
    ]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0, momentum=recipe.optimizer.momentum)
    steps = loaders[0].steps()
    for step, batches in enumerate(zip(*(loader.epoch(trial.seed, 0) for loader in loaders), strict=True)):
        optimizer.param_groups[0]["lr"] = recipe.optimizer.lr * lr_share(recipe.schedule, step, steps, steps)
        optimizer.zero_grad()
        for rank, (images, labels) in enumerate(batches):
            kept = {name: buffer.clone() for name, buffer in model.named_buffers()}
            (F.cross_entropy(model(images), labels) / shards).backward()
            if rank:
                for name, buffer in model.named_buffers():
                    buffer.copy_(kept[name])
        optimizer.step()
    return model.state_dict()


def test_a_cpu_keeps_the_memory_that_a_step_gives_back_for_the_next() -> None:
    """In a process of its own: after a failed allocation glibc takes another arena, which keeps nothing so large."""
    program = """
import resource
import torch
from mixbench.train.distributed import _keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(64 * 2**18)  # 64 MiB, 16,384 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

_keep_freed_memory()
# glibc's aligned blocks leave a crumb behind each, which keeps the space from being joined: 7 of them at most
print(min(faults() for _ in range(20)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1000


class OneIdle(torch.nn.Module):
    """Of its two weights, one is not used."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.idle = torch.nn.Linear(64, 10), torch.nn.Parameter(torch.ones(1))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.used(images.flatten(1))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_lone_process_decays_a_weight_without_gradient_as_several_do(
    precision: str, tmp_path: Path, world: World
) -> None:
    recipe = RECIPE | {"optimizer": {"name": "adamw", "lr": 0.1, "weight_decay": 0.5}}
    [trial] = plan_trials(tmp_path, recipe=recipe, precision=precision)
    engine = make_engine(OneIdle(), trial, world)
    idle = []
    for _ in range(3):
        train_step(engine, trial, torch.randn(70, 1, 8, 8), torch.arange(70) % 10)
        idle.append(engine.module.idle.item())
    shares = [later / earlier for earlier, later in pairwise(idle)]
    assert shares == pytest.approx([0.95, 0.95], rel=1e-6 if precision == "fp32" else 2**-7)


@pytest.mark.parametrize("precision", ["fp32", "tf32"])
def test_an_engines_products_are_those_of_its_trials_precision(precision: str, tmp_path: Path) -> None:
    world = connect(tmp_path / "meeting.json")
    [trial] = plan_trials(tmp_path, precision=precision)
    with products("tf32" if precision == "fp32" else "ieee"):
        make_engine(build_model(trial, world), trial, world).destroy()
        now = [torch.backends.cuda.matmul.fp32_precision, torch.backends.cudnn.conv.fp32_precision]  # type: ignore[attr-defined]
    assert now == ["tf32" if precision == "tf32" else "ieee"] * 2


def test_bf16_and_autocast_train_and_evaluate(tmp_path: Path, world: World) -> None:
    recipe = RECIPE | {"epochs": 2, "optimizer": {"name": "adamw", "lr": 0.01}}
    for precision, model in (("bf16", "mixer"), ("bf16", "splitmixer"), ("amp-bf16", "mixer"), ("amp-fp16", "mixer")):
        [trial] = plan_trials(tmp_path, models=[SMALL[model]], recipe=recipe, precision=precision)
        alone = train(trial, world)
        assert alone["losses"][1] < alone["losses"][0] < 3
        assert alone["scores"]["top1"] > 30, "top-1 % after two epochs is far above chance"


@pytest.mark.parametrize(
    ("step", "share"), [(0, 0.025), (19, 0.5), (39, 1.0), (59, 0.525), (79, 0.05), (89, 0.025), (99, 0.0)]
)
def test_the_default_schedule_is_splitmixers_up_by_two_fifths_down_to_a_twentieth_by_four_fifths(
    step: int, share: float
) -> None:
    assert lr_share(Schedule(), step, steps=100, steps_per_epoch=10) == pytest.approx(share)


def test_cosine_warms_up_linearly_then_falls_to_its_final_share() -> None:
    schedule = Schedule(name="cosine", warmup_epochs=2, final=0.1)
    shares = [lr_share(schedule, step, 100, 10) for step in range(100)]
    assert shares[:3] == pytest.approx([0.05, 0.1, 0.15]) and shares[19] == shares[20] == 1
    assert shares[60] == pytest.approx(0.1 + 0.9 * 0.5)
    assert shares[99] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 79 / 80)))
    assert all(later < earlier for earlier, later in pairwise(shares[20:]))


@pytest.mark.parametrize(
    ("steps", "rise", "start", "end"),
    [
        (100, 0.3, 25.0, 1e4),
        (7, 0.5, 10.0, 100.0),
        (40, 0.1, 2.0, 3.0),
        (10, 0.01, 25.0, 1e4),  # a rise shorter than a step
        (3, 0.3, 25.0, 1e4),
        (2, 0.3, 5.0, 10.0),
        (1, 0.3, 25.0, 1e4),
    ],
)
def test_one_cycle_is_torchs(steps: int, rise: float, start: float, end: float) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    torchs = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, steps, pct_start=rise, div_factor=start, final_div_factor=end, cycle_momentum=False
    )
    schedule = Schedule(name="one_cycle", rise=rise, start_divisor=start, end_divisor=end)
    for step in range(steps):
        assert lr_share(schedule, step, steps, 1) == pytest.approx(torchs.get_last_lr()[0], abs=1e-9), step
        optimizer.step()
        if step < steps - 1:
            torchs.step()


def test_constant_stays_at_one() -> None:
    assert {lr_share(Schedule(name="constant"), step, 10, 5) for step in range(10)} == {1.0}


def test_the_recipe_reaches_deepspeeds_configuration() -> None:
    recipe = Recipe(global_batch_size=96, gradient_accumulation=3, clip_grad_norm=0.5, zero_stage=2)
    config = deepspeed_config(recipe, "bf16", world_size=4)
    assert config["train_batch_size"] == 96 and config["train_micro_batch_size_per_gpu"] == 8
    assert config["gradient_accumulation_steps"] == 3 and config["gradient_clipping"] == 0.5
    assert config["zero_optimization"] == {"stage": 2} and config["bf16"]["enabled"]


def test_optimizers_take_every_option_of_the_recipe() -> None:
    model = torch.nn.Linear(2, 2)
    sgd = make_optimizer(Optimizer(name="sgd", lr=0.3, momentum=0.8, nesterov=True, weight_decay=0.1), model)
    assert isinstance(sgd, torch.optim.SGD)
    assert {key: sgd.defaults[key] for key in ("lr", "momentum", "nesterov", "weight_decay")} == {
        "lr": 0.3,
        "momentum": 0.8,
        "nesterov": True,
        "weight_decay": 0.1,
    }
    adamw = make_optimizer(Optimizer(lr=0.2, betas=(0.5, 0.6), eps=1e-3, weight_decay=0.4), model)
    assert isinstance(adamw, torch.optim.AdamW)
    assert {key: adamw.defaults[key] for key in ("lr", "betas", "eps", "weight_decay")} == {
        "lr": 0.2,
        "betas": (0.5, 0.6),
        "eps": 1e-3,
        "weight_decay": 0.4,
    }


@pytest.mark.parametrize("name", ["adamw", "sgd", "lamb", "lion"])
def test_vectors_may_be_exempt_from_weight_decay(name: Any) -> None:
    model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.BatchNorm2d(2))
    all_in_one = make_optimizer(Optimizer(name=name, weight_decay=0.1), model).param_groups
    assert [(len(group["params"]), group["weight_decay"]) for group in all_in_one] == [(4, 0.1)]
    apart = make_optimizer(Optimizer(name=name, weight_decay=0.1, decay_vectors=False), model).param_groups
    assert [([p.ndim for p in group["params"]], group["weight_decay"]) for group in apart] == [
        ([4], 0.1),
        ([1, 1, 1], 0.0),
    ]


@pytest.mark.parametrize(("name", "lr"), [("lamb", 0.01), ("lion", 0.001)])
def test_lamb_and_lion_train(tmp_path: Path, name: str, lr: float, world: World) -> None:
    recipe = RECIPE | {"epochs": 2, "optimizer": {"name": name, "lr": lr}, "schedule": {"name": "constant"}}
    [trial] = plan_trials(tmp_path, recipe=recipe)
    alone = train(trial, world)
    assert alone["losses"][1] < alone["losses"][0] < 3 and alone["scores"]["top1"] > 30


def test_an_epochs_last_smaller_batch_counts_by_its_images_at_any_world_size(
    tmp_path: Path, world: World, by_two: TrainByTwo
) -> None:
    recipe = RECIPE | {"global_batch_size": 142, "drop_last": False, "schedule": {"name": "constant"}}
    [one] = plan_trials(tmp_path, recipe=recipe)
    [two] = plan_trials(tmp_path, recipe=recipe, resources={"processes_per_node": 2})
    assert two.data.train_images % 142 == 17, "the last batch is odd: its shards are of unequal size"
    alone = train(one, world)
    first, second = by_two(two)
    assert largest_difference(first["trained"], second["trained"]) == 0
    assert largest_difference(first["trained"], alone["trained"]) < 1e-5
    assert first["losses"] == pytest.approx(alone["losses"], abs=1e-5)


def test_the_average_follows_weights_and_buffers(tmp_path: Path) -> None:
    [trial] = plan_trials(tmp_path, models=[SMALL["splitmixer"]], recipe=RECIPE | {"ema": 0.75})
    torch.manual_seed(0)
    model = create_model(trial.model, **trial.arguments)
    average, torchs = make_average(model, trial), make_average(model, trial)
    assert average is not None and torchs is not None
    expected: dict[str, torch.Tensor] = {}
    counts: dict[str, torch.Tensor] = {}
    for step in range(3):
        for name, value in model.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.randn(value.shape))
                expected[name] = 0.75 * expected[name] + 0.25 * value if step else value.clone()
            else:
                value.add_(7 * step + 1)  # BatchNorm's count of batches
                counts[name] = value
        update_average(average, model)
        torchs.update_parameters(model)
        ours, theirs = ({name: each.module.state_dict()[name] for name in expected} for each in (average, torchs))
        assert largest_difference(ours, theirs) == 0
    averaged = average.module.state_dict()
    assert largest_difference(ours, expected) < 1e-6
    assert counts and {int(count) for count in counts.values()} == {1 + 8 + 15}
    assert all(averaged[name] == count for name, count in counts.items()), "a count is copied, not averaged"
    assert make_average(model, trial.model_copy(update={"recipe": Recipe()})) is None


def test_it_is_the_average_that_is_evaluated(tmp_path: Path) -> None:
    world = connect(tmp_path / "meeting.json")
    data = load(find_dataset("digits"))
    curves = []
    recipe = RECIPE | {"epochs": 3, "optimizer": {"name": "adamw", "lr": 0.01}}
    for ema in (0.0, 1e-9, 1 - 1e-9):
        [trial] = plan_trials(tmp_path, recipe=recipe | {"ema": ema})
        curves.append(accuracy.measure(trial, data, world, lambda *_: None).epochs[-1])
    plain, followed, stayed = curves
    assert plain.train_loss == pytest.approx(followed.train_loss) == pytest.approx(stayed.train_loss)
    assert followed.test_loss == pytest.approx(plain.test_loss, rel=1e-4)
    assert stayed.test_loss > 1.5 * plain.test_loss, "an average that never moves has the first step's weights"


def test_channels_last_trains_to_the_same_losses(tmp_path: Path, world: World) -> None:
    losses = []
    for memory_format in ("contiguous", "channels_last"):
        [trial] = plan_trials(tmp_path, models=[SMALL["splitmixer"]], memory_format=memory_format)
        alone = train(trial, world)
        losses += alone["losses"]
    assert losses[0] == pytest.approx(losses[1], abs=1e-4)


def test_the_initial_weights_are_the_seeds_on_every_rank_and_what_is_drawn_later_the_ranks(tmp_path: Path) -> None:
    zero, one = plan_trials(tmp_path, seeds=[0, 1])
    built, drawn = [], []
    for trial, rank in ((zero, 0), (zero, 0), (zero, 1), (one, 0)):
        built.append(build_model(trial, World(rank, 2, torch.device("cpu"))).state_dict())
        drawn.append(float(torch.rand(())))
    first, again, beside, other = built
    assert largest_difference(first, again) == largest_difference(first, beside) == 0
    random = [name for name, value in first.items() if value.ndim > 1 and value.any()]  # the head begins at zero
    assert "stem.proj.weight" in random and not any(torch.equal(first[name], other[name]) for name in random)
    assert drawn[0] == drawn[1] != drawn[2]


class Fixed:
    """An engine that answers with these logits and notes what it is told."""

    def __init__(self, logits: torch.Tensor):
        self.logits, self.told = logits, list[Any]()

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        return self.logits

    def backward(self, loss: torch.Tensor) -> None:
        self.told.append(loss.item())

    def step(self) -> None:
        self.told.append("step")


def test_a_step_smooths_the_labels_and_weighs_the_loss_by_its_share_of_the_batch(tmp_path: Path) -> None:
    [trial] = plan_trials(tmp_path, recipe=RECIPE | {"label_smoothing": 0.2})
    images, labels = torch.randn(4, 1, 8, 8), torch.tensor([3, 0, 9, 3])
    logits = (5 * torch.randn(4, 10)).requires_grad_()
    expected = F.cross_entropy(logits, labels, label_smoothing=0.2).item()
    assert abs(expected - F.cross_entropy(logits, labels).item()) > 0.01
    engine = Fixed(logits)
    assert train_step(engine, trial, images, labels, share=0.5).item() == pytest.approx(expected)
    assert engine.told == [pytest.approx(0.5 * expected), "step"]
