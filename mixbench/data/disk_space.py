"""Disk space for decoded images: how much they need, and whether it is free."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mixbench.errors import RequestError
from mixbench.system.files import nearest_existing
from mixbench.system.words import decimal_size

SAMPLED_FILES = 2000
"""Files whose headers are read to estimate the size of all."""


def require_disk_space(folder: Path, needed: int, freed: int = 0, otherwise: str = "") -> None:
    """Raise RequestError if a folder's disk has less than `needed` bytes free once `freed` bytes are deleted.

    `otherwise` ends the message with another remedy.
    """
    free = shutil.disk_usage(nearest_existing(folder)).free + freed
    if needed > free:
        raise RequestError(
            f"{folder} has {decimal_size(free)} free; the decoded images take {decimal_size(needed)}: free some, or "
            f"name another folder in $MIXBENCH_CACHE{otherwise}"
        )


def estimated_bytes(files: Sequence[Path]) -> int:
    """Estimate the bytes of all images decoded at full size, from the headers of up to SAMPLED_FILES of them."""
    some = np.linspace(0, len(files) - 1, min(SAMPLED_FILES, len(files))).astype(int).tolist()
    return len(files) * sum(_full_size(files[at]) for at in some) // max(1, len(some))


def _full_size(path: Path) -> int:
    """Bytes of one decoded image, from its header; 0 if unreadable: decoding it raises an error that names the file."""
    try:
        with Image.open(path) as image:
            return image.height * image.width * 3
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 0
