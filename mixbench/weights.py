"""A model's weights as a file (safetensors): saved where a suite keeps them, evaluated where a model names one."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from mixbench.errors import RequestError, nearest
from mixbench.record import write_atomically

if TYPE_CHECKING:
    from torch import nn


def fingerprint(path: Path) -> str:
    """What tells two files of weights apart: 16 hex digits of their contents' SHA-256.  Raises RequestError."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise RequestError(f"the weights {path} cannot be read: {error.strerror}") from None


def check(path: Path, model: "nn.Module") -> None:
    """Raises RequestError where the file's tensors are not this model's, by name and shape."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise RequestError(f"{path} is not a file of safetensors: {error}") from None
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name, shape in wanted.items():
        if name not in found:
            raise RequestError(f"{path} has no tensor {name!r}{nearest(name, found)}")
        if found[name] != shape:
            raise RequestError(f"{path}: {name} has shape {found[name]}, the model's has {shape}")
    if unknown := sorted(found.keys() - wanted.keys()):
        raise RequestError(f"{path} has a tensor {unknown[0]!r}, which the model has not")


def load(path: Path, model: "nn.Module") -> None:
    """Put the file's tensors into the model.  Raises RequestError where they are not its own."""
    from safetensors.torch import load_file

    check(path, model)
    model.load_state_dict(load_file(path))


def save(model: "nn.Module", path: Path) -> None:
    """All parameters and buffers, under the names that the model gives them."""
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    write_atomically(path, save(state))
