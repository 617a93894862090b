"""The registry of models: each name's class and arguments.

model = create_model("splitmixer_i_256_8", num_classes=100, ratio="3/5")
"""

import importlib
import importlib.util
import inspect
import json
import os
import pkgutil
import re
import sys
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from fnmatch import fnmatch
from fractions import Fraction
from importlib.metadata import entry_points
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

from pydantic import BeforeValidator, TypeAdapter, ValidationError
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from mixbench.errors import RequestError, cut, described, nearest, shown, wanted

LIBRARIES = ("torchvision/", "timm/")
"""Beginnings of names of other libraries' models, which libraries.py makes."""
SHAPE_ARGUMENTS = ("image_size", "in_chans", "num_classes")
LARGEST_ARGUMENT = 1_000_000
MOST_TENSORS, MOST_PARAMETERS = 20_000, 100_000_000_000
"""Limits that keep building a model to about two seconds.  The zoo's maximum is 438 tensors (resmlp_s36)."""
MOVED = {
    "mixbench.layers": "mixbench.zoo.layers",
    "mixbench.weights": "mixbench.zoo.weights",
}
"""Former → present names of modules that plugins may import."""
Model = TypeVar("Model", bound=type[nn.Module])


class TooLarge(ValueError):
    """A model has more tensors or parameters than allowed."""


