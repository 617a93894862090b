"""Images of a streamed set, decoded once: `decoded: true` of a dataset in a suite.  What is trained on stays the same.

NAME-SPLIT-full-<8 hex>.pixels holds the images at their full sizes, H W 3, one after the other in any order.  Beside it
.index says of each, in the split's order, where it lies, its CRC-32, and the size and time of the file that it was made
of; .json, written last, holds the index's checksum: without it there is no cache.  The hex hashes the files' names.

An image is used only where its CRC-32 is right (0.1 ms of an image of 400 × 350, whose JPEG takes 1 ms); else its file
is decoded, so that neither a damaged byte nor a cache made anew meanwhile can change a batch.  A use begins with the
index's checksum, each file's size and time, and 256 images: the whole is for `mixbench data check`.

Images are read, not mapped: all of an image is needed for its checksum, and of a map of a file cut short or of a disk
that fails the process would die.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mixbench.data.array_cache import Say, cannot_keep, whole_sha256
from mixbench.data.decode import FILES_A_TASK, in_processes, open_rgb, write_at
from mixbench.data.disk_space import estimated_bytes, require_room
from mixbench.data.locations import cache_folders
from mixbench.data.readers import read
from mixbench.suite.datasets import Dataset
from mixbench.system.files import file_name, write_atomically
from mixbench.system.lock import locked

INDEX = np.dtype(
    [("offset", "<i8"), ("height", "<u4"), ("width", "<u4"), ("crc", "<u4"), ("bytes", "<i8"), ("modified", "<i8")]
)
"""A row an image; one that is not there yet is all zeros.  bytes and modified (ns) are those of its file."""
SAMPLED = 256
FILES_A_THREAD = 1000


class Pixels:
    """The images of a cache that is good.  It is pickled to each process of the loader."""

    def __init__(self, path: Path, index: NDArray[np.void]):
        self.path, self.index = path, index
        self._file: int | None = None

    def image(self, sample: int) -> Image.Image | None:
        """As it was decoded, or None where that is no longer so."""
        row = self.index[sample]
        height, width = int(row["height"]), int(row["width"])
        try:
            if self._file is None:
                self._file = os.open(self.path, os.O_RDONLY)
            data = os.pread(self._file, height * width * 3, int(row["offset"]))
        except (OSError, OverflowError):
            return None
        whole = len(data) == height * width * 3 > 0 and zlib.crc32(data) == row["crc"]
        return Image.frombytes("RGB", (width, height), data) if whole else None

    def __getstate__(self) -> dict[str, object]:
        return self.__dict__ | {"_file": None}

    def __del__(self) -> None:
        if self._file is not None:
            os.close(self._file)


@dataclass(frozen=True)
class DecodedCache:
    """One split's, whether it exists or not; `files` are the images that it is made of."""

    path: Path
    files: Sequence[Path]
    dataset: Dataset

    @property
    def facts_file(self) -> Path:
        return self.path.with_suffix(".json")

    @property
    def index_file(self) -> Path:
        return self.path.with_suffix(".index")

    @property
    def part(self) -> "DecodedCache":
        """What is being built, and what a process that died has left of it."""
        return replace(self, path=self.path.with_name(f".{self.path.name}"))

    @property
    def bytes(self) -> int:
        """What it takes on the disk as it stands."""
        return sum(file.stat().st_size for file in (self.path, self.index_file) if file.exists())

    def good(self, *, whole: bool = False) -> Pixels | None:
        """Its images where it is the one that was written, of the files as they are now; `whole` reads all of it."""
        try:
            facts = json.loads(self.facts_file.read_text(encoding="utf-8"))
            right = facts["index_sha256"] == whole_sha256(self.index_file)
            index = self.rows()
            if not (right and self.path.stat().st_size == facts["bytes"] and _same_files(index, _stats(self.files))):
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        pixels = Pixels(self.path, index)
        some = len(index) if whole else min(SAMPLED, len(index))
        looked_at = np.linspace(0, len(index) - 1, some).astype(int)
        return pixels if all(pixels.image(sample) is not None for sample in looked_at.tolist()) else None

    def rows(self) -> NDArray[np.void]:
        """The index, a row a file; zeros where there is none, or one of other files."""
        with suppress(OSError, ValueError):
            index = np.fromfile(self.index_file, INDEX)
            if len(index) == len(self.files):
                return index
        return np.zeros(len(self.files), INDEX)

    def left_to_decode(self) -> tuple[NDArray[np.void], list[int]]:
        """The index of what a process that died has left, and the first images of the chunks that are yet to do."""
        part = self.part
        index, stats = part.rows(), _stats(self.files)
        index[index["offset"] + _sizes(index) > (part.path.stat().st_size if part.path.exists() else 0)] = 0
        starts = range(0, len(index), FILES_A_TASK)
        chunks = (slice(first, first + FILES_A_TASK) for first in starts)
        done = [_same_files(index[chunk], stats[chunk]) and bool(index["height"][chunk].all()) for chunk in chunks]
        return index, [first for first, is_done in zip(starts, done, strict=True) if not is_done]

    def bytes_to_decode(self) -> int:
        """An estimate, in bytes."""
        todo = self.left_to_decode()[1]
        files = [path for first in todo for path in self.files[first : first + FILES_A_TASK]]
        return estimated_bytes(files) + len(files) * INDEX.itemsize

    def build(self, say: Say) -> Pixels:
        """Decode what is not there yet; one process does it, the others wait for it.  Raises RequestError."""
        what = self.path.name.rpartition("-full-")[0]

        def wait() -> None:
            say(f"waiting for the process that decodes {what}", 0, 0)

        try:
            with locked(self.path.with_suffix(".lock"), wait):
                if found := self.good():
                    return found
                self.remove()
                return self._build(lambda done: say(f"decoding {what}", done, len(self.files)))
        except OSError as error:
            raise cannot_keep(self.path.parent, error) from error

    def remove(self) -> None:
        for file in (self.facts_file, self.index_file, self.path):
            file.unlink(missing_ok=True)

    def _build(self, say: Callable[[int], None]) -> Pixels:
        """In chunks, each of which is on the disk before the index says so: what is there is kept if this is killed."""
        part = self.part
        index, todo = self.left_to_decode()
        _require_room([self])
        for first in todo:
            index[first : first + FILES_A_TASK] = 0
        end = int((index["offset"] + _sizes(index)).max(initial=0))
        for file, size in ((part.path, end), (part.index_file, index.nbytes)):
            file.touch()
            os.truncate(file, size)
        write_at(part.index_file, 0, index)
        tasks = [(first, [str(path) for path in self.files[first : first + FILES_A_TASK]], part.path) for first in todo]
        left = sum(len(paths) for _, paths, _ in tasks)
        for first, rows in in_processes(_decode_chunk, tasks):
            index[first : first + len(rows)] = rows
            write_at(part.index_file, first * INDEX.itemsize, rows)
            left -= len(rows)
            say(len(index) - left)
        write_at(part.index_file, 0, index, sync=True)
        os.replace(part.path, self.path)
        os.replace(part.index_file, self.index_file)
        facts = dict(
            dataset=self.dataset.name,
            folder=self.dataset.folder,
            bytes=self.path.stat().st_size,
            index_sha256=whole_sha256(self.index_file),
        )
        write_atomically(self.facts_file, json.dumps(facts, indent=1) + "\n")
        return Pixels(self.path, index)


