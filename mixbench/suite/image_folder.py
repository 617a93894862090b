"""Folders of images, train/CLASS/image and val/CLASS/image: their classes and files, and what identifies the images.

Hidden names and those of operating systems are skipped; files of other kinds are not read; both are counted.
Names are compared in Unicode's composed form (NFC): Macs write é as two characters, other systems as one.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from unicodedata import normalize

from mixbench.errors import printable
from mixbench.system.files import file_sha256

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
"""Those of torchvision's ImageFolder, and two more of JPEG; case does not matter."""
OF_A_SYSTEM = {"@eadir", "#recycle", "__macosx", "$recycle.bin", "system volume information", "lost+found"}
OF_A_SYSTEM |= {"thumbs.db", "desktop.ini"}
"""Names that operating systems and storage devices add to folders, in lower case; skipped as hidden names are."""
CHECKSUMMED_BYTES = 200_000_000
"""Images of this many bytes in total are identified by their checksums, more by sizes and times of modification."""
THREADS = 16
MOST_NAMED = 5
Found = TypeVar("Found")


@dataclass
class Part:
    """The image files of train or val, by class; the number of names skipped, and of files not read by their suffix."""

    folder: Path
    classes: dict[str, list[Path]] = field(default_factory=dict)
    skipped: int = 0
    not_read: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


def scan(folder: Path, part: str) -> Part:
    """Find the images of a part, train or val.  Classes and files are in the order of their names; opens no file.

    `problems`: classes without images, folders in a class, images in no class, two folders of one class.
    """
    found = Part(folder / part)
    for entry in _visible(found.folder, found):
        name = os.fsencode(normalize("NFC", entry.name)).decode("utf-8", "backslashreplace")
        if not entry.is_dir():
            if _is_image(entry):
                found.problems.append(f"{entry.path} lies in no class folder")
            else:
                found.not_read[_suffix(entry)] += 1
        elif name in found.classes:
            found.problems.append(f"{entry.path}: there is another folder of the class {name!r}")
        else:
            found.classes[name] = _images_of(entry, name, found)
    return found


def _images_of(folder: "os.DirEntry[str]", name: str, found: Part) -> list[Path]:
    images, others = [], Counter[str]()
    for entry in _visible(folder.path, found):
        if entry.is_dir():
            found.problems.append(f"{entry.path} is a folder inside a class: what it holds would not be read")
        elif _is_image(entry) and not entry.is_file() and os.path.exists(entry.path):
            found.problems.append(f"{entry.path} is no file: reading it might never end")
        elif _is_image(entry):
            images.append(Path(entry.path))
        else:
            others[_suffix(entry)] += 1
    found.not_read += others
    if not images:
        instead = f", but {counted(others)}" if others else ""
        found.problems.append(f"class {printable(name)!r} has no images in {folder.path}{instead}")
    return images


def _visible(folder: str | Path, found: Part) -> Iterator["os.DirEntry[str]"]:
    """The entries of a folder in the order of their names, without those that are skipped, which are counted."""
    for entry in sorted(os.scandir(folder), key=lambda entry: normalize("NFC", entry.name)):
        if entry.name.startswith(".") or entry.name.lower() in OF_A_SYSTEM:
            found.skipped += 1
        else:
            yield entry


def _is_image(entry: "os.DirEntry[str]") -> bool:
    return entry.name.lower().endswith(IMAGE_SUFFIXES)


def _suffix(entry: "os.DirEntry[str]") -> str:
    return os.path.splitext(printable(entry.name))[1].lower()[:20] or "without suffix"


def counted(kinds: dict[str, int]) -> str:
    """Numbers of files by their suffix, as text: `3 .txt, 1 .heic`."""
    return ", ".join(f"{number:,} {suffix}" for suffix, number in sorted(kinds.items()))


def problems_of(parts: Sequence[Part]) -> str:
    """The problems of train and val, the first few by name; empty if there are none."""
    train, val = parts
    found = [*train.problems, *val.problems]
    unknown = [name for name in val.classes if name not in train.classes]
    found += [f"class {printable(name)!r} is in {val.folder} but not in {train.folder}" for name in unknown]
    more = f"; and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return "; ".join(found[:MOST_NAMED]) + more


def identity(parts: Iterable[Part]) -> str:
    """A hash of names and contents (`sha256:…`) or, over CHECKSUMMED_BYTES, of names, sizes and mtimes (`modified:…`).

    Checksummed images are the same data wherever they are copied; others only if the copy keeps the mtimes.
    """
    lists = [(part.folder.name, name, files) for part in parts for name, files in part.classes.items()]
    stats = _of_each(_size_and_time, (files for *_, files in lists))
    by_checksum = sum(size for some in stats for size, _ in some) <= CHECKSUMMED_BYTES
    facts: Sequence[Sequence[object]] = stats
    if by_checksum:
        facts = _of_each(_checksum, (files for *_, files in lists))
    digest = hashlib.sha256()
    for (part, name, files), of_files in zip(lists, facts, strict=True):
        named = [(normalize("NFC", file.name), fact) for file, fact in zip(files, of_files, strict=True)]
        digest.update(repr((part, name, named)).encode("utf-8", "surrogateescape"))
    return f"{'sha256' if by_checksum else 'modified'}:{digest.hexdigest()[:16]}"


def _of_each(function: Callable[[Path], Found], lists: Iterable[list[Path]]) -> list[list[Found]]:
    """The function of each file in each list, a thread for a list, as a network file system answers slowly."""
    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(lambda files: [function(file) for file in files], lists))


def _size_and_time(file: Path) -> tuple[int, int]:
    """(size, mtime in ns); (0, 0) for a file that is not there, such as the end of a broken link."""
    try:
        stat = file.stat()
    except OSError:
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _checksum(file: Path) -> str:
    """The SHA-256 of a file; empty if it cannot be read, which decoding it will say."""
    try:
        return file_sha256(file)
    except OSError:
        return ""
