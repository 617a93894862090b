"""Read YAML as plain data with the line of each value; refuse tags, anchors, duplicate keys and ambiguous numbers."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mixbench.errors import RequestError, cut, shown

KeyPath = tuple[str | int, ...]
MOST_CHARACTERS = 2**18
"""Largest file that is read, in a few seconds by PyYAML; a suite has some 2,000 characters."""
MOST_DEPTH = 30
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def dotted(path: KeyPath) -> str:
    """Write the path of a key as `--set` does: models.0.ratio."""
    return cut(".".join(map(str, path)))


@dataclass(frozen=True)
class Document:
    """A mapping read from a file.  `places`: file and line of each value, ("models", 0, "ratio") → "cifar.yaml:7"."""

    source: str
    data: dict[str, Any]
    text: str = ""
    places: dict[KeyPath, str] = field(default_factory=dict)

    def place(self, path: KeyPath) -> str:
        """`file:line` of a value, or of the innermost list or mapping around it that has one."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        return self.source


class _Loader(yaml.SafeLoader):
    """Loader that raises RequestError at an anchor, a tag or deep nesting, before these can use up memory."""

    def __init__(self, text: str, source: str) -> None:
        super().__init__(text)
        self.source, self.depth = source, 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        where = f"{self.source}:{event.start_mark.line + 1}"
        if getattr(event, "anchor", None):
            raise RequestError(
                f"{where}: anchors and aliases (& and *) are not allowed in a suite: write the value out"
            )
        if tag := getattr(event, "tag", None):
            raise RequestError(f"{where}: tags ({cut(tag)}) are not allowed in a suite: write the value without it")
        if self.depth == MOST_DEPTH:
            raise RequestError(f"{where}: nested too deeply: more than {MOST_DEPTH} levels")
        self.depth += 1
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node


def read(path: Path) -> Document:
    """Read the mapping in a YAML file.  Raises RequestError naming file and line if it cannot be read as one."""
    try:
        if path.exists() and not path.is_file():  # opening a pipe would block for ever
            kind = "a folder" if path.is_dir() else "a pipe or a device"
            raise RequestError(f"{path} is {kind}; a YAML file is wanted")
        with open(path, encoding="utf-8-sig") as file:
            text = file.read(MOST_CHARACTERS + 1)
    except FileNotFoundError:
        raise RequestError(f"no such file: {cut(str(path), 300)}") from None
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise RequestError(
            f"{path} is not a text file in UTF-8: byte {error.start} is {byte:#04x}; save it as UTF-8"
        ) from None
    except OSError as error:
        raise RequestError(f"cannot read {cut(str(path), 300)}: {error.strerror}") from None
    return parse(text, str(path))


def parse(text: str, source: str) -> Document:
    """Parse a YAML text that is a mapping.  Raises RequestError naming `source` and line."""
    if len(text) > MOST_CHARACTERS:
        raise RequestError(f"{source} has more than {MOST_CHARACTERS:,} characters: that is no suite")
    try:
        node = _Loader(text, source).get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise RequestError(f"{where}: not YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RequestError(f"{source}:{line}: not a text: it holds the character {error.character:#04x}") from None
    if node is None:
        raise RequestError(f"{source} is empty; a mapping with name, models and datasets is wanted")
    if not isinstance(node, yaml.MappingNode):
        raise RequestError(f"{source}:{node.start_mark.line + 1}: a mapping (key: value) is wanted here")
    document = Document(source, {}, text)
    document.data.update(_mapping(node, (), document))
    return document


def parse_value(text: str, source: str) -> Any:
    """Parse one value as in a suite file: `3`, `[0, 1]`, `{lr: 0.1}`.  Raises RequestError naming `source`."""
    try:
        data = parse(f"value: {text}", "").data
    except RequestError as error:
        why = re.sub(r"^:\d+: ", "", str(error))
        raise RequestError(f"{source}: {shown(text)} is not one value: {why}") from None
    if list(data) != ["value"]:
        raise RequestError(f"{source}: {shown(text)} is not one value")
    return data["value"]


def _value(node: yaml.Node, path: KeyPath, document: Document) -> Any:
    document.places.setdefault(path, _line(node, document))
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, index), document) for index, item in enumerate(node.value)]
    try:
        return _scalar(node)
    except (ValueError, yaml.YAMLError) as error:
        raise RequestError(f"{_line(node, document)}: {dotted(path)}: {shown(node.value)} {error}") from None


def _line(node: yaml.Node, document: Document) -> str:
    return f"{document.source}:{node.start_mark.line + 1}"


def _scalar(node: yaml.Node) -> Any:
    """The value of a YAML scalar.

    Dates, `=`, `<<` and times such as 24:00:00 (a time limit of SLURM) are text.  Raises ValueError for a number that
    YAML 1.1 reads differently than people do, or that has too many digits, and for control characters.
    """
    text, kind = node.value, node.tag.rpartition(":")[2]
    _check_text(text)
    if kind in ("timestamp", "value", "merge") or re.fullmatch(r"\d+:\d\d:\d\d", text):
        return text
    if kind == "int" and len(text) > 70:
        raise ValueError("is too large: a whole number has at most 18 digits here")
    value = yaml.SafeLoader("").construct_object(node)
    if kind in ("int", "float") and ":" in text:
        raise ValueError(f"is {value} in YAML, which counts in sixties: write {value}, or put it in quotes")
    if kind == "int" and re.match(r"[+-]?0[0-9_]", text):
        raise ValueError(
            f"is {value} in YAML, to which a leading 0 means octal: write {value}, or {text.lstrip('+-0')}"
        )
    if kind == "int" and abs(value) >= 10**18:
        raise ValueError("is too large: a whole number has at most 18 digits here")
    return value


def _check_text(text: str) -> None:
    if bad := CONTROL.search(text):
        raise ValueError(f"holds the control character U+{ord(bad[0]):04X}: take it out")


def _mapping(node: yaml.MappingNode, path: KeyPath, document: Document) -> dict[str, Any]:
    document.places.setdefault(path, _line(node, document))
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        where = _line(key_node, document)
        if not isinstance(key_node, yaml.ScalarNode):
            raise RequestError(f"{where}: a key is a plain word here, not a list or a mapping")
        key = str(key_node.value)
        if key_node.tag == "tag:yaml.org,2002:merge":
            raise RequestError(f"{where}: merge keys (<<) are not allowed in a suite: write the keys out")
        if CONTROL.search(key):
            raise RequestError(f"{where}: key {shown(key)} holds a control character: take it out")
        if key in result:
            first = document.places[(*path, key)]
            raise RequestError(f"{where}: key {cut(key)!r} is given twice (first at {first})")
        document.places[(*path, key)] = where
        result[key] = _value(value_node, (*path, key), document)
    return result
