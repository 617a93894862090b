"""One testbed of three nodes for all tests of a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.disks import small
from tests.slurm.testbed import Slurm, running


@pytest.fixture(scope="session")
def node_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file system of 16 MB that every node of the testbed sees."""
    with small(tmp_path_factory.mktemp("disk") / "disk", 16 * 2**20) as folder:
        yield folder


@pytest.fixture(scope="session")
def testbed(tmp_path_factory: pytest.TempPathFactory, node_disk: Path) -> Iterator[Slurm]:
    """`node_disk` must be there before the nodes start: they don't see what is mounted later."""
    with running(tmp_path_factory.mktemp("slurm")) as slurm:
        yield slurm


@pytest.fixture
def slurm(testbed: Slurm) -> Slurm:
    """The testbed with every node idle, whatever the test before did to it."""
    for node in ("controller", "n1", "n2", "n3"):
        testbed.testbed("start-node", node)
    testbed.run("scancel", "--user=root")
    for node, state in testbed.nodes().items():
        if state.startswith("drain"):  # by SLURM, when it could not end a step there
            testbed.run("scontrol", "update", f"nodename={node}", "state=resume")
    testbed.until_idle()
    return testbed
