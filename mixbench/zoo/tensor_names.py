"""Names of tensors: which tensor of a file, or of a state dict, belongs to which of a model.

A family whose published weights have other names says so in `published_names`, a class attribute: regular expressions
and their replacements, applied in order to each published name; an empty replacement leaves the tensor out.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

from mixbench.errors import RequestError, nearest

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]
PREFIXES = ("module.", "_orig_mod.", "model.")
"""What DistributedDataParallel, torch.compile and wrappers of users put before the names of all tensors."""
MAX_NAMES = 5
"""The most names that a message lists."""


@dataclass(frozen=True)
class Fit:
    """How tensors fit a model: their name for each of the model's tensors, and `notes` on what had to be adapted."""

    names: dict[str, str]
    notes: tuple[str, ...] = ()


def our_name(model: "nn.Module", published: str) -> str:
    """Return the model's name of a published tensor; "" if it has no use for it."""
    for pattern, replacement in getattr(model, "published_names", ()):
        if not replacement and re.search(pattern, published):
            return ""
        published = re.sub(pattern, replacement, published)
    return published


def fit(model: "nn.Module", found: Mapping[str, Shape], where: str) -> Fit:
    """Find each of the model's tensors in `found`, under our names or those of its family's published weights.

    A prefix of all names is left out.  Tensors under published names may have another shape of as many numbers, as
    linear layers are convolutions there.  Raises RequestError, which names `where` they were found and the missing and
    surplus ones, unless all fit.
    """
    state = model.state_dict()
    prefix = _prefix(found, model, state)
    ours = {name.removeprefix(prefix): name for name in found}
    published = {own: name for short, name in ours.items() if (own := our_name(model, short))}
    is_published = published != ours and len(published.keys() & state.keys()) > len(ours.keys() & state.keys())
    names = published if is_published else ours
    if missing := [name for name in state if name not in names]:
        raise RequestError(f"{where} has no {_listed(missing)}{nearest(missing[0], names)}{_surplus(state, names)}")
    if surplus := _surplus(state, names):
        raise RequestError(f"{where}{surplus.removeprefix('; it')}")
    for name, value in state.items():
        shape, wanted = found[names[name]], tuple(value.shape)
        if shape != wanted and not (is_published and prod(shape) == value.numel()):
            raise RequestError(f"{where}: {names[name]} has shape {shape}, the model's has {wanted}")
    notes = [f"names without {prefix!r}"] if prefix else []
    return Fit(names, (*notes, *(["names of the published weights"] if is_published else [])))


def _prefix(found: Iterable[str], model: "nn.Module", state: Mapping[str, object]) -> str:
    """The known prefixes before all names; empty if a name is the model's, or a published one, as it is."""
    prefix, names = "", list(found)
    while not any({short, our_name(model, short)} & state.keys() for short in (n.removeprefix(prefix) for n in names)):
        longer = (prefix + more for more in PREFIXES if names and all(n.startswith(prefix + more) for n in names))
        if not (prefix := next(longer, "")):
            break
    return prefix


def _surplus(state: Mapping[str, object], names: Mapping[str, str]) -> str:
    surplus = [names[name] for name in names if name not in state]
    one = "a " if len(surplus) == 1 else ""
    return f"; it has {one}{_listed(surplus)}, which the model has not" if surplus else ""


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - MAX_NAMES} more" if len(names) > MAX_NAMES else ""
    tensors = "tensor" if len(names) == 1 else "tensors"
    return f"{tensors} {', '.join(map(repr, names[:MAX_NAMES]))}{more}"