def _decode_chunk(first: int, paths: list[str], into: Path) -> tuple[int, NDArray[np.void]]:
    """Append some images to a file that other processes append to; where each then lies, as rows of the index."""
    rows, images = np.zeros(len(paths), INDEX), []
    for row, path in zip(rows, paths, strict=True):
        row["bytes"], row["modified"] = _stat(path)
        image = open_rgb(path)
        images.append(image.tobytes())
        row["height"], row["width"], row["crc"] = image.height, image.width, zlib.crc32(images[-1])
    data = np.frombuffer(b"".join(images), np.uint8)
    with locked(into):
        start = into.stat().st_size
        os.truncate(into, start + data.nbytes)
    rows["offset"] = start + np.cumsum(_sizes(rows)) - _sizes(rows)
    write_at(into, start, data, sync=True)
    return first, rows


def _sizes(index: NDArray[np.void]) -> NDArray[np.int64]:
    """What each image takes, in bytes."""
    return index["height"].astype(np.int64) * index["width"] * 3


def _same_files(index: NDArray[np.void], stats: NDArray[np.int64]) -> bool:
    return np.array_equal(index["bytes"], stats[:, 0]) and np.array_equal(index["modified"], stats[:, 1])


def _stats(files: Sequence[Path]) -> NDArray[np.int64]:
    """Those of each file, N 2.  By threads: over a network it is the waiting that takes long."""

    def some(first: int) -> list[tuple[int, int]]:
        return [_stat(path) for path in files[first : first + FILES_A_THREAD]]

    with ThreadPoolExecutor(16) as threads:
        found = threads.map(some, range(0, len(files), FILES_A_THREAD))
        return np.array([each for part in found for each in part], np.int64).reshape(-1, 2)


