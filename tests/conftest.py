"""What every test runs under: one thread, seeded; a skip for a missing package fails where all must be there."""

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported; every process that a test starts inherits it
os.environ.pop("COLUMNS", None)  # xdist's processes have it: what tests read is as wide as it needs to be

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadFileScheduling

from tests.disks import small
from tests.shell import Shell

if TYPE_CHECKING:
    from mixbench.data.store import Splits
    from mixbench.train.distributed import World

REQUIRE_ALL = "MIXBENCH_REQUIRE_ALL"


class ByFile(LoadFileScheduling):
    """Where several processes share the tests (-n 2), a file's stay in one of them, and so do all that use SLURM."""

    def _split_scope(self, nodeid: str) -> str:
        file: str = super()._split_scope(nodeid)
        return "tests/slurm" if file.startswith("tests/slurm/") else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByFile:
    return ByFile(config, log)


@pytest.fixture(autouse=True)
def seeded() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def same_environment_afterwards() -> Iterator[None]:
    """The command line changes its process's environment for the processes that it starts."""
    before = dict(os.environ)
    yield
    if os.environ != before:
        os.environ.clear()
        os.environ.update(before)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With MIXBENCH_REQUIRE_ALL=1, as in CI, a test that would be skipped fails: something is not installed."""
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and os.environ.get(REQUIRE_ALL):
        report.outcome = "failed"
        report.longrepr = f"skipped, but {REQUIRE_ALL} is set: {report.longrepr}"
    return report


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MB."""
    with small(tmp_path / "disk", 8 * 2**20) as folder:
        yield folder


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> "World":
    """This process alone."""
    from mixbench.train.distributed import connect

    return connect(tmp_path_factory.mktemp("meeting") / "meeting.json")


@pytest.fixture(scope="module")
def digits() -> "Splits":
    from mixbench.data.store import load
    from mixbench.suite.datasets import find_dataset

    return load(find_dataset("digits"))


@pytest.fixture
def mixbench(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    """The command line in this process, which has imported already what takes seconds."""
    from mixbench.cli import main

    def call(*words: str | Path) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["mixbench", *map(str, words)])
        code = 0
        try:
            main.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out, err = capsys.readouterr()
        return code, out, err

    return call
