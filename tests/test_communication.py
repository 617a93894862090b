"""Communication of two real processes: the bytes that DeepSpeed sends, and the times of an all-reduce."""

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from mixbench.launch.local import launch
from mixbench.measure import communication
from mixbench.run.folder import Run
from mixbench.run.record import Record
from mixbench.run.timings import Communication
from mixbench.suite.load import load
from mixbench.suite.trial import Throughput
from mixbench.train.distributed import World
from mixbench.train.engine import import_deepspeed
from tests.trials import SMALL, write_suite

RECIPES = [{"name": f"zero{stage}", "global_batch_size": 16, "zero_stage": stage} for stage in (0, 2)]


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, int], Record]:
    """(recipe, number of processes) → record: with ZeRO and without, one process and two."""
    folder = tmp_path_factory.mktemp("two")
    path = write_suite(
        folder,
        models=[SMALL["splitmixer"]],
        recipe=RECIPES,
        resources=[{"processes_per_node": 1}, {"processes_per_node": 2}],
        measure=["complexity", "throughput"],
        throughput={"batch_sizes": [8], "warmup": 1, "repeats": 5},
    )
    suite, trials = load(str(path))
    run = Run(folder / "run")
    run.write_plan(suite.text, trials)
    found = {}
    for outcome in launch(trials, "local", run):
        record = run.record(outcome.trial.id)
        assert record is not None and record.status == "done", record and record.error
        found[record.recipe, record.world_size] = record
    return found


def of(record: Record) -> Communication:
    assert record.details.throughput is not None and record.details.throughput.communication is not None
    return record.details.throughput.communication


def test_one_process_has_no_communication(records: dict[tuple[str, int], Record]) -> None:
    for recipe in RECIPES:
        part = records[str(recipe["name"]), 1].details.throughput
        assert part is not None and part.communication is None


def test_a_step_sends_the_gradients_once(records: dict[tuple[str, int], Record]) -> None:
    record = records["zero0", 2]
    assert record.params is not None
    assert of(record).gradient_bytes == 4 * record.params
    assert of(record).step_bytes == {"all_reduce": 4 * record.params}


def test_zero_sends_the_weights_too(records: dict[tuple[str, int], Record]) -> None:
    sent, gradients = of(records["zero2", 2]).step_bytes, of(records["zero0", 2]).gradient_bytes
    assert of(records["zero2", 2]).gradient_bytes == gradients
    assert gradients <= sent["all_reduce"] <= gradients + 64
    assert gradients / 2 <= sent["all_gather_into_tensor"] <= gradients / 2 + 64, "each of two has half of them"


def test_every_repeat_of_both_sizes_is_kept(records: dict[tuple[str, int], Record]) -> None:
    found = of(records["zero0", 2])
    assert len(found.allreduce_ms) == len(found.latency_ms) == 5 and found.single_bytes == 4
    assert min(found.allreduce_ms + found.latency_ms) > 0
    assert len(set(found.allreduce_ms)) > 1


def test_times_belong_to_their_buffers_and_repeated_collectives_of_one_size_are_all_counted(world: World) -> None:
    """The world claims two processes, but is this one alone: collectives return at once."""
    comm = import_deepspeed().comm

    def step() -> None:
        for numbers in (30, 30, 10):
            comm.all_reduce(torch.ones(numbers))

    def bytes_sent(action: Callable[[], Any]) -> float:
        assert isinstance(action, partial)
        return float(action.args[0].nbytes)

    engine = SimpleNamespace(module=torch.nn.Linear(9, 10))
    two = World(0, 2, world.device)
    found = communication.measure(engine, step, bytes_sent, Throughput(warmup=1, repeats=3), two)
    assert found is not None and found.gradient_bytes == 400 and found.single_bytes == 4
    assert found.allreduce_ms == [400.0] * 3 and found.latency_ms == [4.0] * 3
    assert found.step_bytes == {"all_reduce": 4 * (30 + 30 + 10)}
