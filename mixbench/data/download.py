"""Download a file over HTTP, resuming an interrupted download.

NAME.part holds the bytes received so far; NAME.part.json the file's full length and the server's validator (a strong
ETag, else Last-Modified).  A resumed request sends it as If-Range, so that a file that has changed is sent from its
beginning.  A file is accepted by its checksum alone.
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
"""A server that sends nothing for this long counts as disconnected."""
CHUNK_BYTES = 2**18
RANGE_NOT_SATISFIABLE, PARTIAL_CONTENT = 416, 206
Say = Callable[[str], None]
Show = Callable[[str, int, int], None]
"""Progress callback: (activity, bytes done, bytes in total; 0 if that is not known)."""


class WrongFile(Exception):
    """A complete file has a wrong checksum."""


def download(address: str, to: Path, md5: str, say: Say, show: Show) -> None:
    """Fetch a file with this checksum, resuming a partial download; make up to TRIES attempts while bytes arrive.

    Raises OSError or HTTPException if the download fails (the partial file is kept), and WrongFile if the checksum is
    wrong (the partial file is deleted).
    """
    from torchvision.datasets.utils import check_integrity

    part = PartialFile(to)
    to.parent.mkdir(parents=True, exist_ok=True)
    for left in reversed(range(TRIES)):
        before = part.size
        try:
            part.fetch(address, say, show)
        except (OSError, http.client.HTTPException) as error:
            if not left or part.size <= before:
                raise
            say(f"{to.name}: {error}; resuming from there")
            continue
        show(f"{to.name}: comparing its checksum", 0, 0)
        if check_integrity(part.path, md5):
            part.finish()
            return
        part.drop()
        if not before or not left:
            raise WrongFile("its checksum is wrong; the download is discarded")
        say(f"{to.name}: its checksum is wrong; the partial download is discarded, and it is fetched again")


@dataclass(frozen=True)
class PartialFile:
    """The bytes received of a file (`path`), and a note of its length and validator (`note_file`)."""

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
        """(length of the whole file, 0 if unknown; the server's validator, empty if unknown)."""
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
        """Request the missing bytes and append them.  Raises OSError or HTTPException if the connection breaks."""
        start, (length, validator) = self.size, self.note()
        if start and start == length:
            return
        response = _request(address, start, validator)
        if response and response.status == PARTIAL_CONTENT and not _continues(response, start, length):
            response.close()
            response = None
        if response is None:
            self.drop()
            say(f"{self.whole.name}: the file on the server has changed; starting over")
            start, response = 0, _request(address, 0, "")
        with response:
            if response.status != PARTIAL_CONTENT:
                if start:
                    say(f"{self.whole.name}: the server sends it from its beginning; starting over")
                self.drop()
                length = int(response.headers.get("Content-Length", 0))
                write_atomically(self.note_file, json.dumps({"length": length, "mark": _validator(response)}))
            self._append(response, length, show)
        if length and self.size != length:
            raise ConnectionError(f"the server broke off at {self.size:,} of {length:,} bytes")

    def _append(self, response: Any, length: int, show: Show) -> None:
        with open(self.path, "ab") as file:
            while chunk := response.read1(CHUNK_BYTES):
                file.write(chunk)
                show(f"{self.whole.name}: downloading", file.tell(), length)


def _request(address: str, start: int, validator: str) -> Any:
    """The server's response from byte `start` on; None if the file has no bytes there."""
    from torchvision.datasets.utils import USER_AGENT

    headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"}
    if start:
        headers |= {"Range": f"bytes={start}-"} | ({"If-Range": validator} if validator else {})
    try:
        return urlopen(Request(address, headers=headers), timeout=SILENT_SECONDS)
    except HTTPError as error:
        if start and error.code == RANGE_NOT_SATISFIABLE:
            error.close()
            return None
        raise


def _continues(response: Any, start: int, length: int) -> bool:
    """Return True if a partial response is the rest of the file whose beginning was received."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
    return found is not None and int(found[1]) == start and length in (0, int(found[2]))


def _validator(response: Any) -> str:
    """A value for If-Range: the ETag if it is strong, else Last-Modified, else empty."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified", "")
