"""Cache of decoded images: one uint8 array per split, in a file in a cache folder, memory-mapped when used.

NAME-SPLIT-SIDE-<8 hex>.images holds the array, the .json file beside it the array's shape and checksum.  The hex hashes
the source: the names of the image files, or the contents of the array that was resized.  The .json file also has a hash
of the files' sizes and of the version of decoding: if it differs, the cache is made anew.

Each use first reads the whole file to verify its CRC-32, at 0.8 GB/s if it is in the page cache (else at the disk's
speed, which also warms the page cache for the first epoch).  A file whose checksum differs is set aside and rebuilt.
"""

import hashlib
import json
import math
import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from glob import escape
from pathlib import Path

import numpy as np

from mixbench.data.decode import DECODING, decode_files, write_at
from mixbench.data.disk_space import require_disk_space
from mixbench.data.locations import cache_folders
from mixbench.errors import RequestError
from mixbench.system.files import file_name, file_sha256, set_aside, write_atomically
from mixbench.system.lock import locked

BYTES_A_READ = 1 << 20
IMAGES_A_CHUNK = 256
Say = Callable[[str, int, int], None]
"""Progress callback: (activity, items done, items in total; 0 if that is not known)."""
OnDamage = Callable[[Path], None]
"""Called with the path that a damaged file was renamed to."""


@dataclass(frozen=True)
class Cache:
    """The cache file of one split at one size; it need not exist.  `source`: see `_source`."""

    path: Path
    shape: tuple[int, ...]
    source: str = ""

    @property
    def facts_file(self) -> Path:
        return self.path.with_suffix(".json")

    @property
    def bytes(self) -> int:
        return math.prod(self.shape)

    def is_good(self) -> bool:
        """Return True if size, shape and checksum are those that were written; reads the whole file."""
        try:
            facts = json.loads(self.facts_file.read_text(encoding="utf-8"))
            if facts["shape"] != list(self.shape) or self.path.stat().st_size != self.bytes or self._is_of_others():
                return False
            if "crc32" not in facts:  # written before CRC-32 replaced SHA-256
                return bool(facts["sha256"] == file_sha256(self.path))
            return bool(facts["crc32"] == whole_crc32(self.path))
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _is_of_others(self) -> bool:
        """Return True if it was made of other files, or by another version of decoding."""
        try:
            return bool(json.loads(self.facts_file.read_text(encoding="utf-8")).get("source", "") != self.source)
        except (OSError, ValueError, AttributeError):
            return False

    def build(self, write: Callable[[Path], None], on_wait: Callable[[], None], on_damage: OnDamage) -> None:
        """Let `write` fill a temporary file of zeros, then rename it into place.  Raises RequestError on an OSError.

        One process builds, the others wait for its lock.  A damaged file is set aside and reported to `on_damage`, one
        of other images is deleted.  The check runs without the lock, so that processes that waited for a large cache
        read it in parallel.
        """
        try:
            while True:
                seen = self._state()
                if self.is_good():
                    return
                with locked(self.path.with_suffix(".lock"), on_wait):
                    if self._state() == seen:  # else another process has built it since
                        self._set_aside(on_damage)
                        return self._build(write)
        except OSError as error:
            raise cannot_keep(self.path.parent, error) from error

    def _state(self) -> list[tuple[int, int, int] | None]:
        """(inode, mtime in ns, size) of both files, None for a missing one.  Opens them: NFS then asks its server."""
        found: list[tuple[int, int, int] | None] = []
        for path in (self.path, self.facts_file):
            try:
                with open(path, "rb") as file:
                    stat = os.fstat(file.fileno())
                    found.append((stat.st_ino, stat.st_mtime_ns, stat.st_size))
            except OSError:
                found.append(None)
        return found

    def _set_aside(self, on_damage: OnDamage) -> None:
        if self._is_of_others():
            self.path.unlink(missing_ok=True)
        elif os.path.lexists(self.path):
            on_damage(set_aside(self.path))
            if os.path.lexists(self.facts_file):
                set_aside(self.facts_file)

    def _build(self, write: Callable[[Path], None]) -> None:
        for leftover in self.path.parent.glob(f".{self.path.name}.*.tmp"):
            leftover.unlink()  # left by a process that died: we hold the lock
        require_disk_space(self.path.parent, self.bytes)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.tmp")
        try:
            with open(temporary, "wb") as file:
                file.truncate(self.bytes)
            write(temporary)
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            facts = dict(shape=self.shape, crc32=whole_crc32(temporary), source=self.source)
            os.replace(temporary, self.path)
            write_atomically(self.facts_file, json.dumps(facts, indent=1) + "\n")
        finally:
            temporary.unlink(missing_ok=True)


