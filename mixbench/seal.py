"""The checksum that a JSON file carries of its own contents, so that a figure changed by a bad disk is not believed."""

import hashlib
import json
from typing import Any

KEY = "sha256"


def sealed(text: str) -> str:
    """A JSON object as a text for a file, with its checksum as the last key."""
    contents = json.loads(text)
    return json.dumps(contents | {KEY: _checksum(contents)}, indent=1, ensure_ascii=False) + "\n"


def is_intact(contents: dict[str, Any]) -> bool:
    """Whether contents read from a file are those that were sealed, as far as they were."""
    return KEY not in contents or contents[KEY] == _checksum(contents)


def _checksum(contents: dict[str, Any]) -> str:
    """Of the values, whatever the file's layout and the order of its keys."""
    rest = {key: value for key, value in contents.items() if key != KEY}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()
