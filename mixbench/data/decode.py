"""Image files → uint8 arrays.  Imports no torch: a process that decodes is up in a fraction of a second."""

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
    """The image as RGB: of 16 bits a pixel the upper 8, of transparent ones what is painted.

    Raises RequestError where it cannot be decoded, or holds 32-bit numbers, whose range no file states.
    """
    try:
        with Image.open(path) as image:
            if image.mode in ("I", "F"):
                raise ValueError(f"it holds 32-bit numbers (mode {image.mode}), of which white and black are not known")
            if image.mode.startswith("I;16"):
                return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
            return image.convert("RGBA").convert("RGB") if "transparency" in image.info else image.convert("RGB")
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # PIL's for a broken file
        raise RequestError(f"{path} is no image that can be decoded: {error}") from None


def resized(image: Image.Image, height: int, width: int, resampling: str = "bilinear") -> np.ndarray:
    """C H W, by PIL's antialiased filter of this name, as torchvision's Resize on a PIL image."""
    return np.asarray(image.resize((width, height), Image.Resampling[resampling.upper()])).transpose(2, 0, 1)


def end_with_parent(*_: object) -> None:
    """Called in a process started by another: it ends when that one does, also where that one is killed.

    It would otherwise wait for ever for its next task.
    """

    def wait() -> None:
        if parent := parent_process():
            parent.join()
            os._exit(1)

    Thread(target=wait, daemon=True).start()


def in_processes(function: Callable[..., Result], tasks: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
    """What a function returns for the arguments of each task, in the order in which they end.

    In processes that are started afresh: a fork of one that holds a GPU, or threads, is not safe.
    """
    if not tasks:
        return
    afresh = get_context("forkserver")
    with ProcessPoolExecutor(min(usable_cores(), len(tasks)), mp_context=afresh, initializer=end_with_parent) as pool:
        running = [pool.submit(function, *task) for task in tasks]
        try:
            for task in as_completed(running):
                yield task.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def decode_files(paths: Sequence[Path], side: int, into: Path, say: Callable[[int, int], None]) -> None:
    """Write the images, each squashed to `side` × `side`, one after the other into a file; say how many are done."""
    starts = range(0, len(paths), FILES_A_TASK)
    tasks = [([str(path) for path in paths[first : first + FILES_A_TASK]], first, side, into) for first in starts]
    done = 0
    for count in in_processes(_decode_some, tasks):
        done += count
        say(done, len(paths))


def _decode_some(paths: list[str], first: int, side: int, into: Path) -> int:
    """Written, not mapped: where the disk is full, a write raises an error, but a mapped page kills the process."""
    images = np.stack([resized(open_rgb(path), side, side) for path in paths])
    write_at(into, first * images[0].nbytes, images)
    return len(paths)


def write_at(path: Path, offset: int, array: np.ndarray, sync: bool = False) -> None:
    """Write an array into a file that is there; `sync` waits until the disk has it."""
    with open(path, "r+b", buffering=0) as file:
        data = np.ascontiguousarray(array).data.cast("B")
        while data:
            written = os.pwrite(file.fileno(), data, offset)
            data, offset = data[written:], offset + written
        if sync:
            os.fdatasync(file.fileno())
