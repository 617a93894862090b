"""The hash of a model's code: its file, and the modules that this imports, but for libraries and the standard library.

Modules are found beside the file, in its package, in the zoo, and in folders that are added to sys.path.  Comments,
docstrings and blank lines do not count, nor do data files.
"""

import ast
import hashlib
import io
import os
import sys
import sysconfig
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
BY_NAME = ("import_module", "__import__")
"""Functions that import the module of a given name."""


def code_hash(file: Path) -> str:
    """Return 16 hex digits for the code in this file and in what it imports; "" if the file cannot be read."""
    digest, found, folders = hashlib.sha256(), [file.resolve()], _added_folders()
    try:
        for path in found:  # grows while it is read
            code, imported = _read(path, path.stat().st_mtime_ns, folders)
            if code is None and path is found[0]:
                return ""
            digest.update(path.read_bytes() if code is None else code)
            found += [each for each in imported if each not in found]
    except OSError:
        return ""
    return digest.hexdigest()[:16]


def _added_folders() -> tuple[Path, ...]:
    """Folders of sys.path whose code is the user's own: no library's, nor the standard library's.

    The working folder is none, unless PYTHONPATH has it: Python may have added it, and adds it to no worker process.
    """
    asked = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    mine = [entry for entry in sys.path if entry and (entry in asked or entry != os.getcwd())]
    standard = Path(sysconfig.get_path("stdlib")).resolve()
    found = [Path(entry).resolve() for entry in mine]
    return tuple(
        folder for folder in found if not {*LIBRARIES} & {*folder.parts} and standard not in (folder, *folder.parents)
    )


@lru_cache
def _read(file: Path, modified: int, added: tuple[Path, ...]) -> tuple[bytes | None, list[Path]]:
    """Return a file's code and the files it imports; None and none for a file that is no Python.

    `modified` is the file's time: a changed file is read again.
    """
    try:
        source = decode_source(file.read_bytes())
        tree = ast.parse(source)
    except (SyntaxError, ValueError, LookupError):
        return None, []
    imported = [path.resolve() for name, level in _names(tree) for path in _files(file, name, level, added)]
    return _code(source, tree).encode("utf-8", "surrogatepass"), list(dict.fromkeys(imported))


def _names(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield the dotted name of each module that may be imported, and its number of leading dots."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or "", *(f"{node.module or ''}.{alias.name}".strip(".") for alias in node.names)]
            yield from ((name, node.level) for name in names if name)
        elif isinstance(node, ast.Call) and _called(node.func) in BY_NAME and node.args:
            name = getattr(node.args[0], "value", None)
            name = name if isinstance(name, str) else ""
            yield from [(name.lstrip("."), len(name) - len(name.lstrip(".")))] * bool(name.strip("."))


def _called(function: ast.expr) -> str:
    """The name of a called function, without its module's."""
    return str(getattr(function, "attr", getattr(function, "id", "")))


def _files(file: Path, name: str, level: int, added: tuple[Path, ...]) -> Iterator[Path]:
    """Yield the file of an imported module, and those of the packages that it is in, unless it is a library's."""
    if level:
        folders = [file.parents[level - 1]]
    elif name.startswith(ZOO):
        name = name.removeprefix(ZOO)
        folders = [FOLDER if name in SHARED else content("models")]
    else:
        top = name.partition(".")[0]
        above = next(folder for folder in file.parents if not (folder / "__init__.py").exists())  # above its package
        folders = [above] if top == file.relative_to(above).parts[0] else []
        if top != "mixbench":
            folders += [file.parent] if file.parent.name not in LIBRARIES else []
            folders += added
    parts = name.split(".")
    for folder in dict.fromkeys(folders):
        packages = [folder.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)]
        yield from (path for path in (*packages, folder.joinpath(*parts).with_suffix(".py")) if path.is_file())


def _code(source: str, tree: ast.Module) -> str:
    """Return a source text without comments, docstrings and blank lines, but for those inside of texts."""
    lines = source.split("\n")
    inside: set[int] = set()  # numbers of lines that end within a text
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            row, column = token.start
            lines[row - 1] = lines[row - 1][:column]
        elif tokenize.tok_name[token.type] in ("STRING", "FSTRING_MIDDLE"):
            inside.update(range(token.start[0] - 1, token.end[0] - 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            ast.get_docstring(node, clean=False) is not None
        ):
            text = node.body[0]
            first, last = text.lineno - 1, (text.end_lineno or text.lineno) - 1
            after = lines[last].encode()[text.end_col_offset :].decode()
            before = lines[first].encode()[: text.col_offset].decode()
            lines[first : last + 1] = [before + after, *[""] * (last - first)]
            inside -= set(range(first, last))
    kept = [line if number in inside else line.rstrip() for number, line in enumerate(lines)]
    return "\n".join(line for number, line in enumerate(kept) if line or number in inside)
