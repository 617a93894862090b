"""Unpack an archive so that a half-unpacked one is never taken for a complete one."""

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path


def unpack(archive: Path, folder: Path, show: Callable[[int, int], None]) -> None:
    """Unpack into a temporary folder, then move its contents into `folder`; replaces existing files.

    `show` gets (bytes of the archive read, its size).  Raises OSError, TarError or EOFError.
    """
    temporary = folder / f".{archive.name}.unpacked"
    shutil.rmtree(temporary, ignore_errors=True)  # left by a process that died
    size = archive.stat().st_size
    with open(archive, "rb") as packed, tarfile.open(fileobj=packed) as tar:
        if hasattr(tarfile, "data_filter"):  # from Python 3.11.4 on: refuses paths outside the folder
            tar.extraction_filter = tarfile.data_filter
        for member in tar:
            tar.extract(member, temporary)
            show(packed.tell(), size)
    _move(temporary, folder)
    shutil.rmtree(temporary)


def _move(source: Path, destination: Path) -> None:
    """Move a folder's contents into another; a subfolder that the other lacks is moved in one rename."""
    for path in source.iterdir():
        target = destination / path.name
        if path.is_dir() and target.is_dir():
            _move(path, target)
        else:
            os.replace(path, target)
