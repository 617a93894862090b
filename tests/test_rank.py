"""A rank's folder on its node's disk: locked while it lives, and removed after it, also where it was killed."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.rank import CACHES, keep_caches

RANK = """
import sys, time
from pathlib import Path
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.rank import keep_caches
folder = keep_caches(Profile(time=30, scratch=sys.argv[1]))
(folder / "triton").mkdir()
(folder / "triton" / "kernel.so").touch()
print(folder, flush=True)
time.sleep(60)
"""


@contextmanager
def started(scratch: Path) -> Iterator[tuple["subprocess.Popen[str]", Path]]:
    """A rank, and the folder of its caches; it is killed at the end of the block."""
    words = [sys.executable, "-c", RANK, str(scratch)]
    environment = os.environ | {"SLURM_JOB_ID": "7"}
    with subprocess.Popen(words, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process, Path(process.stdout.readline().strip())
        finally:
            process.kill()


def test_what_a_killed_rank_left_is_removed_by_the_next_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in CACHES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    scratch = tmp_path / "scratch"
    others = [scratch / "mixbench-old", scratch / "mine", scratch / "mixbench-othernode-7-abc"]
    for folder in others:
        folder.mkdir(parents=True)
        (folder / "held").touch()
    with started(scratch) as (killed, dead), started(scratch) as (_, alive):
        killed.kill()
        killed.wait()
        assert dead.is_dir() and alive.is_dir() and dead.stat().st_mode & 0o777 == 0o700
        mine = keep_caches(Profile(time=30, scratch=str(scratch)))
        assert sorted(scratch.iterdir()) == sorted([*others, alive, mine]) and (alive / "triton/kernel.so").exists()
        assert mine.name.startswith(f"mixbench-{socket.gethostname()}-8-")
        assert os.environ["TRITON_CACHE_DIR"] == str(mine / "triton")


def test_a_disk_that_cannot_be_used_is_left_to_who_uses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in CACHES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("SLURM_JOB_ID", "8")
    (tmp_path / "file").touch()
    assert not keep_caches(Profile(time=30, scratch=str(tmp_path / "file"))).exists()
