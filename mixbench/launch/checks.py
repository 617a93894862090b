"""Checks that this machine has everything that a run needs."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mixbench.errors import RequestError, Unavailable
from mixbench.launch.job import JobFolder
from mixbench.system import environment
from mixbench.system.device import device_name
from mixbench.system.host import installed

if TYPE_CHECKING:
    from mixbench.suite.datasets import Dataset

PACKAGES = ("mixbench", "torch", "torchvision", "deepspeed", "submitit", "ptflops")


@dataclass(frozen=True)
class Check:
    check: str
    ok: bool
    found: str


def checks(suite: str | None = None) -> list[Check]:
    """All checks, also if some fail.  What libraries print meanwhile goes to standard error.

    With a suite, its data are checked too; raises RequestError if it is bad.
    """
    from mixbench.suite.load import load

    trials = load(suite)[1] if suite else []
    datasets = list(dict.fromkeys(trial.data for trial in trials if "accuracy" in trial.measure))
    with _stdout_as_stderr():
        return [
            *installation(),
            run_check("environment", _environment),
            run_check("device", device_name),
            run_check("models", _models),
            run_check("DeepSpeed engine", _engine),
            run_check("data", _data),
            *(run_check(f"data: {dataset.name}", partial(data_of, dataset)) for dataset in datasets),
            Check("writable", os.access(Path.cwd(), os.W_OK), str(Path.cwd())),
        ]


def installation() -> list[Check]:
    return [
        Check("python", sys.version_info >= (3, 11), sys.version.split()[0]),
        *(Check(name, bool(installed(name)), installed(name) or "missing") for name in PACKAGES),
    ]


@contextmanager
def _stdout_as_stderr() -> Iterator[None]:
    """Redirect the file descriptor itself, so that C++ libraries are redirected too."""
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        with redirect_stdout(sys.stderr):
            yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


def run_check(name: str, action: Callable[[], str]) -> Check:
    try:
        return Check(name, True, action())
    except (RequestError, Unavailable) as error:
        return Check(name, False, str(error))
    except (Exception, SystemExit) as error:  # any error is the result of the check
        return Check(name, False, f"{type(error).__name__}: {error}")


def _environment() -> str:
    environment.check()
    return "no variable with a wrong value is set"


def _models() -> str:
    from mixbench.system.content import content
    from mixbench.zoo.registry import list_models

    return f"{len(list_models())} in {content('models')}"


def _engine() -> str:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return training_step(JobFolder(Path(folder)).meeting_file)


def training_step(meeting: Path) -> str:
    """One step of a tiny network through DeepSpeed, with gloo or NCCL; ends the group of processes that it made."""
    import torch

    from mixbench.train.distributed import connect
    from mixbench.train.engine import import_deepspeed

    had_group = torch.distributed.is_initialized()
    world = connect(meeting)  # before DeepSpeed, which would make a group of its own
    deepspeed = import_deepspeed()
    network = torch.nn.Linear(4, 2).to(world.device)
    engine, *_ = deepspeed.initialize(
        model=network,
        optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
        config={"train_batch_size": 8, "train_micro_batch_size_per_gpu": 8},
        dist_init_required=False,
    )
    engine.backward(engine(torch.ones(8, 4, device=world.device)).sum())
    engine.step()
    engine.destroy()
    backend = torch.distributed.get_backend()
    if not had_group:
        torch.distributed.destroy_process_group()
    return f"one training step with {backend}"


def _data() -> str:
    """The datasets on this machine; nothing is downloaded for a check."""
    from mixbench.data.locations import data_root, incomplete, missing
    from mixbench.suite.datasets import DATASETS

    here = [dataset.name for dataset in DATASETS.values() if not missing(dataset) and not incomplete(dataset)]
    return f"{', '.join(here)}; `mixbench data fetch` brings others into {data_root()}"


def data_of(dataset: "Dataset") -> str:
    """What a dataset of a suite holds; all images of a folder are decoded once.  Raises RequestError if it is bad."""
    from mixbench.data.locations import incomplete, remedy, require
    from mixbench.suite.datasets import folder_facts

    require([dataset])
    if found := incomplete(dataset):
        raise RequestError(f"{dataset.name}: {found}. {remedy(dataset)}")
    if dataset.folder:
        from mixbench.data.verify import require_readable

        require_readable([dataset], lambda activity, done, total: None)
    return folder_facts(dataset).partition(": ")[2] or "here"
