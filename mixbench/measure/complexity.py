"""Exact parameters and multiply-accumulates of a model, layer by layer.

python -m mixbench.measure.complexity        counts all models of the zoo, and rewrites models/complexity.json
"""

import contextlib
import copy
import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from mixbench.errors import RequestError, TrialError, described
from mixbench.measure.operators import FORMULAS, Operators
from mixbench.run.parts import Complexity, Layer
from mixbench.suite.trial import Trial
from mixbench.system.content import content
from mixbench.system.files import write_atomically
from mixbench.zoo import registry
from mixbench.zoo.contract import wrong_output

Count = TypeVar("Count")
PTFLOPS_MACS_LIMIT = 200 * 10**9
"""ptflops runs the model on the CPU: skipped for more MACs than this (about ten seconds on one core)."""


def profile(name: str, **overrides: Any) -> Complexity:
    """Count a registered model; overrides as for create_model (`image_size`, `num_classes`, arguments of its class).

    Raises RequestError for a model that does not return B × num_classes.
    """
    arguments = registry.resolve(name, overrides)
    shape = arguments["image_size"], arguments["in_chans"], arguments["num_classes"]
    on_meta = _without_weights(name, overrides)
    try:
        return count(on_meta, *shape)
    except RequestError:
        raise
    except Exception as error:  # a plugin's model may raise anything
        _run(registry.create_model(name, **overrides), *shape)
        return _only_params(on_meta, described(error))


def profile_of(trial: Trial) -> Complexity:
    """Count a trial's model.  Raises TrialError as `profile` raises RequestError."""
    try:
        return profile(trial.model, **trial.arguments)
    except RequestError as error:
        raise TrialError(str(error)) from None


def macs_of(trial: Trial) -> int | None:
    """MACs of one image of a trial's model, None if they cannot be counted; does not run ptflops, which is slow."""
    model = _without_weights(trial.model, trial.arguments)
    try:
        return count(model, trial.arguments["image_size"], trial.arguments["in_chans"], ptflops=False).macs
    except Exception:  # a plugin's model may raise anything
        return None


def sizes(name: str) -> tuple[int | None, int | None]:
    """Parameters and MACs of a registered model at its native size; None for what cannot be counted."""
    arguments, params = registry.find(name).arguments, None
    try:
        model = _without_weights(name, {})
        params = sum(parameter.numel() for parameter in model.parameters())
        return params, count(model, arguments["image_size"], arguments["in_chans"], ptflops=False).macs
    except Exception:  # a plugin's model may raise anything
        return params, None


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


def _run(model: nn.Module, image_size: int, in_chans: int, num_classes: int) -> None:
    """Run a model that cannot be counted, on an image of noise: it raises what is wrong with it, if anything is."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    with torch.no_grad():
        output = model.to(device).eval()(torch.randn(1, in_chans, image_size, image_size, device=device))
    _check_output(output, num_classes)


def _check_output(output: object, num_classes: int) -> None:
    if wrong := wrong_output(output, 1, num_classes):
        raise RequestError(wrong)


def _only_params(model: nn.Module, why: str) -> Complexity:
    """Return the counts of a model whose layers depend on the images: their parameters alone."""
    layers = [
        Layer(name=name, type=type(module).__name__, params=own, macs=0, input_shape=[], output_shape=[])
        for (name, module), (_, own) in zip(model.named_modules(), _own_params(model), strict=True)
        if own
    ]
    params = sum(layer.params for layer in layers)
    return Complexity(params=params, macs=None, macs_ptflops=None, activations=None, layers=layers, not_counted=why)


def count(
    model: nn.Module, image_size: int, in_chans: int, num_classes: int | None = None, *, ptflops: bool = True
) -> Complexity:
    """Count params, MACs and activations for one image in eval mode; the model, on any device, is not changed.

    MACs are half of FlopCounterMode's FLOPs: convolutions and matrix products.  Raises RequestError where `num_classes`
    is given, and the model returns anything else.  Activations are their output elements.
    `layers` has a row for each module that has no children, has its own parameters or multiplies itself, in the order
    of first use; the rows sum to the totals.  `ptflops` adds ptflops' figure, for which the model runs on the CPU.
    """
    on_meta = _zeroed_copy(model, torch.device("meta"))
    image = torch.empty(1, in_chans, image_size, image_size, device="meta")
    flops = FlopCounterMode(display=False, custom_mapping=FORMULAS)
    with torch.no_grad(), Operators() as operators, flops as counter:
        output, layers = _layers(on_meta, image, lambda: counter.get_total_flops() // 2)
    if num_classes is not None:
        _check_output(output, num_classes)
    macs = counter.get_total_flops() // 2
    return Complexity(
        params=sum(parameter.numel() for parameter in model.parameters()),
        macs=macs,
        macs_ptflops=_ptflops(model, image_size, in_chans) if ptflops and macs <= PTFLOPS_MACS_LIMIT else None,
        activations=operators.activations,
        layers=layers,
        uncounted=sorted(operators.uncounted),
        fft_flops=operators.fft_flops,
    )


def _zeroed_copy(model: nn.Module, device: torch.device) -> nn.Module:
    """A copy in eval mode on another device with all weights zero; never copies the weights themselves."""
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(torch.zeros_like(parameter, device=device), parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = torch.zeros_like(buffer, device=device)
    return copy.deepcopy(model, memo).eval()


def _layers(model: nn.Module, image: Tensor, macs_so_far: Callable[[], int]) -> tuple[object, list[Layer]]:
    """Run the model and count per module: MACs belong to the innermost module that is running.  Return its output."""
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
    output = model(image)

    params = dict(_own_params(model))
    used = list(shapes) + [module for module in names if module not in shapes]
    return output, [
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


def _ptflops(model: nn.Module, image_size: int, in_chans: int) -> int | None:
    """MACs by ptflops' aten backend; None if it fails.  Suppresses its output."""
    from ptflops import get_model_complexity_info

    on_cpu = _zeroed_copy(model, torch.device("cpu"))
    with torch.no_grad(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        macs, _ = get_model_complexity_info(
            on_cpu, (in_chans, image_size, image_size), backend="aten", as_strings=False, print_per_layer_stat=False
        )
    return None if macs is None else int(macs)


def native(name: str) -> Complexity:
    """Count a model of the zoo at its native size, without ptflops."""
    arguments = registry.find(name).arguments
    return count(_without_weights(name, {}), arguments["image_size"], arguments["in_chans"], ptflops=False)


def zoo_table(native: Callable[[str], Complexity] = native) -> str:
    """Contents of models/complexity.json: each model of the zoo at its native size, one per line."""
    rows = []
    for name in registry.list_models():
        entry = registry.find(name)
        if not entry.in_zoo:
            continue
        counts = native(name)
        row: dict[str, Any] = dict(family=entry.family, paper=entry.paper)
        row |= dict(image_size=entry.arguments["image_size"], num_classes=entry.arguments["num_classes"])
        row |= dict(params=counts.params, macs=counts.macs, reconstruction=entry.reconstruction)
        rows.append(f"{json.dumps(name)}: {json.dumps(row)}")
    return "{\n" + ",\n".join(rows) + "\n}\n"


def complexity_file() -> Path:
    return content("models") / "complexity.json"


if __name__ == "__main__":
    write_atomically(complexity_file(), zoo_table())
    print(f"wrote {complexity_file()}")
