"""Files: written atomically, deleted, renamed if they are damaged or no longer of use."""

import hashlib
import os
import re
import shutil
from contextlib import suppress
from itertools import count
from pathlib import Path
from typing import Any


def write_atomically(path: Path, data: str | bytes, fsync: bool = True) -> None:
    """Write a file whole or not at all: first a temporary file beside it, which is then renamed.

    `fsync`: return when it is on the disk.  Not needed where a damaged file is noticed, and written again.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            file.write(data.encode("utf-8") if isinstance(data, str) else data)
            file.flush()
            if fsync:
                os.fsync(file.fileno())
        os.replace(beside, path)
    except OSError as error:
        error.filename = str(path)  # a disk that fills up names no file
        raise
    finally:
        with suppress(OSError):
            beside.unlink()


def sync_names(folder: Path) -> None:
    """Return when the names of a folder's files are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def set_aside(path: Path, why: str = "damaged") -> Path:
    """Rename a file or folder to the first free `<name>.<why>-<n>` beside it, and return where it now is.

    Nothing is deleted, and nothing set aside before is replaced: the name is taken, empty, before the renaming.
    """
    folder = path.is_dir() and not path.is_symlink()
    for number in count(1):
        aside = path.with_name(f"{path.name}.{why}-{number}")
        try:
            aside.mkdir() if folder else aside.touch(exist_ok=False)
        except FileExistsError:
            continue
        try:
            return path.rename(aside)
        except OSError:
            aside.rmdir() if folder else aside.unlink()
            raise
    raise AssertionError("unreachable: there is always a next number")


def to_json(value: Any) -> str:
    """A pydantic value as a JSON text for a file."""
    return value.model_dump_json(indent=1) + "\n"


def remove(path: Path) -> None:
    """Delete a file or folder; a folder that is deleted in part no longer has its name."""
    if path.is_dir():
        gone = path if path.suffix == ".tmp" else path.replace(path.with_name(f".{path.name}.old.tmp"))
        shutil.rmtree(gone)
    else:
        path.unlink(missing_ok=True)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's contents, in hexadecimal.  Raises OSError."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_lfs_pointer(path: Path) -> bool:
    """True for the small text file that stands for a large one where git-LFS has not fetched it.  Raises OSError."""
    start = b"version https://git-lfs.github.com/spec/"
    with open(path, "rb") as file:
        return file.read(len(start)) == start


def modified_at(path: Path) -> int:
    """The time in nanoseconds at which a file was last written; 0 if there is none."""
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0


def text_of(path: Path) -> str:
    """A file's text, damaged or not; empty if it is missing, or not a file."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def file_name(text: str) -> str:
    """Text as a file name: whatever is outside [A-Za-z0-9_.-] becomes a full stop."""
    return re.sub(r"[^A-Za-z0-9_.-]", ".", text)


def nearest_existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if os.path.exists(path))
