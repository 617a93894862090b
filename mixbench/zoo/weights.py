"""Save and load a model's weights as safetensors, with what they are of; read PyTorch's .pt and .pth files too."""

import pickle
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from mixbench.errors import RequestError, cut, described, nearest, printable
from mixbench.system.files import is_lfs_pointer, write_atomically
from mixbench.zoo.pretrained import timms_name

if TYPE_CHECKING:
    from torch import Tensor, nn

KEY = "mixbench"
"""The key of a safetensors file's metadata under which an Origin stands, as JSON."""
PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DistributedDataParallel, torch.compile and wrappers of users put before the names of all tensors."""
INSIDE = ("state_dict", "model_state_dict", "model", "module")
"""Keys of a .pt or .pth file under which training scripts keep the model's tensors."""
ZIP, PICKLE = b"PK\x03\x04", b"\x80"
"""The first bytes of torch.save's files, new and old."""
REGULARISATION = ("drop_path",)
"""Arguments of a model that do not change what it computes once it is trained."""


class Origin(BaseModel):
    """What a file of weights is of: kept in its metadata.  `classes`: names, in the order of the model's outputs."""

    model_config = ConfigDict(frozen=True)

    model: str
    family: str
    overrides: dict[str, Any]
    arguments: dict[str, Any]
    dataset: str
    classes: tuple[str, ...] = ()
    recipe: dict[str, Any] = {}
    trial_id: str = ""

    def differences(self, family: str, arguments: dict[str, Any]) -> list[str]:
        """Return texts on how a model's family and arguments differ; those that its tensors' shapes show are not."""
        if self.family != family:
            return [f"they are of a {self.family}, {self.model}"]
        left_out = {"image_size", "in_chans", "num_classes", *REGULARISATION}
        keys = sorted((self.arguments.keys() | arguments.keys()) - left_out)
        return [
            f"they are of {key} {self.arguments.get(key)}, not {arguments.get(key)}"
            for key in keys
            if self.arguments.get(key) != arguments.get(key)
        ]

    def other_classes(self, classes: list[str]) -> str:
        """Return how a dataset's classes differ; empty if they are the same, or either side has no names."""
        if not self.classes or not classes or list(self.classes) == classes:
            return ""
        lost, new = sorted(set(self.classes) - set(classes)), sorted(set(classes) - set(self.classes))
        parts = [f"{what} {_some(names)}" for what, names in (("they know", lost), ("and not", new)) if names]
        return f"their classes are not the dataset's: {' '.join(parts) or 'the order differs'}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(printable(cut(repr(name), 40)) for name in names[:3]) + more


@dataclass(frozen=True)
class Fit:
    """How a file fits a model: its name for each of the model's tensors, and `notes` on what had to be adapted."""

    names: dict[str, str]
    notes: tuple[str, ...] = ()


def origin(path: Path) -> Origin | None:
    """What a file says it is of; None if it says nothing, as files of other programs.  Raises RequestError."""
    from safetensors import SafetensorError, safe_open

    if _is_of_torch(path):
        return None
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY)
        return Origin.model_validate_json(text) if text else None
    except (OSError, SafetensorError, ValidationError):
        return None  # reading the tensors names what is wrong


def check(path: Path, model: "nn.Module") -> Fit:
    """Map each of the model's tensor names to the file's, which are ours or timm's.

    Raises RequestError if the file cannot be read, or its tensors differ from the model's in name or shape.
    """
    found, notes = _shapes(path)
    state = model.state_dict()
    prefix = _prefix(found.keys(), state.keys())
    shapes = {name.removeprefix(prefix): shape for name, shape in found.items()}
    ours, theirs = {name: name for name in state}, {name: timms_name(name) for name in state}
    names = theirs if set(theirs.values()) == shapes.keys() else ours
    for name, value in state.items():
        if names[name] not in shapes:
            raise RequestError(f"{path} has no tensor {name!r}{nearest(name, shapes)}")
        shape = shapes[names[name]]
        if shape != tuple(value.shape) and (names is ours or prod(shape) != value.numel()):
            raise RequestError(f"{path}: {names[name]} has shape {shape}, the model's has {tuple(value.shape)}")
    if unknown := sorted(shapes.keys() - set(names.values())):
        raise RequestError(f"{path} has a tensor {unknown[0]!r}, which the model has not")
    notes += [f"names without {prefix!r}"] if prefix else []
    return Fit({name: prefix + theirs_or_ours for name, theirs_or_ours in names.items()}, tuple(notes))


def _prefix(found: Any, wanted: Any) -> str:
    """The known prefixes before the names of all tensors of a file; empty if a name is the model's as it is."""
    prefix = ""
    while not any(name.removeprefix(prefix) in wanted for name in found):
        longer = (prefix + more for more in PREFIXES if found and all(name.startswith(prefix + more) for name in found))
        if not (prefix := next(longer, "")):
            break
    return prefix


def load(path: Path, model: "nn.Module") -> Fit:
    """Load the file's tensors into the model; reshapes them, as timm has some of our linear layers as convolutions.

    Raises RequestError if they do not fit the model.
    """
    from safetensors.torch import load_file

    fit = check(path, model)
    found = _of_torch(path)[0] if _is_of_torch(path) else load_file(path)
    state = model.state_dict()
    model.load_state_dict({name: found[fit.names[name]].reshape(value.shape) for name, value in state.items()})
    return fit


def save(model: "nn.Module", path: Path, of: Origin | None = None) -> None:
    """Save all parameters and buffers, under the model's own names, with what they are `of` as metadata."""
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    metadata = {"format": "pt"} | ({KEY: of.model_dump_json()} if of else {})
    write_atomically(path, save(state, metadata))


def _shapes(path: Path) -> tuple[dict[str, tuple[int, ...]], list[str]]:
    """(shapes of a file's tensors by their names, notes).  Raises RequestError if it cannot be read."""
    from safetensors import SafetensorError, safe_open

    if _is_of_torch(path):
        tensors, notes = _of_torch(path)
        return {name: tuple(value.shape) for name, value in tensors.items()}, notes
    try:
        with safe_open(path, framework="pt") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}, []  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        if is_lfs_pointer(path):
            raise RequestError(f"{path} is a pointer of git-LFS, not the weights themselves: git lfs pull") from None
        raise RequestError(f"{path} is not a file of safetensors: {error}") from None


def _is_of_torch(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(4).startswith((ZIP, PICKLE))
    except OSError as error:
        raise RequestError(f"the weights {path} cannot be read: {error.strerror}") from None


def _of_torch(path: Path) -> tuple[dict[str, "Tensor"], list[str]]:
    """(the tensors of a .pt or .pth file, notes).  Runs no code that is in the file.  Raises RequestError."""
    import torch

    with open(path, "rb") as file:
        is_zip = file.read(4) == ZIP
    try:
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip or None)
    except pickle.UnpicklingError:
        raise RequestError(
            f"{path} holds more than tensors, and reading it could run code: save the model's state_dict() alone"
        ) from None
    except (RuntimeError, EOFError, ValueError, KeyError, OSError) as error:
        raise RequestError(f"{path} cannot be read as a file of PyTorch: {described(error)}") from None
    notes = []
    if isinstance(found, dict) and (key := next((key for key in INSIDE if isinstance(found.get(key), dict)), "")):
        found, notes = found[key], [f"tensors under {key!r}"]
    tensors = {str(name): value for name, value in found.items()} if isinstance(found, dict) else {}
    if not tensors or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise RequestError(f"{path} holds no state_dict: save the model's state_dict() alone")
    return tensors, notes
