"""Decode a dataset's image files once before anything is trained, so that all bad ones are named at once."""

import json
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from mixbench.data.array_cache import Say
from mixbench.data.decode import DECODING, FILES_A_TASK, NOT_DECODED, escaped, highest_value, open_rgb
from mixbench.data.locations import cache_folders, require
from mixbench.data.readers import read
from mixbench.errors import RequestError
from mixbench.suite.datasets import Dataset
from mixbench.system.files import file_name, write_atomically
from mixbench.system.host import usable_cores

MOST_NAMED = 1000
NEVER_16_BITS = (".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp")
Highest = dict[bool, tuple[int, str]]
"""Of 16-bit images in colour (True) and in grey (False): the highest value, and a file that holds it."""


def require_readable(datasets: Iterable[Dataset], say: Say) -> None:
    """Raise RequestError with all images of each `image_folder` that cannot be decoded, or lose most of their bits.

    Good images are noted in a cache folder, and are not decoded again until they change.
    """
    folders = [dataset for dataset in datasets if dataset.folder]
    require(folders)
    if found := [problem for dataset in folders if not _is_noted(dataset) for problem in problems(dataset, say)]:
        raise RequestError("\n".join(found))


def problems(dataset: Dataset, say: Say) -> list[str]:
    """Decode all image files of a dataset; return a text for each kind of problem.  Raises RequestError."""
    files = [path for raw in read(dataset) for path in raw.images if isinstance(path, Path)]
    bad, highest = list[str](), Highest()
    chunks = [files[first : first + FILES_A_TASK] for first in range(0, len(files), FILES_A_TASK)]
    done = 0
    with ThreadPoolExecutor(usable_cores()) as threads:  # PIL decodes without Python's lock
        for chunk, (named, values) in zip(chunks, threads.map(_inspect, chunks), strict=True):
            bad += named
            highest = _higher(highest, values)
            done += len(chunk)
            say(f"reading the images of {dataset.name}", done, len(files))
    found = [_listed(dataset, bad, len(files))] if bad else []
    found += [text for coloured in highest if (text := _lost_bits(dataset, coloured, *highest[coloured]))]
    if dataset.folder and not found:
        _note(dataset)
    return found


def _inspect(files: Sequence[Path]) -> tuple[list[str], Highest]:
    """(a line for each file that cannot be decoded, the highest values of 16-bit images)."""
    bad, highest = list[str](), Highest()
    for path in files:
        try:
            open_rgb(path)
            deep = None if path.suffix.lower() in NEVER_16_BITS else highest_value(path)
        except RequestError as error:
            bad.append(str(error))
        except NOT_DECODED as error:
            bad.append(f"{escaped(path)}: {error}")
        else:
            if deep:
                highest = _higher(highest, {deep[1]: (deep[0], escaped(path))})
    return bad, highest


def _higher(one: Highest, other: Highest) -> Highest:
    return {key: max(found[key] for found in (one, other) if key in found) for key in one | other}


def _listed(dataset: Dataset, bad: Sequence[str], files: int) -> str:
    more = [f"and {len(bad) - MOST_NAMED:,} more"] if len(bad) > MOST_NAMED else []
    remedy_text = "; mend or delete them" if dataset.folder else ""
    head = f"{dataset.name}: {len(bad):,} of {files:,} images cannot be used{remedy_text}:"
    return "\n  ".join([head, *bad[:MOST_NAMED], *more])


def _lost_bits(dataset: Dataset, coloured: bool, highest: int, path: str) -> str:
    """A text if the 16-bit images leave upper bits unused: of them, fewer than 8 would be kept."""
    used = max(8, highest.bit_length())
    held = f"{dataset.name}: its 16-bit images hold values up to {highest:,} (in {path})"
    if coloured and used < 16:
        return f"{held}, and of colours the upper 8 bits alone are read: save them with 8 bits a colour"
    if not dataset.bits and used < 16:
        return (
            f"{held}, so with the upper 8 bits they would keep {max(0, used - 8)} bits of {used}: add `bits: {used}` "
            "to the dataset if that is their range, or `bits: 16`"
        )
    if dataset.bits and used > dataset.bits:
        return f"{held}, which is more than `bits: {dataset.bits}` says"
    return ""


def _notes(dataset: Dataset) -> Iterator[Path]:
    """The files, one per cache folder, that say that the images of these contents have been decoded."""
    for folder in cache_folders():
        yield folder / file_name(f"readable-{dataset.contents.partition(',')[0]}-{dataset.bits}.json")


def _is_noted(dataset: Dataset) -> bool:
    for note in _notes(dataset):
        with suppress(OSError, ValueError, TypeError, KeyError):
            if json.loads(note.read_text(encoding="utf-8"))["decoding"] == DECODING:
                return True
    return False


def _note(dataset: Dataset) -> None:
    facts = dict(dataset=dataset.name, folder=dataset.folder, bits=dataset.bits, decoding=DECODING)
    with suppress(OSError):  # without a note, the images are decoded again next time
        write_atomically(next(_notes(dataset)), json.dumps(facts) + "\n")
