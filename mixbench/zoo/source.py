"""The hash of a model's code: its file, and the modules that this imports from its own folder, its package or the zoo.

Comments, docstrings and blank lines do not count, nor do data files and other libraries.
"""

import ast
import hashlib
import io
import tokenize
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import decode_source
from pathlib import Path

from mixbench.system.content import content

ZOO = "mixbench.zoo."
SHARED = ("layers", "initialization")
"""Modules of this folder that families are built of."""
FOLDER = Path(__file__).parent
LIBRARIES = ("site-packages", "dist-packages")
"""Folders whose modules have nothing to do with each other."""


def code_hash(file: Path) -> str:
    """Return 16 hex digits for the code in this file and in what it imports from beside it; "" if it cannot be read."""
    digest, found = hashlib.sha256(), [file.resolve()]
    try:
        for path in found:  # grows while it is read
            code, imported = _read(path, path.stat().st_mtime_ns)
            digest.update(code)
            found += [each for each in imported if each not in found]
    except (OSError, SyntaxError, ValueError, LookupError):
        return ""
    return digest.hexdigest()[:16]


@lru_cache
def _read(file: Path, modified: int) -> tuple[bytes, list[Path]]:
    """Return a file's code and the files it imports; `modified` is its time: a changed file is read again."""
    source = decode_source(file.read_bytes())
    tree = ast.parse(source)
    imported = [path.resolve() for name, level in _names(tree) for path in _files(file, name, level)]
    return _code(source, tree).encode("utf-8", "surrogatepass"), list(dict.fromkeys(imported))


def _names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield the dotted name of each module that may be imported, and its number of leading dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module or ''}.{alias.name}".strip(".") for alias in node.names)]
            yield from ((name, node.level) for name in names if name)


def _files(file: Path, name: str, level: int) -> Iterator[Path]:
    """Yield the file of an imported module if it lies beside this one, in its package, or defines models of the zoo."""
    if level:
        folders = [file.parents[level - 1]]
    elif name.startswith(ZOO):
        name = name.removeprefix(ZOO)
        folders = [FOLDER if name in SHARED else content("models")]
    else:
        top = name.partition(".")[0]
        above = next(folder for folder in file.parents if not (folder / "__init__.py").exists())  # above its package
        folders = [above] if top == file.relative_to(above).parts[0] else []
        folders += [file.parent] if top != "mixbench" and file.parent.name not in LIBRARIES else []
    for folder in folders:
        module = folder.joinpath(*name.split("."))
        yield from (path for path in (module.with_suffix(".py"), module / "__init__.py") if path.is_file())


def _code(source: str, tree: ast.Module) -> str:
    """Return a source text without comments, docstrings and blank lines."""
    lines = source.split("\n")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            text = node.body[0]
            first, last = text.lineno - 1, (text.end_lineno or text.lineno) - 1
            after = lines[last].encode()[text.end_col_offset :].decode()
            before = lines[first].encode()[: text.col_offset].decode()
            lines[first : last + 1] = [before + after, *[""] * (last - first)]
    return "\n".join(line.rstrip() for line in lines if line.strip())
