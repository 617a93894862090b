"""Images decoded once: one uint8 array a split, in a file in a cache folder, mapped into memory where it is used.

NAME-SPLIT-SIDE-<8 hex>.images holds the array, .json beside it its shape and checksums.  The hex hashes what was
decoded: the names of the image files, or the contents of the array.  Every use checks the size and 256 blocks of 4 KiB
spread over the file, which shows a file cut short, another's, or one with a lost stretch, but not a single wrong byte:
that is for the whole file's checksum, which `mixbench data check` computes (12 GB at each start would be too slow).
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mixbench.data.decode import decode_files, write_at
from mixbench.data.files import cache_folders
from mixbench.data.lock import locked
from mixbench.data.room import require_room
from mixbench.errors import RequestError
from mixbench.record import write_atomically

BLOCKS, BLOCK_BYTES = 256, 4096
IMAGES_A_CHUNK = 256
Say = Callable[[str, int, int], None]
"""Told what is being done, how much of it is done, and how much there is."""


@dataclass(frozen=True)
class Cache:
    """One split's file, whether it exists or not."""

    path: Path
    shape: tuple[int, ...]

    @property
    def facts_file(self) -> Path:
        return self.path.with_suffix(".json")

    @property
    def bytes(self) -> int:
        return math.prod(self.shape)

    def is_good(self, *, whole: bool = False) -> bool:
        """Whether the file is the one that was written; `whole` reads all of it."""
        try:
            facts = json.loads(self.facts_file.read_text(encoding="utf-8"))
            kind, checksum = ("sha256", whole_sha256) if whole else ("sampled_sha256", sampled_sha256)
            same = facts["shape"] == list(self.shape) and self.path.stat().st_size == self.bytes
            return same and facts[kind] == checksum(self.path)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def build(self, write: Callable[[Path], None], on_wait: Callable[[], None]) -> None:
        """Have `write` fill a file of zeros, then put it in place; one process does it, the others wait for it."""
        try:
            with locked(self.path.with_suffix(".lock"), on_wait):
                if not self.is_good():
                    self._build(write)
        except OSError as error:
            raise cannot_keep(self.path.parent, error) from error

    def _build(self, write: Callable[[Path], None]) -> None:
        for leftover in self.path.parent.glob(f".{self.path.name}.*.tmp"):
            leftover.unlink()  # of a process that died: its lock is ours
        require_room(self.path.parent, self.bytes)
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            with open(beside, "wb") as file:
                file.truncate(self.bytes)
            write(beside)
            with open(beside, "rb") as file:
                os.fsync(file.fileno())
            facts = dict(shape=self.shape, sampled_sha256=sampled_sha256(beside), sha256=whole_sha256(beside))
            os.replace(beside, self.path)
            write_atomically(self.facts_file, json.dumps(facts, indent=1) + "\n")
        finally:
            beside.unlink(missing_ok=True)


def cannot_keep(folder: Path, error: OSError) -> RequestError:
    why = error.strerror or error
    return RequestError(
        f"the decoded images cannot be kept in {folder}: {why}; name a folder that can be written in $MIXBENCH_CACHE"
    )


def cached(name: str, images: np.ndarray | Sequence[Path], channels: int, side: int, say: Say) -> Cache:
    """The cache of a split's images at `side` × `side`; decoded or resized into it where it is missing or not good."""
    file, shape = f"{name}-{side}-{_identity(images)[:8]}.images", (len(images), channels, side, side)
    choices = [Cache(folder / file, shape) for folder in cache_folders()]
    cache = next((choice for choice in choices if choice.is_good()), None)
    if cache is None:
        cache = choices[0]

        def now(done: int, total: int) -> None:
            say(f"decoding {name}", done, total)

        def wait() -> None:
            say(f"waiting for the process that decodes {name}", 0, 0)

        if isinstance(images, np.ndarray):
            cache.build(lambda into: _resize(images, side, into, now), wait)
        else:
            cache.build(lambda into: decode_files(images, side, into, now), wait)
    return cache


def _identity(images: np.ndarray | Sequence[Path]) -> str:
    if isinstance(images, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
    names = "\n".join(f"{path.parent.name}/{path.name}" for path in images)
    return hashlib.sha256(names.encode()).hexdigest()


def _resize(images: np.ndarray, side: int, into: Path, say: Callable[[int, int], None]) -> None:
    """Bilinear, antialiased where the images shrink."""
    import torch
    from torch.nn.functional import interpolate

    for first in range(0, len(images), IMAGES_A_CHUNK):
        some = torch.from_numpy(np.ascontiguousarray(images[first : first + IMAGES_A_CHUNK]))
        chunk = interpolate(some, size=(side, side), mode="bilinear", antialias=True).numpy()
        write_at(into, first * chunk[0].nbytes, chunk)
        say(first + len(chunk), len(images))


def caches_of(name: str) -> list[Cache]:
    """All caches of a dataset that say what they are."""
    found = []
    for facts in sorted(file for folder in cache_folders() for file in folder.glob(f"{name}-t*-*.json")):
        try:
            found.append(Cache(facts.with_suffix(".images"), tuple(json.loads(facts.read_text())["shape"])))
        except (ValueError, KeyError, TypeError):
            continue
    return found


def whole_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sampled_sha256(path: Path) -> str:
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with open(path, "rb", buffering=0) as file:
        for block in range(BLOCKS):
            file.seek(max(0, size - BLOCK_BYTES) * block // (BLOCKS - 1))
            digest.update(file.read(BLOCK_BYTES))
    return digest.hexdigest()
