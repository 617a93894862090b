"""The benchmarks' own arithmetic, and that none of them takes the others with it; none is run here."""

import subprocess
from collections import Counter
from itertools import islice
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset

from mixbench.data.store import Images
from mixbench.measure import throughput
from mixbench.run.record import Record
from mixbench.run.timings import ThroughputSamples
from mixbench.train.distributed import World
from tests import failing_benchmarks
from tests.benchmarks import __main__ as table
from tests.benchmarks import same, scaling, training
from tests.benchmarks.table import Line
from tests.fake_runs import RECIPE, done, trial, write_run


@pytest.mark.parametrize(("values", "spread"), [([1.0, 2.0], "1.25–1.75"), ([1.0, 2.0, 4.0], "1.50–3.00"), ([1.0], "")])
def test_quartiles_of_a_few_rounds_lie_between_them(values: list[float], spread: str) -> None:
    assert Line("", values).spread == spread


def test_a_benchmark_that_fails_is_a_row_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("raises", "dies", "leaves", "works")
    monkeypatch.setattr(table, "BENCHMARKS", dict.fromkeys(names, (2,)))
    monkeypatch.setattr(table, "environment", failing_benchmarks.environment)
    monkeypatch.setattr(table, "lines_of", failing_benchmarks.lines_of)
    with pytest.raises(SystemExit) as ended:
        table.main()
    told = capsys.readouterr()
    raised, died, left, works = told.out.splitlines()[-4:]
    assert ended.value.code == 1
    assert raised == r"| raises | ValueError: a \| b |  | failed | `raises.py 2` |"
    assert died.startswith("| dies | BrokenProcessPool: ") and died.endswith(" |  | failed | `dies.py 2` |")
    assert left == "| leaves | SystemExit: nothing to compare |  | failed | `leaves.py 2` |"
    assert works == "| all is well | 2.00 s (1.50–2.50) | < 4 s | met | `works.py 2` |"
    assert "in lines_of" in told.err and "more of it" in told.err, "where it was raised, by the process that did"
    monkeypatch.setattr(table, "BENCHMARKS", {"works": ()})
    table.main()


def test_ctrl_c_before_a_run_is_over_leaves_nothing_to_compare(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(throughput, "ENERGY_SECONDS", throughput.ENERGY_SECONDS)  # main sets it
    monkeypatch.setattr(throughput, "measure", interrupted)
    with pytest.raises(SystemExit, match="no run is over"):
        same.main(2)


def timed(processes: int, batch: int, name: str, train_step_ms: list[float]) -> Record:
    recipe = RECIPE.model_copy(update={"name": name, "global_batch_size": batch})
    record = done(
        trial(id=f"{name}-{processes}", processes_per_node=processes, recipe=recipe), 90.0, train_batch_size=batch
    )
    record.details.throughput = ThroughputSamples(
        infer_step_ms=[1.0], train_step_ms=train_step_ms, warmup=1, interleaved_with=0
    )
    return record


def test_two_processes_are_compared_with_one_of_the_same_round(monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []

    def run(command: list[str], **_: Any) -> None:
        folder = Path(command[command.index("--out") + 1])
        assert not folder.exists() and folder not in folders, "what is there is not measured again"
        folders.append(folder)
        slower = 2.0 ** len(folders)  # as a machine whose neighbours come
        records = [
            timed(1, scaling.BATCH, "strong", [90 * slower, 100 * slower, 900 * slower]),
            timed(1, scaling.BATCH // 2, "weak", [55 * slower] * 3),
            timed(2, scaling.BATCH, "strong", [60 * slower, 62.5 * slower, 80 * slower]),
        ]
        write_run(folder, [record.details.trial for record in records], records)

    monkeypatch.setattr(subprocess, "run", run)
    sharing, growing = scaling.main(rounds=3)
    assert len(folders) == 3
    assert sharing.values == pytest.approx([100 / 62.5] * 3) and "sharing a batch" in sharing.what
    assert growing.values == pytest.approx([2 * 55 / 62.5] * 3) and "a batch each" in growing.what


class Indices(Dataset):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.zeros(1), index


def test_the_usual_ways_batches_are_whole_and_its_workers_stay_over_an_epochs_end() -> None:
    batches = training.without_end(Indices(), 4)
    first = [next(batches)]
    workers = {process.pid for process in active_children()}
    found = first + list(islice(batches, 9))
    assert len(workers) == training.WORKERS and {process.pid for process in active_children()} == workers
    assert [len(labels) for _, labels in found] == [4] * 10
    assert Counter(int(label) for _, labels in found for label in labels) == dict.fromkeys(range(10), 4)


def test_our_batches_are_whole_over_an_epochs_end(world: World) -> None:
    images = Images(torch.zeros(10, 3, 32, 32, dtype=torch.uint8), torch.arange(10))
    loader = training.InBlocks(images, training.plan("SplitMixer-I 64/4", 4, world), world)
    loader.block = 6
    assert [len(labels) for _ in range(2) for _, labels in loader.epoch()] == [4] * 12
