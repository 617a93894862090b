"""The checksums that a JSON file carries of its own contents, so that a figure changed by a bad disk is not believed.

That of the values holds whatever becomes of the file's layout; that of the text is twenty times as fast to check.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from mixbench.errors import RequestError

KEY, TEXT_KEY = "sha256", "sha256_of_text"
_LAST_LINE = re.compile(rb',\n "%s": "([0-9a-f]{64})"\n}\n\Z' % TEXT_KEY.encode())
_LAST_LINE_BYTES = len(f',\n "{TEXT_KEY}": "{"0" * 64}"\n}}\n')


def sealed(text: str) -> str:
    """A JSON object as a text for a file, with its checksums as the last keys."""
    contents = json.loads(text)
    whole = json.dumps(contents | {KEY: _checksum(contents)}, indent=1, ensure_ascii=False)
    before = whole.removesuffix("\n}")
    return f'{before},\n "{TEXT_KEY}": "{hashlib.sha256(before.encode()).hexdigest()}"\n}}\n'


def is_untouched(text: bytes) -> bool:
    """Whether a file's text is, to the byte, one that `sealed` made."""
    before, last = text[:-_LAST_LINE_BYTES], text[-_LAST_LINE_BYTES:]
    found = _LAST_LINE.fullmatch(last)
    return found is not None and found[1].decode() == hashlib.sha256(before).hexdigest()


def is_intact(contents: dict[str, Any]) -> bool:
    """Whether contents read from a file are those that were sealed, as far as they were."""
    return KEY not in contents or contents[KEY] == _checksum(contents)


def _checksum(contents: dict[str, Any]) -> str:
    """Of the values, whatever the file's layout and the order of its keys."""
    rest = {key: value for key, value in contents.items() if key not in (KEY, TEXT_KEY)}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def fingerprint(path: Path) -> str:
    """What tells two files of weights apart: 16 hex digits of their contents' SHA-256.  Raises RequestError."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise RequestError(f"the weights {path} cannot be read: {error.strerror}") from None
