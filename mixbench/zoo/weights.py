"""Save and load a model's weights as a safetensors file."""

from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from mixbench.errors import RequestError, nearest
from mixbench.system.files import write_atomically
from mixbench.zoo.pretrained import timms_name

if TYPE_CHECKING:
    from torch import nn


def check(path: Path, model: "nn.Module") -> dict[str, str]:
    """Map each of the model's tensor names to the file's, which are ours or timm's.

    Raises RequestError if the file cannot be read, or its tensors differ from the model's in name or shape.
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
    """Load the file's tensors into the model; reshapes them, as timm has some of our linear layers as convolutions.

    Raises RequestError if they do not fit the model.
    """
    from safetensors.torch import load_file

    names, found = check(path, model), load_file(path)
    model.load_state_dict({name: found[names[name]].reshape(value.shape) for name, value in model.state_dict().items()})


def save(model: "nn.Module", path: Path) -> None:
    """Save all parameters and buffers, under the model's own names."""
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    write_atomically(path, save(state))
