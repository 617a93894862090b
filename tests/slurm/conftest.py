"""One testbed of three nodes for all tests of a session."""

from collections.abc import Iterator

import pytest

from tests.slurm.testbed import Slurm, running


@pytest.fixture(scope="session")
def testbed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with running(tmp_path_factory.mktemp("slurm")) as slurm:
        yield slurm


@pytest.fixture
def slurm(testbed: Slurm) -> Slurm:
    """The testbed with every node idle, whatever the test before did to it."""
    for node in ("controller", "n1", "n2", "n3"):
        testbed.testbed("start-node", node)
    testbed.run("scancel", "--user=root")
    testbed.until_idle()
    return testbed
