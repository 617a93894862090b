"""Checksums that a JSON file contains of its own contents, so that a value changed by a bad disk is noticed.

The checksum of the values does not depend on the file's layout; that of the text is twenty times as fast to check.
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


def with_checksums(text: str) -> str:
    """A JSON object's text with its checksums as the last keys."""
    contents = json.loads(text)
    whole = json.dumps(contents | {KEY: _checksum(contents)}, indent=1, ensure_ascii=False)
    before = whole.removesuffix("\n}")
    return f'{before},\n "{TEXT_KEY}": "{hashlib.sha256(before.encode()).hexdigest()}"\n}}\n'


def is_untouched(text: bytes) -> bool:
    """True if no byte of a text has changed since `with_checksums` made it."""
    before, last = text[:-_LAST_LINE_BYTES], text[-_LAST_LINE_BYTES:]
    found = _LAST_LINE.fullmatch(last)
    return found is not None and found[1].decode() == hashlib.sha256(before).hexdigest()


def is_intact(contents: dict[str, Any]) -> bool:
    """True if contents read from a file have the checksum that is among them, or have none."""
    return KEY not in contents or contents[KEY] == _checksum(contents)


def _checksum(contents: dict[str, Any]) -> str:
    """The SHA-256 of the values, whatever the order of the keys."""
    rest = {key: value for key, value in contents.items() if key not in (KEY, TEXT_KEY)}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def fingerprint(path: Path) -> str:
    """The first 16 hex digits of the SHA-256 of a file of weights.  Raises RequestError."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise RequestError(f"the weights {path} cannot be read: {error.strerror}") from None