def cannot_keep(folder: Path, error: OSError) -> RequestError:
    why = error.strerror or error
    return RequestError(
        f"the decoded images cannot be kept in {folder}: {why}; name a folder that can be written in $MIXBENCH_CACHE"
    )


def cached(name: str, images: np.ndarray | Sequence[Path], channels: int, side: int, say: Say) -> Cache:
    """Return the cache of a split's images at `side` × `side`; build it if it is missing or damaged.

    `images` are files, which are decoded, or an array N C H W, which is resized.  Raises RequestError.
    """
    file, shape = f"{name}-{side}-{_identity(images)[:8]}.images", (len(images), channels, side, side)
    choices = [Cache(folder / file, shape, _source(images)) for folder in cache_folders()]
    cache = next((choice for choice in choices if choice.is_good()), None)
    if cache is None:
        cache = choices[0]
        activity = f"decoding {name}"

        def report(done: int, total: int) -> None:
            say(activity, done, total)

        def wait() -> None:
            say(f"waiting for the process that decodes {name}", 0, 0)

        for other in choices[1:]:
            if other.path.exists():
                say(f"not used, as it is damaged or of other images: {other.path}", 0, 0)

        def damaged(aside: Path) -> None:
            nonlocal activity  # shown with every later progress report, so that a person does not miss it
            activity = f"decoding {name} anew: {cache.path} was damaged, and is set aside as {aside.name}"
            say(activity, 0, len(images))

        if isinstance(images, np.ndarray):
            cache.build(lambda into: _resize(images, side, into, report), wait, damaged)
        else:
            cache.build(lambda into: decode_files(images, side, into, report), wait, damaged)
    return cache


def _identity(images: np.ndarray | Sequence[Path]) -> str:
    if isinstance(images, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
    names = "\n".join(f"{path.parent.name}/{path.name}" for path in images)
    return hashlib.sha256(os.fsencode(names)).hexdigest()


def _source(images: np.ndarray | Sequence[Path]) -> str:
    """Hash of the sizes of image files and the version of decoding; empty for an array, all of which is in the name."""
    if isinstance(images, np.ndarray):
        return ""
    sizes = [os.path.getsize(path) if path.exists() else -1 for path in images]
    return hashlib.sha256(repr((DECODING, sizes)).encode()).hexdigest()


def _resize(images: np.ndarray, side: int, into: Path, say: Callable[[int, int], None]) -> None:
    """Write the resized images N C side side into a file; bilinear, antialiased when shrinking."""
    import torch
    from torch.nn.functional import interpolate

    for first in range(0, len(images), IMAGES_A_CHUNK):
        some = torch.from_numpy(np.ascontiguousarray(images[first : first + IMAGES_A_CHUNK]))
        chunk = interpolate(some, size=(side, side), mode="bilinear", antialias=True).numpy()
        write_at(into, first * chunk[0].nbytes, chunk)
        say(first + len(chunk), len(images))


def caches_of(name: str) -> list[Cache]:
    """All caches of a dataset.  One whose .json file is missing or broken has the shape (), and is never good."""
    pattern = f"{escape(file_name(name))}-t*-*"
    paths = {
        file.with_suffix(".images")
        for folder in cache_folders()
        for suffix in (".images", ".json")
        for file in folder.glob(pattern + suffix)
        if "-full-" not in file.name  # those of pixel_cache.py
    }
    return [Cache(path, *_facts_in(path.with_suffix(".json"))) for path in sorted(paths)]


def _facts_in(facts_file: Path) -> tuple[tuple[int, ...], str]:
    """(shape, source) in the .json file of a cache."""
    try:
        facts = json.loads(facts_file.read_text(encoding="utf-8"))
        return tuple(int(size) for size in facts["shape"]), str(facts.get("source", ""))
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return (), ""


def set_aside_of(name: str) -> list[Path]:
    """Files of the damaged caches of a dataset that were set aside."""
    pattern = f"{escape(file_name(name))}-t*-*.images.damaged-[0-9]*"
    return sorted(path for folder in cache_folders() for path in folder.glob(pattern))


def whole_crc32(path: Path) -> int:
    crc, buffer = 0, memoryview(bytearray(BYTES_A_READ))
    with open(path, "rb", buffering=0) as file:
        while count := file.readinto(buffer):
            crc = zlib.crc32(buffer[:count], crc)
    return crc
