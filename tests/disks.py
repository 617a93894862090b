"""Disks that refuse: read-only ones, and small ones.  Real ones, by mounts, where the tests run as root."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """The folder as it is, but that nothing can be written into it: root is held off by a mount alone."""
    if os.geteuid():
        folder.chmod(0o555)
        yield
        folder.chmod(0o755)
        return
    with mounted("--bind", folder, folder):
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield


@contextmanager
def small(folder: Path, size: int) -> Iterator[Path]:
    """An empty folder on a disk of so many bytes."""
    folder.mkdir(parents=True)
    with mounted("-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder):
        yield folder


@contextmanager
def mounted(*words: str | Path) -> Iterator[None]:
    done = subprocess.run(["mount", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"nothing can be mounted here: {done.stderr}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", words[-1]], check=True)


def with_small_shm(size: int) -> list[str]:
    """The beginning of a command whose processes find a /dev/shm of so many bytes, as in a Docker container."""
    prefix = ["unshare", "--mount", *["--map-root-user"] * bool(os.geteuid())]
    prefix += ["sh", "-c", f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"', "sh"]
    tried = subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"nothing can be mounted over /dev/shm here: {tried.stderr}")
    return prefix


def freeze(disk: Path) -> None:
    """Nothing can be written there any more."""
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
