"""Exact parameters and multiply-accumulates of a model, layer by layer.

python -m mixbench.measure.complexity        counts all models of the zoo, and rewrites models/complexity.json
"""

import contextlib
import copy
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode, flop_registry

from mixbench.run.parts import Complexity, Layer
from mixbench.suite.trial import Trial
from mixbench.system.content import content
from mixbench.system.files import write_atomically
from mixbench.zoo import registry

Count = TypeVar("Count")
PTFLOPS_MACS_LIMIT = 200 * 10**9
"""ptflops runs the model on the CPU: skipped for more MACs than this (about ten seconds on one core)."""

MULTIPLYING = re.compile(r"(^|_)(conv\w*|deform|fft|mm|addmm|bmm|mv|addmv|dot|vdot|cdist|attention|lstm|gru)(_|$)")
"""Names of operators that compute a convolution, a matrix product or a Fourier transform."""


def profile(name: str, **overrides: Any) -> Complexity:
    """Count a registered model; overrides as for create_model (`image_size`, `num_classes`, arguments of its class)."""
    arguments = registry.resolve(name, overrides)
    return count(_without_weights(name, overrides), arguments["image_size"], arguments["in_chans"])


def profile_of(trial: Trial) -> Complexity:
    """Count a trial's model."""
    return profile(trial.model, **trial.arguments)


def macs_of(trial: Trial) -> int:
    """MACs of one image of a trial's model; does not run ptflops, which is slow."""
    model = _without_weights(trial.model, trial.arguments)
    return count(model, trial.arguments["image_size"], trial.arguments["in_chans"], ptflops=False).macs


def params_of(trial: Trial) -> int:
    """Number of parameters of a trial's model, without running it."""
    return sum(parameter.numel() for parameter in _without_weights(trial.model, trial.arguments).parameters())


def once_each(count: Callable[[Trial], Count]) -> Callable[[Trial], Count]:
    """Cache a count: trials of the same network share one."""
    counted: dict[str, Count] = {}

    def counted_once(trial: Trial) -> Count:
        if trial.built_alike not in counted:
            counted[trial.built_alike] = count(trial)
        return counted[trial.built_alike]

    return counted_once


def _without_weights(name: str, arguments: dict[str, Any]) -> nn.Module:
    """The model on torch's meta device, where tensors have a shape and no values."""
    with torch.device("meta"):
        return registry.create_model(name, **arguments)


