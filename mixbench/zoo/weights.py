"""A model's weights as a file (safetensors): saved where a suite keeps them, evaluated where a model names one."""

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from mixbench.errors import RequestError, nearest
from mixbench.system.files import write_atomically
from mixbench.zoo.pretrained import timms_name

if TYPE_CHECKING:
    from torch import nn


def check(path: Path, model: "nn.Module") -> dict[str, str]:
    """The file's name of each of the model's tensors: ours, or timm's.

    Raises RequestError where the file's tensors are not this model's, by name and shape.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise RequestError(f"{path} is not a file of safetensors: {error}") from None
    state = model.state_dict()
    ours, theirs = {name: name for name in state}, {name: timms_name(name) for name in state}
    names = theirs if set(theirs.values()) == found.keys() else ours
    for name, value in state.items():
        if names[name] not in found:
            raise RequestError(f"{path} has no tensor {name!r}{nearest(name, found)}")
        shape = found[names[name]]
        if shape != tuple(value.shape) and (names is ours or prod(shape) != value.numel()):
            raise RequestError(f"{path}: {names[name]} has shape {shape}, the model's has {tuple(value.shape)}")
    if unknown := sorted(found.keys() - set(names.values())):
        raise RequestError(f"{path} has a tensor {unknown[0]!r}, which the model has not")
    return names


def load(path: Path, model: "nn.Module") -> None:
    """Put the file's tensors into the model; timm has a linear map of ours as a convolution here and there.

    Raises RequestError where they are not its own.
    """
    from safetensors.torch import load_file

    names, found = check(path, model), load_file(path)
    model.load_state_dict({name: found[names[name]].reshape(value.shape) for name, value in model.state_dict().items()})


def save(model: "nn.Module", path: Path) -> None:
    """All parameters and buffers, under the names that the model gives them."""
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    write_atomically(path, save(state))
