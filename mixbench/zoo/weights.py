"""Save and load a model's weights as safetensors, with what they are of; read PyTorch's .pt and .pth files too."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from mixbench.errors import RequestError, cut, described, printable
from mixbench.system.files import is_lfs_pointer, write_atomically
from mixbench.zoo.tensor_names import Fit, fit

if TYPE_CHECKING:
    from torch import Tensor, nn

KEY = "mixbench"
"""The key of a safetensors file's metadata under which an Origin stands, as JSON."""
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
    """Map each of the model's tensor names to the file's.

    Raises RequestError if the file cannot be read, or its tensors differ from the model's in name or shape.
    """
    shapes, notes = _shapes(path)
    found = fit(model, shapes, str(path))
    return Fit(found.names, (*notes, *found.notes))


def load(model: "nn.Module", state: "Mapping[str, Tensor]", where: str = "the state dict") -> Fit:
    """Load tensors into the model, under its own names or those of its family's published weights.

    Raises RequestError, which names `where` they come from, unless they fit in name and shape.
    """
    found = fit(model, {name: tuple(value.shape) for name, value in state.items()}, where)
    own = model.state_dict()
    model.load_state_dict({name: state[found.names[name]].reshape(value.shape) for name, value in own.items()})
    return found


def load_file(path: Path, model: "nn.Module") -> Fit:
    """Load the file's tensors into the model.  Raises RequestError if they do not fit it."""
    from safetensors.torch import load_file

    checked = check(path, model)
    load(model, _of_torch(path)[0] if _is_of_torch(path) else load_file(path), str(path))
    return checked


def save(model: "nn.Module", path: Path, of: Origin | None = None) -> None:
    """Save all parameters and buffers, under the model's own names, with what they are `of` as metadata."""
    from safetensors.torch import save

    state = {name: value.detach().cpu().contiguous().clone() for name, value in model.state_dict().items()}
    # One key at most: safetensors writes several in a random order, and equal weights are to be equal files.
    write_atomically(path, save(state, {KEY: of.model_dump_json()} if of else None))


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
        if not path.stat().st_size:
            raise RequestError(f"{path} is empty") from None
        if path.suffix in (".pt", ".pth"):
            raise RequestError(f"{path} is neither a file of torch.save nor of safetensors") from None
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