def _stat(path: Path | str) -> tuple[int, int]:
    """Size and time (ns); of a file that is not there, none that any has: to decode it will name it."""
    try:
        stat = os.stat(path)
    except OSError:
        return -1, 0
    return stat.st_size, stat.st_mtime_ns


def decoded_caches(dataset: Dataset, split: str, files: Sequence[Path]) -> list[DecodedCache]:
    """Those that these files may have, in each of the cache folders, first the one to be built where none is good."""
    names = "\n".join([dataset.folder, *(f"{path.parent.name}/{path.name}" for path in files)])
    digest = hashlib.sha256(os.fsencode(names)).hexdigest()[:8]
    name = f"{file_name(dataset.name)}-{split}-full-{digest}.pixels"
    return [DecodedCache(folder / name, files, dataset) for folder in cache_folders()]


def decoded_pixels(dataset: Dataset, split: str, files: Sequence[Path], say: Say) -> Pixels:
    """The decoded images of a split, built where they are missing or not good.  Raises RequestError."""
    caches = decoded_caches(dataset, split, files)
    good = (pixels for cache in caches if (pixels := cache.good()))
    return next(good, None) or caches[0].build(say)


def caches_of_splits(dataset: Dataset) -> Iterator[list[DecodedCache]]:
    """Training's and test's; RequestError where the dataset's files are not as they should be."""
    for split, raw in zip(("train", "test"), read(dataset), strict=True):
        yield decoded_caches(dataset, split, cast(Sequence[Path], raw.images))


def require_decoded(datasets: Iterable[Dataset]) -> None:
    """Make sure, before any process is started, that the disk holds what is yet to be decoded.

    Raises RequestError with the figures.
    """
    if wanted := to_be_decoded(datasets):
        _require_room(wanted)


def to_be_decoded(datasets: Iterable[Dataset]) -> list[DecodedCache]:
    """What is to be built in the first of the cache folders, since it is good in none."""
    splits = [caches for dataset in datasets if dataset.decoded for caches in caches_of_splits(dataset)]
    return [caches[0] for caches in splits if not any(cache.good() for cache in caches)]


def _require_room(caches: Sequence[DecodedCache]) -> None:
    """For caches that lie in one folder and are not good: what stands there of them goes first."""
    needed, there = sum(cache.bytes_to_decode() for cache in caches), sum(cache.bytes for cache in caches)
    require_room(caches[0].path.parent, needed, there, ", or leave out `decoded: true`: the images are streamed then")
