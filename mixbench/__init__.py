"""Compare Mixer-family vision models.  `from mixbench import create_model, list_models, register_model`."""

from typing import Any

__all__ = ["create_model", "is_model", "list_models", "register_model"]


def __getattr__(name: str) -> Any:
    """The registry's functions, imported at first use: it imports torch, which takes seconds.

    Raises AttributeError for any other name.
    """
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from mixbench.zoo import registry

    return getattr(registry, name)
