"""The registry of models: each name's class and arguments.

model = create_model("splitmixer_i_256_8", num_classes=100, ratio="3/5")
"""

import importlib.util
import inspect
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.nn.parameter import is_lazy

from mixbench.errors import RequestError, cut, nearest
from mixbench.zoo.arguments import typed
from mixbench.zoo.source import code_hash
from mixbench.zoo.user_code import importable_folder, running, sources

LIBRARIES = ("torchvision/", "timm/")
"""Beginnings of names of other libraries' models, which libraries.py makes."""
SHAPE_ARGUMENTS = ("image_size", "in_chans", "num_classes")
MOST_TENSORS, MOST_PARAMETERS = 20_000, 100_000_000_000
"""Limits that keep building a model to about two seconds.  The zoo's maximum is 438 tensors (resmlp_s36)."""
Model = TypeVar("Model", bound=type[nn.Module])


class TooLarge(ValueError):
    """A model has more tensors or parameters than allowed."""


@dataclass(frozen=True)
class Entry:
    """One registered variant.  `arguments` are complete: the class's defaults, overridden by the variant's.

    `paper`: "arXiv:2105.01601", or such as "IJCAI 2023"; "" if none is known.
    `code`: hash of the source that its class is made of, as it was when it was loaded; "" if there is none.
    """

    name: str
    family: str
    model_class: type[nn.Module]
    arguments: dict[str, Any]
    defaults: dict[str, Any]
    reconstruction: bool = False
    paper: str = ""
    code: str = ""

    def identity(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments that enter a trial's id: those that differ from the class's defaults, which never change.

        Thus a class may get a new argument, and the ids of trials measured before stay the same.
        """
        return {key: value for key, value in arguments.items() if self.defaults.get(key, ...) != value}

    @property
    def in_zoo(self) -> bool:
        """True for a model of /models, which the tests check; False for one of a plugin, a package, a library."""
        return self.model_class.__module__.startswith("mixbench.zoo.") and not self.name.startswith(LIBRARIES)

    @property
    def overridable(self) -> list[str]:
        """Names of the arguments that a suite may set: all but those that the dataset determines."""
        return [name for name in self.arguments if name not in SHAPE_ARGUMENTS]


_entries: dict[str, Entry] = {}


def register_model(
    *, variants: dict[str, dict[str, Any]], family: str | None = None, reconstruction: bool = False, paper: str = ""
) -> Callable[[Model], Model]:
    """Class decorator that registers variants: name → arguments, with its native image_size and num_classes.

    `reconstruction` marks a model that its paper does not define completely.  `paper`: "arXiv:2105.01601".
    Raises ValueError if a name is taken, an argument is unknown to the class, or the class does not take `image_size`,
    `in_chans` and `num_classes`.
    """

    def register(model_class: Model) -> Model:
        parameters = inspect.signature(model_class).parameters
        if missing := [key for key in SHAPE_ARGUMENTS if key not in parameters]:
            raise ValueError(f"{model_class.__name__} has no argument {missing[0]!r}, which every model takes")
        defaults = {p.name: p.default for p in parameters.values() if p.default is not p.empty}
        file = getattr(sys.modules.get(model_class.__module__), "__file__", None)
        code = code_hash(Path(file)) if file else ""
        for name, arguments in variants.items():
            if name in _entries:
                both = f"{_class_in_file(_entries[name].model_class)} and {_class_in_file(model_class)}"
                raise ValueError(f"model {name!r} is registered twice: {both}")
            if unknown := [key for key in arguments if key not in parameters]:
                raise ValueError(f"model {name!r}: {model_class.__name__} has no argument {unknown[0]!r}")
            given = typed(name, model_class, defaults | arguments)
            complete = {key: given[key] for key in parameters if key in given}
            defaults_coerced = typed(name, model_class, defaults)
            family_name = family or model_class.__name__
            _entries[name] = Entry(
                name, family_name, model_class, complete, defaults_coerced, reconstruction, paper, code
            )
        return model_class

    return register


def _class_in_file(model_class: type[nn.Module]) -> str:
    return f"{model_class.__name__} in {getattr(sys.modules.get(model_class.__module__), '__file__', 'memory')}"


def create_model(name: str, **overrides: Any) -> nn.Module:
    """Build a model; `image_size`, `in_chans`, `num_classes` and any argument of its class may be overridden.

    Raises RequestError if the name, an argument or the combination of arguments is wrong.
    """
    entry = find(name)
    arguments = resolve(name, overrides)
    try:
        return build(entry, arguments)
    except ValueError as error:
        raise RequestError(f"{name}: {error}") from error


def build(entry: Entry, arguments: dict[str, Any]) -> nn.Module:
    """Build the model.  Raises TooLarge as soon as it exceeds the limits, and whatever its class raises.

    Raises ValueError for a lazy parameter or buffer: neither could be counted, trained or given to an optimizer.
    """
    tensors = parameters = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal tensors, parameters
        size = 0 if parameter is None or is_lazy(parameter) else parameter.numel()
        tensors, parameters = tensors + 1, parameters + size
        if tensors > MOST_TENSORS or parameters > MOST_PARAMETERS:
            raised = [
                f"{key} {value}"
                for key, value in arguments.items()
                if type(value) is int and value > entry.arguments[key] and key not in ("in_chans", "num_classes")
            ]
            limit = f"{MOST_TENSORS:,} tensors or {MOST_PARAMETERS:,} parameters"
            raise TooLarge(f"{', '.join(raised) or 'it'} is too large: the model would have more than {limit}")

    hook = register_module_parameter_registration_hook(count)
    try:
        model = entry.model_class(**arguments)
    except SystemExit as error:
        raise RuntimeError(f"{entry.model_class.__name__} calls sys.exit({error.code})") from error
    finally:
        hook.remove()
    for name, tensor in chain(model.named_parameters(), model.named_buffers()):
        if is_lazy(tensor):
            owner = type(model.get_submodule(name.rpartition(".")[0])).__name__
            raise ValueError(f"{name} ({owner}) has no shape before the first forward: give its sizes in the model")
    return model


def resolve(name: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """The complete arguments of a model with these overrides, each of the type that its class declares.

    Raises RequestError for an unknown model or argument, or a value of the wrong type.
    """
    entry = find(name)
    for key in overrides:
        if key not in entry.arguments:
            raise RequestError(f"{name} has no argument {key!r}{nearest(key, entry.overridable)}")
    return entry.arguments | typed(name, entry.model_class, overrides)


def find(name: str) -> Entry:
    """The entry of a name.  Raises RequestError, naming the nearest names, if there is none."""
    load_zoo()
    if name not in _entries and name.startswith(LIBRARIES):
        from mixbench.zoo import libraries

        model_class, family, side = libraries.find_baseline(name)
        arguments = dict(zip(SHAPE_ARGUMENTS, (side, 3, 1000), strict=True))
        return Entry(name, family, model_class, arguments, arguments)
    if name not in _entries:
        raise RequestError(
            f"no model is called {cut(name)!r}{nearest(name, _entries) or '; mixbench list models names them'}"
        )
    return _entries[name]


def list_models(pattern: str = "*") -> list[str]:
    """Names that match a shell pattern, in alphabetical order: registered ones, or a library's for torchvision/* etc.

    Raises RequestError if the library is not installed.
    """
    load_zoo()
    if pattern.startswith(LIBRARIES):
        from mixbench.zoo import libraries

        library, _, rest = pattern.partition("/")
        return [f"{library}/{name}" for name in libraries.list_library(library, rest)]
    return sorted(name for name in _entries if fnmatch(name, pattern))


def is_model(name: str) -> bool:
    """Return True if a model is registered under this name, or a library has it."""
    try:
        find(name)
    except RequestError:
        return False
    return True


def load_plugin(path: Path) -> None:
    """Run a Python file that registers models; a second call with the same file does nothing.

    It may import modules beside it.  Raises RequestError if the file is missing, raises, exits, or registers nothing.
    """
    load_zoo()
    path = Path(os.path.realpath(path))  # Path.resolve() raises if links form a circle
    module_name = "mixbench_plugin_" + path.as_posix().encode().hex()
    if module_name in sys.modules:
        return
    if not path.is_file():
        problem = f"plugin {path} is not a file" if path.exists() else f"no plugin file at {path}"
        raise RequestError(f"{problem}: a Python file (.py) is wanted")
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise RequestError(f"plugin {path} is not a Python file: its name is to end in .py")
    sys.modules[module_name] = importlib.util.module_from_spec(spec)
    try:
        with _all_or_nothing() as before, importable_folder(path):
            with running(f"plugin {path}", path):
                spec.loader.exec_module(sys.modules[module_name])
            if _entries.keys() == before.keys():
                wanted = "its class is to be decorated with @register_model"
                raise RequestError(f"plugin {path} registers no model: {wanted}")
    except BaseException:
        del sys.modules[module_name]
        raise


@contextmanager
def _all_or_nothing() -> Iterator[dict[str, Entry]]:
    """A context that gives the entries so far, and restores them if an exception leaves it."""
    before = dict(_entries)
    try:
        yield before
    except BaseException:
        _entries.clear()
        _entries.update(before)
        raise


_problems: list[str] | None = None


def load_zoo() -> None:
    """Import the models of the zoo and of installed packages, once.

    Raises RequestError, at each call, with a line for each file or package that cannot be imported.
    """
    global _problems
    if _problems is None:
        _problems = []  # first: a package may ask for names while it is imported
        for what, file, load in sources():
            try:
                with _all_or_nothing(), running(what, file):
                    load()
            except RequestError as error:
                _problems.append(str(error))
    if _problems:
        raise RequestError("\n".join(_problems))
