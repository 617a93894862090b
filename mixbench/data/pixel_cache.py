"""Cache of a streamed dataset's decoded images (`decoded: true` of a dataset in a suite); batches stay the same.

NAME-SPLIT-full-<8 hex>.pixels holds the images at full size, H W 3, one after the other in any order.  Beside it,
.index has for each image, in the split's order, its offset and CRC-32, and size and mtime of its source file; .json,
written last, holds the index's checksum: without it, the cache counts as missing, as with another version of decoding.
The hex hashes the files' names.

An image is used only if its CRC-32 is right (0.1 ms for 400 × 350 pixels, whose JPEG takes 1 ms to decode); else its
file is decoded, so that neither a damaged byte nor a cache rebuilt meanwhile changes a batch.  Opening a cache checks
the index's checksum, each file's size and mtime, and 256 images; only `mixbench data check` reads all of them.

Images are read with pread, not mapped: the checksum needs the whole image anyway, and a truncated file or a failing
disk would kill a process that has it mapped.
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

from mixbench.data.array_cache import Say, cannot_keep
from mixbench.data.decode import DECODING, FILES_A_TASK, in_processes, open_rgb, write_at
from mixbench.data.disk_space import estimated_bytes, require_disk_space
from mixbench.data.locations import cache_folders
from mixbench.data.readers import read
from mixbench.suite.datasets import Dataset
from mixbench.system.files import file_name, file_sha256, write_atomically
from mixbench.system.lock import locked

INDEX = np.dtype(
    [("offset", "<i8"), ("height", "<u4"), ("width", "<u4"), ("crc", "<u4"), ("bytes", "<i8"), ("modified", "<i8")]
)
"""A row per image, all zeros if it is not decoded yet.  bytes and modified (ns) are those of its source file."""
SAMPLED = 256
"""Images whose checksums are verified when a cache is opened."""
FILES_A_THREAD = 1000


class Pixels:
    """Reader of an intact cache's images; pickled to each worker of the DataLoader."""

    def __init__(self, path: Path, index: NDArray[np.void]):
        self.path, self.index = path, index
        self._file: int | None = None

    def image(self, sample: int) -> Image.Image | None:
        """The decoded image of a sample; None if it cannot be read or its checksum is wrong."""
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
    """The cache of one split, which need not exist; `files` are the image files that it is made from."""

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
        """The unfinished cache, under a hidden name: being built, or left by a process that died."""
        return replace(self, path=self.path.with_name(f".decoding-{DECODING}-{self.path.name}"))

    @property
    def bytes(self) -> int:
        """Bytes that its files take on the disk now."""
        return sum(file.stat().st_size for file in (self.path, self.index_file) if file.exists())

    def good(self, *, whole: bool = False) -> Pixels | None:
        """A reader of its images; None if it is missing, damaged, or its source files have changed.

        `whole` verifies all images, not only some.
        """
        try:
            facts = json.loads(self.facts_file.read_text(encoding="utf-8"))
            index_is_right = facts["decoding"] == DECODING and facts["index_sha256"] == file_sha256(self.index_file)
            index = self.rows()
            if not (
                index_is_right and self.path.stat().st_size == facts["bytes"] and _same_files(index, _stats(self.files))
            ):
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        pixels = Pixels(self.path, index)
        some = len(index) if whole else min(SAMPLED, len(index))
        verified = np.linspace(0, len(index) - 1, some).astype(int)
        return pixels if all(pixels.image(sample) is not None for sample in verified.tolist()) else None

    def rows(self) -> NDArray[np.void]:
        """The index, a row per file; all zeros if it is missing or has another length."""
        with suppress(OSError, ValueError):
            index = np.fromfile(self.index_file, INDEX)
            if len(index) == len(self.files):
                return index
        return np.zeros(len(self.files), INDEX)

    def left_to_decode(self) -> tuple[NDArray[np.void], list[int]]:
        """(index of the unfinished cache, indices of the first image of each chunk that is still to be decoded)."""
        part = self.part
        index, stats = part.rows(), _stats(self.files)
        index[index["offset"] + _sizes(index) > (part.path.stat().st_size if part.path.exists() else 0)] = 0
        starts = range(0, len(index), FILES_A_TASK)
        chunks = (slice(first, first + FILES_A_TASK) for first in starts)
        done = [_same_files(index[chunk], stats[chunk]) and bool(index["height"][chunk].all()) for chunk in chunks]
        return index, [first for first, is_done in zip(starts, done, strict=True) if not is_done]

    def bytes_to_decode(self) -> int:
        """Estimate of the bytes still to be written."""
        todo = self.left_to_decode()[1]
        files = [path for first in todo for path in self.files[first : first + FILES_A_TASK]]
        return estimated_bytes(files) + len(files) * INDEX.itemsize

    def build(self, say: Say) -> Pixels:
        """Decode the missing images; one process does so, the others wait for it.  Raises RequestError."""
        name = self.path.name.rpartition("-full-")[0]

        def wait() -> None:
            say(f"waiting for the process that decodes {name}", 0, 0)

        try:
            with locked(self.path.with_suffix(".lock"), wait):
                if found := self.good():
                    return found
                self.remove()
                replace(self, path=self.path.with_name(f".{self.path.name}")).remove()  # half built by version 1
                return self._build(lambda done: say(f"decoding {name}", done, len(self.files)))
        except OSError as error:
            raise cannot_keep(self.path.parent, error) from error

    def remove(self) -> None:
        for file in (self.facts_file, self.index_file, self.path):
            file.unlink(missing_ok=True)

    def _build(self, say: Callable[[int], None]) -> Pixels:
        """Decode in chunks.  Each is on the disk before its rows of the index, so that a killed build can resume."""
        part = self.part
        index, todo = self.left_to_decode()
        _require_disk_space([self])
        for first in todo:
            index[first : first + FILES_A_TASK] = 0
        end = int((index["offset"] + _sizes(index)).max(initial=0))
        for file, size in ((part.path, end), (part.index_file, index.nbytes)):
            file.touch()
            os.truncate(file, size)
        write_at(part.index_file, 0, index)
        chunks = {first: [str(path) for path in self.files[first : first + FILES_A_TASK]] for first in todo}
        tasks = [(first, paths, part.path, self.dataset.bits) for first, paths in chunks.items()]
        left = sum(map(len, chunks.values()))
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
            bits=self.dataset.bits,
            decoding=DECODING,
            bytes=self.path.stat().st_size,
            index_sha256=file_sha256(self.index_file),
        )
        write_atomically(self.facts_file, json.dumps(facts, indent=1) + "\n")
        return Pixels(self.path, index)


