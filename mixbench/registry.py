"""The registry's public address, for plugins and scripts: the functions of `mixbench.zoo.registry`."""

from mixbench.zoo.registry import create_model, is_model, list_models, register_model

__all__ = ["create_model", "is_model", "list_models", "register_model"]