@dataclass(frozen=True)
class Entry:
    """One registered variant.  `arguments` are complete: the class's defaults, overridden by the variant's."""

    name: str
    family: str
    model_class: type[nn.Module]
    arguments: dict[str, Any]
    defaults: dict[str, Any]
    reconstruction: bool = False

    def identity(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments that enter a trial's id: those that differ from the class's defaults, which never change.

        Thus a class may get a new argument, and the ids of trials measured before stay the same.
        """
        return {key: value for key, value in arguments.items() if self.defaults.get(key, ...) != value}

    @property
    def overridable(self) -> list[str]:
        """Names of the arguments that a suite may set: all but those that the dataset determines."""
        return [name for name in self.arguments if name not in SHAPE_ARGUMENTS]


_entries: dict[str, Entry] = {}


def register_model(
    *, variants: dict[str, dict[str, Any]], family: str | None = None, reconstruction: bool = False
) -> Callable[[Model], Model]:
    """Class decorator that registers variants: name → arguments, with its native image_size and num_classes.

    `reconstruction` marks a model that its paper does not define completely.
    Raises ValueError if a name is taken, an argument is unknown to the class, or the class does not take `image_size`,
    `in_chans` and `num_classes`.
    """

    def register(model_class: Model) -> Model:
        parameters = inspect.signature(model_class).parameters
        if missing := [key for key in SHAPE_ARGUMENTS if key not in parameters]:
            raise ValueError(f"{model_class.__name__} has no argument {missing[0]!r}, which every model takes")
        defaults = {p.name: p.default for p in parameters.values() if p.default is not p.empty}
        for name, arguments in variants.items():
            if name in _entries:
                raise ValueError(f"model {name!r} is registered twice: {_entries[name].model_class} and {model_class}")
            if unknown := [key for key in arguments if key not in parameters]:
                raise ValueError(f"model {name!r}: {model_class.__name__} has no argument {unknown[0]!r}")
            given = _coerce(name, model_class, defaults | arguments)
            complete = {key: given[key] for key in parameters if key in given}
            defaults_coerced = _coerce(name, model_class, defaults)
            _entries[name] = Entry(
                name, family or model_class.__name__, model_class, complete, defaults_coerced, reconstruction
            )
        return model_class

    return register


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
    """Build the model.  Raises TooLarge as soon as it exceeds the limits, and whatever its class raises."""
    tensors = parameters = 0

    def count(module: nn.Module, name: str, parameter: nn.Parameter | None) -> None:
        nonlocal tensors, parameters
        tensors, parameters = tensors + 1, parameters + (0 if parameter is None else parameter.numel())
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
        return entry.model_class(**arguments)
    finally:
        hook.remove()


def resolve(name: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """The complete arguments of a model with these overrides, each of the type that its class declares.

    Raises RequestError for an unknown model or argument, or a value of the wrong type.
    """
    entry = find(name)
    for key in overrides:
        if key not in entry.arguments:
            raise RequestError(f"{name} has no argument {key!r}{nearest(key, entry.overridable)}")
    return entry.arguments | _coerce(name, entry.model_class, overrides)


def find(name: str) -> Entry:
    """The entry of a name.  Raises RequestError, naming the nearest names, if there is none."""
    _load_zoo()
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
    _load_zoo()
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

    Its output goes to stderr.  Raises RequestError if the file is missing, raises, exits, or registers nothing.
    """
    _load_zoo()
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
    module = importlib.util.module_from_spec(spec)
    before = dict(_entries)
    sys.modules[module_name] = module
    try:
        with redirect_stdout(sys.stderr):
            spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[module_name]
        _entries.clear()
        _entries.update(before)
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        where = f" (line {lines[-1]})" if lines else ""
        raise RequestError(f"plugin {path} raises {described(error)}{where}{_moved(error)}") from error
    if _entries.keys() == before.keys():
        del sys.modules[module_name]
        raise RequestError(f"plugin {path} registers no model: its class is to be decorated with @register_model")


def _moved(error: BaseException) -> str:
    """A hint for a plugin that imports a mixbench module by its former name; else empty."""
    new = MOVED.get(getattr(error, "name", None) or "")
    return f": it is {new} now" if isinstance(error, ModuleNotFoundError) and new else ""


_loaded = False


def _load_zoo() -> None:
    """Import all modules of the zoo and all installed plugins, once."""
    global _loaded
    if _loaded:
        return
    _loaded = True
    from mixbench.system.content import content

    for module in pkgutil.iter_modules([str(content("models"))]):
        importlib.import_module(f"mixbench.zoo.{module.name}")
    for entry_point in entry_points(group="mixbench.models"):
        try:
            entry_point.load()
        except Exception as error:
            raise RequestError(f"the installed plugin {entry_point.value} raises {described(error)}") from error


def _fraction(value: Any) -> Fraction:
    """Convert to a fraction by way of text, so that YAML's 0.6 is 3/5 and not the nearest binary float."""
    text = "" if isinstance(value, bool) else str(value)
    try:
        if not re.search(r"e[+-]?\d{3}|.{50}", text, re.IGNORECASE):  # 1e999999999 as a fraction takes hours
            return Fraction(text)
    except (ValueError, ZeroDivisionError):
        pass
    raise ValueError("a fraction is a number such as 2/3 or 0.6")


def _fit(value: Any, annotation: Any) -> Any:
    """Convert a value to a type, strictly: "3" is not an int.  A list, as YAML has it, may become a tuple."""
    if annotation is Fraction:
        return TypeAdapter(Annotated[Fraction, BeforeValidator(_fraction)]).validate_python(value)
    if isinstance(value, list):
        return TypeAdapter(annotation).validate_json(json.dumps(value, default=str), strict=True)
    return TypeAdapter(annotation).validate_python(value, strict=None if annotation is float else True)


def _coerce(name: str, model_class: type[nn.Module], arguments: dict[str, Any]) -> dict[str, Any]:
    """Convert arguments to the types of the constructor's annotations.  Raises RequestError if one does not fit."""
    hints = get_type_hints(model_class.__init__)
    result = {}
    for key, value in arguments.items():
        try:
            result[key] = _fit(value, hints[key]) if key in hints else value
        except ValidationError as error:
            why = wanted(error.errors()[0])
            raise RequestError(f"{name}: {key}: {shown(value)} does not fit ({why})") from error
        if _largest(result[key]) > LARGEST_ARGUMENT:
            raise RequestError(f"{name}: {key}: {shown(value)} does not fit (it must be at most {LARGEST_ARGUMENT:,})")
    return result


def _largest(value: Any) -> float:
    """Absolute value of the largest finite number in an argument; 0 if it has none."""
    if isinstance(value, list | tuple):
        return max(map(_largest, value), default=0)
    return abs(value) if isinstance(value, int | float) and isfinite(value) else 0
