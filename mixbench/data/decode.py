"""Image files → uint8 arrays.  Imports no torch, so that decoding processes start in a fraction of a second."""

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mixbench.errors import RequestError
from mixbench.system.files import is_lfs_pointer
from mixbench.system.host import usable_cores

DECODING = 2
"""The version of how a file becomes pixels, in caches: 2 turns images upright; a cache of another is made anew."""
FILES_A_TASK = 64
NOT_DECODED: tuple[type[Exception], ...] = (
    OSError,
    SyntaxError,
    ValueError,
    LookupError,
    EOFError,
    RuntimeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
"""What PIL raises for a broken file: each format's plugin has errors of its own; AVIF and DDS raise RuntimeErrors."""
DIED = "a process that decodes images has died, killed or out of memory"
Result = TypeVar("Result")


def open_rgb(path: Path | str, bits: int = 0) -> Image.Image:
    """Open an image as RGB, turned upright as its EXIF orientation says; drops transparency.

    Of 16 bits per pixel, it keeps the upper 8 of the lowest `bits` (0: 16).  Raises RequestError if it cannot be
    decoded, or holds 32-bit pixels, whose range the file does not state.
    """
    try:
        with Image.open(path) as image:
            if image.mode in ("I", "F"):
                raise ValueError(
                    f"it holds 32-bit numbers (mode {image.mode}), whose values of black and white are unknown"
                )
            image.load()
            _turn_upright(image)
            if image.mode.startswith("I;16"):
                values = np.asarray(image) >> ((bits or 16) - 8)
                return Image.fromarray(np.minimum(values, 255).astype(np.uint8)).convert("RGB")
            return image.convert("RGBA").convert("RGB") if "transparency" in image.info else image.convert("RGB")
    except NOT_DECODED as error:
        raise RequestError(f"{escaped(path)} cannot be decoded as an image: {_why(path, error)}") from None


def _turn_upright(image: Image.Image) -> None:
    """Turn and mirror an image as its EXIF orientation says; EXIF that cannot be read says nothing."""
    with suppress(Exception):  # what PIL raises for damaged EXIF is not stated; the pixels are loaded already
        ImageOps.exif_transpose(image, in_place=True)


def escaped(path: Path | str) -> str:
    """A path as text that can be written anywhere, though its bytes be no UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _why(path: Path | str, error: Exception) -> str:
    if isinstance(error, UnidentifiedImageError):  # its message only names the path again
        with suppress(OSError):
            if os.path.getsize(path) == 0:
                return "it is empty"
            if is_lfs_pointer(Path(path)):
                return "it is a pointer of git-LFS, not the image itself: git lfs pull"
        return "it is of no known format"
    return f"{error.strerror}" if isinstance(error, OSError) and error.strerror else str(error)


def highest_value(path: Path | str) -> tuple[int, bool] | None:
    """(highest value in an image of 16 bits, True if it has colours); None for any other, which is not decoded.

    PIL keeps the upper 8 bits of colours alone.  Raises what PIL raises.
    """
    with Image.open(path) as image:
        if image.mode.startswith("I;16"):
            return int(np.asarray(image).max()), False
        if any(";16" in str(tile[3]) for tile in image.tile):
            return int(np.asarray(image.convert("RGB")).max()) << 8 | 255, True
    return None


def resized(image: Image.Image, height: int, width: int, resampling: str = "bilinear") -> np.ndarray:
    """The image resized with PIL's antialiased filter of this name, as torchvision's Resize does.   C H W, uint8"""
    return np.asarray(image.resize((width, height), Image.Resampling[resampling.upper()])).transpose(2, 0, 1)


def end_with_parent(*_: object) -> None:
    """Make this worker process exit when its parent ends, even if the parent is killed.

    Otherwise the worker would wait for its next task forever.
    """

    def wait() -> None:
        if parent := parent_process():
            parent.join()
            os._exit(1)

    Thread(target=wait, daemon=True).start()


def in_processes(function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
    """Call a function with the arguments of each task in worker processes; yield the results as they complete.

    The workers come from a fork server: forking a process that holds a GPU or threads is not safe.  Raises RequestError
    if one of them dies.
    """
    if not tasks:
        return
    context, workers = get_context("forkserver"), min(usable_cores(), len(tasks))
    try:
        pool = ProcessPoolExecutor(workers, mp_context=context, initializer=end_with_parent)
        running = [pool.submit(function, *task) for task in tasks]
    except OSError as error:
        raise cannot_start(error) from None
    with pool:
        try:
            for task in as_completed(running):
                yield task.result()
        except BrokenProcessPool:
            raise RequestError(DIED) from None
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def cannot_start(error: OSError) -> RequestError:
    return RequestError(f"the processes that decode images cannot be started: {error} (/dev/shm holds their locks)")


def decode_files(paths: Sequence[Path], side: int, into: Path, say: Callable[[int, int], None]) -> None:
    """Decode images, each squashed to `side` × `side`, into a file N 3 side side; `say` gets (images done, total)."""
    starts = range(0, len(paths), FILES_A_TASK)
    tasks = [([str(path) for path in paths[first : first + FILES_A_TASK]], first, side, into) for first in starts]
    done = 0
    for count in in_processes(_decode_some, tasks):
        done += count
        say(done, len(paths))


def _decode_some(paths: list[str], first: int, side: int, into: Path) -> int:
    """Decode some images into the file.  Uses pwrite, not mmap: on a full disk a mapped page kills the process."""
    images = np.stack([resized(open_rgb(path), side, side) for path in paths])
    write_at(into, first * images[0].nbytes, images)
    return len(paths)


def write_at(path: Path, offset: int, array: np.ndarray, sync: bool = False) -> None:
    """Write an array into an existing file at an offset in bytes; `sync` waits until it is on the disk."""
    with open(path, "r+b", buffering=0) as file:
        data = np.ascontiguousarray(array).data.cast("B")
        while data:
            written = os.pwrite(file.fileno(), data, offset)
            data, offset = data[written:], offset + written
        if sync:
            os.fdatasync(file.fileno())
