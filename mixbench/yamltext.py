"""YAML as data, each value with the line it stands on: no tags, no anchors, no key twice."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mixbench.errors import RequestError

KeyPath = tuple[str | int, ...]
_TAGS = {f"tag:yaml.org,2002:{kind}" for kind in ("map", "seq", "null", "bool", "int", "float", "str", "timestamp")}


@dataclass(frozen=True)
class Document:
    """A mapping read from a file.  `places` says where each value stands: ("models", 0, "ratio") → "cifar.yaml:7"."""

    source: str
    data: dict[str, Any]
    text: str = ""
    places: dict[KeyPath, str] = field(default_factory=dict)

    def place(self, path: KeyPath) -> str:
        """`file:line` of a value, or of the nearest thing around it."""
        for end in range(len(path), -1, -1):
            if path[:end] in self.places:
                return self.places[path[:end]]
        return self.source


def read(path: Path) -> Document:
    """The mapping in a YAML file.  Raises RequestError naming file and line where it is anything else."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise RequestError(f"no such file: {path}") from None
    except IsADirectoryError:
        raise RequestError(f"{path} is a folder; a YAML file is wanted") from None
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise RequestError(f"{path} is not a text file (UTF-8): byte {error.start} is {byte:#04x}") from None
    except OSError as error:
        raise RequestError(f"cannot read {path}: {error.strerror}") from None
    return parse(text, str(path))


def parse(text: str, source: str) -> Document:
    """The mapping in a YAML text.  Raises RequestError."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{source}:{mark.line + 1}" if mark else source
        raise RequestError(f"{where}: not YAML: {error.problem or error.context}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        raise RequestError(f"{source}:{line}: not a text: it holds the character {error.character:#04x}") from None
    except RecursionError:
        raise RequestError(f"{source}: nested too deeply") from None
    if node is None:
        raise RequestError(f"{source} is empty; a mapping with name, models and datasets is wanted")
    if not isinstance(node, yaml.MappingNode):
        raise RequestError(f"{source}:{node.start_mark.line + 1}: a mapping (key: value) is wanted here")
    document = Document(source, {}, text)
    document.data.update(_value(node, (), document, set()))
    return document


def parse_value(text: str, source: str) -> Any:
    """The value that a text would have in a suite: `3`, `[0, 1]`, `{lr: 0.1}`.  Raises RequestError naming `source`."""
    try:
        data = parse(f"value: {text}", "").data
    except RequestError:
        data = {}
    if list(data) != ["value"]:
        raise RequestError(f"{source}: {text!r} is not one value as YAML has it")
    return data["value"]


def _value(node: yaml.Node, path: KeyPath, document: Document, seen: set[int]) -> Any:
    where = f"{document.source}:{node.start_mark.line + 1}"
    if id(node) in seen:
        raise RequestError(f"{where}: anchors and aliases (& and *) are not allowed in a suite")
    seen.add(id(node))
    document.places.setdefault(path, where)
    if node.tag not in _TAGS:
        raise RequestError(f"{where}: tags ({node.tag}) are not allowed in a suite")
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, path, document, seen)
    if isinstance(node, yaml.SequenceNode):
        return [_value(item, (*path, index), document, seen) for index, item in enumerate(node.value)]
    if node.tag.endswith("timestamp"):
        return node.value
    try:
        return yaml.SafeLoader("").construct_object(node)
    except (ValueError, yaml.YAMLError) as error:
        raise RequestError(f"{where}: {node.value!r} is not a value: {error}") from None


def _mapping(node: yaml.MappingNode, path: KeyPath, document: Document, seen: set[int]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key_node, value_node in node.value:
        where = f"{document.source}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode) or key_node.tag == "tag:yaml.org,2002:merge":
            raise RequestError(f"{where}: a key is a plain word here")
        key = str(key_node.value)
        if key in result:
            raise RequestError(f"{where}: key {key!r} is given twice (first at {document.places[(*path, key)]})")
        document.places[(*path, key)] = where
        result[key] = _value(value_node, (*path, key), document, seen)
    return result
