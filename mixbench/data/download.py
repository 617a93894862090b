"""A file over HTTP, gone on with where an earlier attempt broke off.

NAME.part holds what has come; NAME.part.json its whole length and the server's mark of its contents, a strong ETag or
its date, which is sent as If-Range, so that a file that has changed comes from its beginning.  The checksum decides in
the end.
"""

import http.client
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

from mixbench.system.files import write_atomically

TRIES = 5
SILENT_SECONDS = 30.0
"""A server that sends nothing for so long has broken off."""
CHUNK_BYTES = 2**18
RANGE_NOT_SATISFIABLE, PARTIAL_CONTENT = 416, 206
Say = Callable[[str], None]
Show = Callable[[str, int, int], None]
"""Told what is being done, how many bytes of it are done, and how many there are (0: it is not known)."""


class WrongFile(Exception):
    """What came whole has another checksum."""


def download(address: str, to: Path, md5: str, say: Say, show: Show) -> None:
    """Fetch a file with this checksum, from where an earlier attempt broke off; while something comes, try again.

    Raises OSError or HTTPException where it cannot be had, with what came kept, and WrongFile, with that dropped.
    """
    from torchvision.datasets.utils import check_integrity

    part = Part(to)
    to.parent.mkdir(parents=True, exist_ok=True)
    for left in reversed(range(TRIES)):
        before = part.size
        try:
            part.fetch(address, say, show)
        except (OSError, http.client.HTTPException) as error:
            if not left or part.size <= before:
                raise
            say(f"{to.name}: {error}; going on from there")
            continue
        show(f"{to.name}: comparing its checksum", 0, 0)
        if check_integrity(part.path, md5):
            part.finish()
            return
        part.drop()
        if not before or not left:
            raise WrongFile("its checksum is wrong; what came is dropped")
        say(f"{to.name}: its checksum is wrong; what had come is dropped, and it is fetched anew")


@dataclass(frozen=True)
class Part:
    """What has come of a file."""

    whole: Path

    @property
    def path(self) -> Path:
        return self.whole.with_name(f"{self.whole.name}.part")

    @property
    def note_file(self) -> Path:
        return self.whole.with_name(f"{self.whole.name}.part.json")

    @property
    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def note(self) -> tuple[int, str]:
        """The whole file's length (0: it is not known), and the server's mark of its contents."""
        try:
            note = json.loads(self.note_file.read_text(encoding="utf-8"))
            return int(note["length"]), str(note["mark"])
        except (OSError, ValueError, KeyError, TypeError):
            return 0, ""

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)
        self.note_file.unlink(missing_ok=True)

    def finish(self) -> None:
        os.replace(self.path, self.whole)
        self.note_file.unlink(missing_ok=True)

    def fetch(self, address: str, say: Say, show: Show) -> None:
        """Bring what is not here.  Raises OSError or HTTPException where the server breaks off."""
        start, (length, mark) = self.size, self.note()
        if start and start == length:
            return
        response = _ask(address, start, mark)
        if response and response.status == PARTIAL_CONTENT and not _continues(response, start, length):
            response.close()
            response = None
        if response is None:
            self.drop()
            say(f"{self.whole.name}: the server has another file than that of which a part is here; beginning anew")
            start, response = 0, _ask(address, 0, "")
        with response:
            if response.status != PARTIAL_CONTENT:
                if start:
                    say(f"{self.whole.name}: the server sends it from its beginning; beginning anew")
                self.drop()
                length = int(response.headers.get("Content-Length", 0))
                write_atomically(self.note_file, json.dumps({"length": length, "mark": _mark(response)}))
            self._append(response, length, show)
        if length and self.size != length:
            raise ConnectionError(f"the server broke off at {self.size:,} of {length:,} bytes")

    def _append(self, response: Any, length: int, show: Show) -> None:
        with open(self.path, "ab") as file:
            while chunk := response.read1(CHUNK_BYTES):
                file.write(chunk)
                show(f"{self.whole.name}: downloading", file.tell(), length)


def _ask(address: str, start: int, mark: str) -> Any:
    """The server's answer; None where it has nothing from `start` on."""
    from torchvision.datasets.utils import USER_AGENT

    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-"} | ({"If-Range": mark} if mark else {})
    try:
        return urlopen(Request(address, headers=headers), timeout=SILENT_SECONDS)
    except HTTPError as error:
        if start and error.code == RANGE_NOT_SATISFIABLE:
            error.close()
            return None
        raise


def _continues(response: Any, start: int, length: int) -> bool:
    """Whether a partial answer is the rest of the file that was begun."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return found is not None and int(found[1]) == start and length in (0, int(found[2]))


def _mark(response: Any) -> str:
    """What If-Range may be asked with: an ETag that is not weak, else the date."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
