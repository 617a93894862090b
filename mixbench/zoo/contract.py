"""What a model must fulfil to be measured, checked on the meta device, where tensors have a shape and no values."""

import sys
from collections import defaultdict
from collections.abc import Iterator
from contextlib import redirect_stdout
from itertools import combinations
from typing import Any

import torch
from torch import Tensor, nn

IMAGES = 4
"""Images of the trial forward: more than one, as a `squeeze()` in a model shows only then."""
Limit = tuple[int, str]
"""The lowest stage of ZeRO that cannot train a model, and why; 0 is training without ZeRO."""


def wrong_forward(model: nn.Module, arguments: dict[str, Any]) -> str:
    """Return in what the output is wrong; "" also where the forward cannot run on the meta device, as it needs values.

    The output of such a model is checked when it is counted and trained.  The first forward of a process on the meta
    device takes seconds: torch imports its compiler.
    """
    shape = IMAGES, arguments["in_chans"], arguments["image_size"], arguments["image_size"]
    try:
        with torch.no_grad(), redirect_stdout(sys.stderr):
            output = model.eval()(torch.empty(shape, device="meta"))
    except (Exception, SystemExit):  # a plugin's model may raise anything
        return ""
    return wrong_output(output, IMAGES, arguments["num_classes"])


def wrong_output(output: object, images: int, num_classes: int) -> str:
    """Return in what a forward's result is not one logit per image and class; "" if it is."""
    if isinstance(output, Tensor) and output.shape == (images, num_classes) and output.is_floating_point():
        return ""
    return f"forward must return B × num_classes ({images} × {num_classes}); it returned {_described(output)}"


def _described(output: object) -> str:
    if isinstance(output, Tensor):
        shape = " × ".join(map(str, output.shape)) or "a single number"
        return shape if output.is_floating_point() else f"{shape} of type {_name(output.dtype)}"
    if isinstance(output, tuple | list):
        return f"a {type(output).__name__} ({', '.join(map(_described, output))})"
    if isinstance(output, dict):
        return f"a {type(output).__name__} with the keys {', '.join(map(repr, output))}"
    return "nothing" if output is None else f"a {type(output).__name__}"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def training_limits(model: nn.Module) -> Iterator[Limit]:
    """Yield what DeepSpeed and the fused optimizers cannot train, or would train otherwise than plain PyTorch."""
    trained = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    if not trained:
        yield 0, "it has no parameter to train"
    for name, weight in trained.items():
        if not weight.is_contiguous() and len(_places(weight).unique()) < weight.numel():
            yield 0, f"parameter {name!r} has several elements in one place of memory: give it .clone()"
        if weight.is_complex():
            yield 0, f"parameter {name!r} is complex: make it of real numbers, and use torch.view_as_complex in forward"
        elif weight.dtype != torch.float32:
            yield 1, f"parameter {name!r} is {_name(weight.dtype)}, which ZeRO turns into float32"
    for name, weight in model.named_parameters():
        if not weight.numel():
            yield 3, f"parameter {name!r} is empty, which stage 3 cannot gather"
    for name, other in _in_the_same_memory({**dict(model.named_buffers()), **dict(model.named_parameters())}):
        if name in trained or other in trained:
            yield 0, f"{name!r} and {other!r} share memory, yet are two tensors: assign one and the same to both names"


def _in_the_same_memory(tensors: dict[str, Tensor]) -> Iterator[tuple[str, str]]:
    """Yield the names of tensors of which an element is in the same place."""
    by_storage: dict[int, list[str]] = defaultdict(list)
    for name, tensor in tensors.items():
        if tensor.numel():
            by_storage[tensor.untyped_storage()._cdata].append(name)
    for names in by_storage.values():
        for name, other in combinations(names, 2):
            if torch.isin(_places(tensors[name]), _places(tensors[other])).any():
                yield name, other


def _places(tensor: Tensor) -> Tensor:
    """The position of each element in the tensor's storage, in elements."""
    places = torch.tensor(tensor.storage_offset())
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        places = places[..., None] + stride * torch.arange(size)
    return places.flatten()
