"""Runs Python code of the user's own: whatever it raises, `sys.exit` too, becomes a RequestError with file and line."""

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any

from mixbench.errors import RequestError, described
from mixbench.system.content import content

GROUP = "mixbench.models"
"""The entry points of installed packages that register models."""

MOVED = {
    "mixbench.layers": "mixbench.zoo.layers",
    "mixbench.weights": "mixbench.zoo.weights",
}
"""Former → present names of modules that plugins may import."""
_imported_from: dict[str, Path] = {}
"""Modules that plugins imported from their own folders: name → folder."""


def sources() -> Iterator[tuple[str, Path, Callable[[], Any]]]:
    """The files of the folder `models`, then the installed packages: a name for messages, the file, its import."""
    folder = content("models")
    found = [*folder.glob("*.py"), *(init.parent for init in folder.glob("*/__init__.py"))]
    for file in sorted(file for file in found if not file.name.startswith(".")):
        yield f"model file {file}", file, partial(_import_model_file, file)
    for entry_point in entry_points(group=GROUP):
        package = entry_point.dist.name if entry_point.dist else entry_point.name
        yield f"installed package {package} ({entry_point.value})", _file_of(entry_point), entry_point.load


def _import_model_file(file: Path) -> None:
    """Import `models/x.py` as `mixbench.zoo.x`.  Raises ImportError if that is another module."""
    name = f"mixbench.zoo.{file.stem}"
    if "." in file.stem:
        raise ImportError("Python imports no file with a dot in its name: rename it")
    if file.parent not in Path(str(importlib.import_module(name).__file__)).parents:
        raise ImportError(f"mixbench has a module {name} of its own: rename the file")


def _file_of(entry_point: EntryPoint) -> Path:
    """The file of a package, whose folder holds the rest of it; a path that does not exist if it cannot be found."""
    top = entry_point.module.partition(".")[0]
    with suppress(ImportError, ValueError):
        if (spec := importlib.util.find_spec(top)) and spec.origin:
            return Path(spec.origin)
    return Path(top)


@contextmanager
def running(what: str, file: Path) -> Iterator[None]:
    """A context that runs a file of the user's, or its package's: its output goes to stderr.

    Raises RequestError for any exception: "<what> raises SystemExit: 0 (line 3)".
    """
    try:
        with redirect_stdout(sys.stderr):
            yield
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # sys.exit raises no Exception
        raise RequestError(f"{what} raises {described(error)}{_place(error, file)}{_moved(error)}") from error


@contextmanager
def importable_folder(file: Path) -> Iterator[None]:
    """A context in which a plugin imports modules beside it, after the standard library's and installed ones.

    The folder stays importable, since a model may import in `forward`.  Raises RequestError if the plugin of another
    folder has imported a module of a name that this folder has too: Python would give both the same one.
    """
    folder, before = file.parent, set(sys.modules)
    for name, other in _imported_from.items():
        if other != folder and ((folder / f"{name}.py").exists() or (folder / name).is_dir()):
            raise RequestError(f"plugin {file}: a plugin in {other} imports its own {name}.py, so rename {name} here")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
    try:
        yield
    except BaseException:
        for name in _new_modules(before, folder):
            del sys.modules[name]  # read again once it is mended
        raise
    _imported_from.update(dict.fromkeys(_new_modules(before, folder), folder))


def _new_modules(before: set[str], folder: Path) -> list[str]:
    """Names of the modules imported from files below a folder since."""
    new = {name: getattr(sys.modules[name], "__file__", None) for name in set(sys.modules) - before}
    return [name for name, file in new.items() if file and folder in Path(file).parents]


def _place(error: BaseException, file: Path) -> str:
    """The last line of the user's file, or of another in its folder, that led to an error: " (line 3)"."""
    if isinstance(error, SyntaxError) and error.filename:  # its text says "(name.py, line 3)"
        return "" if error.filename == str(file) else f" in {error.filename}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if file.parent in Path(frame.filename).parents]
    if not own:
        return ""
    where = "" if own[-1].filename == str(file) else f"{own[-1].filename}, "
    return f" ({where}line {own[-1].lineno})"


def _moved(error: BaseException) -> str:
    """A hint for a plugin that imports a mixbench module by its former name; else empty."""
    new = MOVED.get(getattr(error, "name", None) or "")
    return f": it is {new} now" if isinstance(error, ModuleNotFoundError) and new else ""