def _decode_chunk(first: int, paths: list[str], into: Path, bits: int) -> tuple[int, NDArray[np.void]]:
    """Decode images, append them to a file that other processes append to; return (first, their rows of the index)."""
    rows, images = np.zeros(len(paths), INDEX), []
    for row, path in zip(rows, paths, strict=True):
        row["bytes"], row["modified"] = _stat(path)
        image = open_rgb(path, bits)
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
    """Bytes of each image, N."""
    return index["height"].astype(np.int64) * index["width"] * 3


def _same_files(index: NDArray[np.void], stats: NDArray[np.int64]) -> bool:
    """Return True if the source files have the sizes and mtimes in the index."""
    return np.array_equal(index["bytes"], stats[:, 0]) and np.array_equal(index["modified"], stats[:, 1])


def _stats(files: Sequence[Path]) -> NDArray[np.int64]:
    """(size, mtime in ns) of each file, N 2.  Uses threads, as a network file system answers slowly."""

    def stats_from(first: int) -> list[tuple[int, int]]:
        return [_stat(path) for path in files[first : first + FILES_A_THREAD]]

    with ThreadPoolExecutor(16) as threads:
        found = threads.map(stats_from, range(0, len(files), FILES_A_THREAD))
        return np.array([each for part in found for each in part], np.int64).reshape(-1, 2)


def _stat(path: Path | str) -> tuple[int, int]:
    """(size, mtime in ns); (-1, 0) for a missing file, which matches no index: decoding then raises an error."""
    try:
        stat = os.stat(path)
    except OSError:
        return -1, 0
    return stat.st_size, stat.st_mtime_ns


def decoded_caches(dataset: Dataset, split: str, files: Sequence[Path]) -> list[DecodedCache]:
    """The possible caches of these files, one per cache folder; the first is built if none is intact."""
    bits = [f"{dataset.bits} bits"] if dataset.bits else []
    names = "\n".join([dataset.folder, *(f"{path.parent.name}/{path.name}" for path in files), *bits])
    digest = hashlib.sha256(os.fsencode(names)).hexdigest()[:8]
    name = f"{file_name(dataset.name)}-{split}-full-{digest}.pixels"
    return [DecodedCache(folder / name, files, dataset) for folder in cache_folders()]


def decoded_pixels(dataset: Dataset, split: str, files: Sequence[Path], say: Say) -> Pixels:
    """A reader of a split's decoded images; builds the cache if none is intact.  Raises RequestError."""
    caches = decoded_caches(dataset, split, files)
    good = (pixels for cache in caches if (pixels := cache.good()))
    return next(good, None) or caches[0].build(say)


def caches_of_splits(dataset: Dataset) -> Iterator[list[DecodedCache]]:
    """Yield the possible caches of the training, then of the test split.  Raises RequestError for bad data files."""
    for split, raw in zip(("train", "test"), read(dataset), strict=True):
        yield decoded_caches(dataset, split, cast(Sequence[Path], raw.images))


def require_decoded(datasets: Iterable[Dataset]) -> None:
    """Raise RequestError if the disk is too small for the images still to be decoded.

    Call it before any process is started.
    """
    if caches := to_be_decoded(datasets):
        _require_disk_space(caches)


def to_be_decoded(datasets: Iterable[Dataset]) -> list[DecodedCache]:
    """The caches to be built, in the first of the cache folders: those of splits that have no intact cache."""
    splits = [caches for dataset in datasets if dataset.decoded for caches in caches_of_splits(dataset)]
    return [caches[0] for caches in splits if not any(cache.good() for cache in caches)]


def _require_disk_space(caches: Sequence[DecodedCache]) -> None:
    """Raise RequestError if the disk is too small for these caches, of one folder; their damaged files are deleted."""
    needed, freed = sum(cache.bytes_to_decode() for cache in caches), sum(cache.bytes for cache in caches)
    require_disk_space(
        caches[0].path.parent, needed, freed, ", or leave out `decoded: true`: the images are streamed then"
    )
