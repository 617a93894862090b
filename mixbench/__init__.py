"""Compare Mixer-family vision models.

create_model, list_models, is_model, register_model: the models.  load_suite: a suite, checked, and its trials.
read_run: the results of a run as a DataFrame.
"""

from importlib import import_module
from typing import Any

_HOMES = {
    "create_model": "mixbench.zoo.registry.create_model",
    "is_model": "mixbench.zoo.registry.is_model",
    "list_models": "mixbench.zoo.registry.list_models",
    "register_model": "mixbench.zoo.registry.register_model",
    "load_suite": "mixbench.suite.load.load",
    "read_run": "mixbench.results.tables.read_run",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """A public function, imported at first use: torch and pandas take seconds.

    Raises AttributeError for any other name.
    """
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module, _, function = _HOMES[name].rpartition(".")
    return getattr(import_module(module), function)