def count(model: nn.Module, image_size: int, in_chans: int, *, ptflops: bool = True) -> Complexity:
    """Count params, MACs and activations for one image in eval mode; the model, on any device, is not changed.

    MACs are half of FlopCounterMode's FLOPs: convolutions and matrix products.  Activations are their output elements.
    `layers` has a row for each module that has no children, has its own parameters or multiplies itself, in the order
    of first use; the rows sum to the totals.  `ptflops` adds ptflops' figure, for which the model runs on the CPU.
    """
    on_meta = _zeroed_copy(model, torch.device("meta"))
    image = torch.empty(1, in_chans, image_size, image_size, device="meta")
    with torch.no_grad(), _Operators() as operators, FlopCounterMode(display=False) as counter:
        layers = _layers(on_meta, image, lambda: counter.get_total_flops() // 2)
    macs = counter.get_total_flops() // 2
    return Complexity(
        params=sum(parameter.numel() for parameter in model.parameters()),
        macs=macs,
        macs_ptflops=_ptflops(model, image_size, in_chans) if ptflops and macs <= PTFLOPS_MACS_LIMIT else None,
        activations=operators.activations,
        layers=layers,
        uncounted=sorted(operators.uncounted),
    )


def _zeroed_copy(model: nn.Module, device: torch.device) -> nn.Module:
    """A copy in eval mode on another device with all weights zero; never copies the weights themselves."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(torch.zeros_like(parameter, device=device), parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.zeros_like(buffer, device=device)
    return copy.deepcopy(model, memo).eval()


def _layers(model: nn.Module, image: Tensor, macs_so_far: Callable[[], int]) -> list[Layer]:
    """Run the model and count per module: MACs belong to the innermost module that is running."""
    names = {module: name for name, module in model.named_modules()}
    running: list[nn.Module] = []
    shapes: dict[nn.Module, tuple[list[int], list[int]]] = {}
    macs: Counter[nn.Module] = Counter()
    seen = 0

    def attribute() -> None:
        nonlocal seen
        if running:
            macs[running[-1]] += macs_so_far() - seen
        seen = macs_so_far()

    def enter(module: nn.Module, arguments: tuple[Any, ...]) -> None:
        attribute()
        running.append(module)
        shapes.setdefault(module, (_shape(arguments), []))

    def leave(module: nn.Module, arguments: tuple[Any, ...], result: Any) -> None:
        attribute()
        running.pop()
        shapes[module] = (shapes[module][0], shapes[module][1] or _shape(result))

    for module in names:
        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)
    model(image)

    params = dict(_own_params(model))
    used = list(shapes) + [module for module in names if module not in shapes]
    return [
        Layer(
            name=names[module],
            type=type(module).__name__,
            params=params[module],
            macs=macs[module],
            input_shape=shapes.get(module, ([], []))[0],
            output_shape=shapes.get(module, ([], []))[1],
        )
        for module in used
        if params[module] or macs[module] or (module in shapes and not any(module.children()))
    ]


def _own_params(model: nn.Module) -> Iterator[tuple[nn.Module, int]]:
    """Yield each module and the size of its own parameters; one shared by two modules counts for the first."""
    counted: set[int] = set()
    for module in model.modules():
        own = [parameter for parameter in module.parameters(recurse=False) if id(parameter) not in counted]
        counted.update(map(id, own))
        yield module, sum(parameter.numel() for parameter in own)


def _shape(value: Any) -> list[int]:
    """Shape of the first tensor in (nested) arguments or results, without the batch axis; empty if there is none."""
    while isinstance(value, tuple | list) and value:
        value = value[0]
    return list(value.shape[1:]) if isinstance(value, Tensor) else []


class _Operators(TorchDispatchMode):
    """Counts output elements of the operators that FlopCounterMode knows; collects names of those that it misses."""

    def __init__(self) -> None:
        super().__init__()
        self.activations = 0
        self.uncounted: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        operator = func._overloadpacket
        if operator in flop_registry:
            self.activations += (out[0] if isinstance(out, tuple) else out).numel()
        elif MULTIPLYING.search(operator.__name__):
            self.uncounted.add(str(operator))
        return out


def _ptflops(model: nn.Module, image_size: int, in_chans: int) -> int | None:
    """MACs by ptflops' aten backend; None if it fails.  Suppresses its output."""
    from ptflops import get_model_complexity_info

    on_cpu = _zeroed_copy(model, torch.device("cpu"))
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        macs, _ = get_model_complexity_info(
            on_cpu, (in_chans, image_size, image_size), backend="aten", as_strings=False, print_per_layer_stat=False
        )
    return None if macs is None else int(macs)


def zoo_table() -> str:
    """Contents of models/complexity.json: each model of the zoo at its native size, one per line."""
    rows = []
    for name in registry.list_models():
        entry = registry.find(name)
        if not entry.in_zoo:
            continue
        with torch.device("meta"):
            model = registry.create_model(name)
        image_size, in_chans = entry.arguments["image_size"], entry.arguments["in_chans"]
        counts = count(model, image_size, in_chans, ptflops=False)
        row = dict(family=entry.family, image_size=image_size, num_classes=entry.arguments["num_classes"])
        row |= dict(params=counts.params, macs=counts.macs, reconstruction=entry.reconstruction)
        rows.append(f"{json.dumps(name)}: {json.dumps(row)}")
    return "{\n" + ",\n".join(rows) + "\n}\n"


def complexity_file() -> Path:
    return content("models") / "complexity.json"


if __name__ == "__main__":
    write_atomically(complexity_file(), zoo_table())
    print(f"wrote {complexity_file()}")
