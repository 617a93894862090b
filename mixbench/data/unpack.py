"""An archive unpacked so that what is half done is never taken for whole."""

import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path


def unpack(archive: Path, folder: Path, show: Callable[[int, int], None]) -> None:
    """Unpack into a folder beside, then move what came into place; files that are there already are replaced.

    `show` is told how many of the archive's bytes are read.  Raises OSError, TarError or EOFError.
    """
    beside = folder / f".{archive.name}.unpacked"
    shutil.rmtree(beside, ignore_errors=True)  # of a process that died
    size = archive.stat().st_size
    with open(archive, "rb") as packed, tarfile.open(fileobj=packed) as tar:
        if hasattr(tarfile, "data_filter"):  # from Python 3.11.4 on: refuses what would lie outside of the folder
            tar.extraction_filter = tarfile.data_filter
        for member in tar:
            tar.extract(member, beside)
            show(packed.tell(), size)
    _move(beside, folder)
    shutil.rmtree(beside)


def _move(here: Path, there: Path) -> None:
    """All that is in a folder into another: a folder that is not there yet in one step."""
    for path in here.iterdir():
        target = there / path.name
        if path.is_dir() and target.is_dir():
            _move(path, target)
        else:
            os.replace(path, target)
