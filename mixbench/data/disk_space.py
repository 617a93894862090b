"""What decoded images take, and whether a disk holds it."""

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from mixbench.errors import RequestError
from mixbench.system.files import nearest_existing
from mixbench.system.words import decimal_size

MEASURED = 2000
"""Files whose headers are read to estimate what all of them take."""


def require_room(folder: Path, needed: int, freed: int = 0, otherwise: str = "") -> None:
    """Make sure that a folder's disk holds so many bytes, once so many that lie there are `freed`.

    Raises RequestError with the figures; `otherwise` is what else there is to do.
    """
    free = shutil.disk_usage(nearest_existing(folder)).free + freed
    if needed > free:
        raise RequestError(
            f"{folder} has {decimal_size(free)} free; the decoded images take {decimal_size(needed)}: make room, or "
            f"name another folder in $MIXBENCH_CACHE{otherwise}"
        )


def estimated_bytes(files: Sequence[Path]) -> int:
    """About what the images take at their full sizes: by the headers of some of the files."""
    some = np.linspace(0, len(files) - 1, min(MEASURED, len(files))).astype(int).tolist()
    return len(files) * sum(_full_size(files[at]) for at in some) // max(1, len(some))


def _full_size(path: Path) -> int:
    """By its header alone; one that cannot be read is named when it is decoded."""
    try:
        with Image.open(path) as image:
            return image.height * image.width * 3
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        return 0
