"""Image files → uint8 arrays.  Imports no torch, so that decoding processes start in a fraction of a second."""

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from mixbench.errors import RequestError
from mixbench.system.host import usable_cores

FILES_A_TASK = 64
Result = TypeVar("Result")


def open_rgb(path: Path | str) -> Image.Image:
    """Open an image as RGB: keeps the upper 8 of 16 bits per pixel, and drops transparency.

    Raises RequestError if it cannot be decoded, or holds 32-bit pixels, whose range the file does not state.
    """
    try:
        with Image.open(path) as image:
            if image.mode in ("I", "F"):
                raise ValueError(
                    f"it holds 32-bit numbers (mode {image.mode}), whose values of black and white are unknown"
                )
            if image.mode.startswith("I;16"):
                return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
            return image.convert("RGBA").convert("RGB") if "transparency" in image.info else image.convert("RGB")
    except (
        OSError,
        SyntaxError,
        ValueError,
        Image.DecompressionBombError,
    ) as error:  # what PIL raises for a broken file
        raise RequestError(f"{path} cannot be decoded as an image: {error}") from None


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

    The workers come from a fork server: forking a process that holds a GPU or threads is not safe.
    """
    if not tasks:
        return
    context = get_context("forkserver")
    with ProcessPoolExecutor(min(usable_cores(), len(tasks)), mp_context=context, initializer=end_with_parent) as pool:
        running = [pool.submit(function, *task) for task in tasks]
        try:
            for task in as_completed(running):
                yield task.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


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
