"""`mixbench profile`: print one model's parameters and MACs by layer."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from mixbench.cli.terminal import console, print_fitting
from mixbench.errors import RequestError
from mixbench.run.parts import Layer


def profile_of(
    model: str,
    assignments: tuple[str, ...],
    image_size: int | None,
    num_classes: int | None,
    plugin: Path | None,
    as_json: bool,
) -> None:
    """Print a model's counts by layer, blocks that are alike once, and in total.  Raises RequestError."""
    from mixbench.measure.complexity import profile
    from mixbench.zoo.registry import find, load_plugin

    if plugin:
        load_plugin(plugin)
    overrides = _overrides(assignments)
    given = {"image_size": image_size, "num_classes": num_classes}
    overrides |= {key: value for key, value in given.items() if value is not None}
    counts = profile(model, **overrides)
    totals = {
        "model": model,
        "overrides": {key: str(value) for key, value in overrides.items()},
        "params": counts.params,
        "macs": counts.macs,
        "flops": None if counts.macs is None else 2 * counts.macs,
        "macs_ptflops": counts.macs_ptflops,
        "activations": counts.activations,
        "fft_flops": counts.fft_flops,
        "uncounted": counts.uncounted,
        "not_counted": counts.not_counted,
        "reconstruction": find(model).reconstruction,
    }
    if as_json:
        click.echo(json.dumps(totals | {"layers": [asdict(layer) for layer in counts.layers]}, indent=1))
        return
    print_fitting(list(_rows((layer.name.split("."), layer) for layer in counts.layers)), console(), ("in", "out"))
    _print_totals(totals)
    if totals["reconstruction"]:
        click.echo(f"{model} is a reconstruction: its paper does not define it completely")


Named = tuple[list[str], Layer]
"""A layer, and the rest of its name, split at dots, inside the module that is looked at."""


def _rows(layers: Iterable[Named], prefix: str = "", indent: str = "") -> Iterator[dict[str, Any]]:
    """Yield a row for each layer; of consecutive numbered blocks that are alike, only for those of the first.

    These are indented, below a row with the numbers of the blocks and the counts of each.
    """
    for is_itself, some in groupby(layers, lambda named: not named[0]):
        if is_itself:
            yield from (_row(f"{indent}{prefix or 'its own'}", layer) for _, layer in some)
        else:
            yield from _blocks(some, f"{prefix}." if prefix else "", indent)


def _blocks(layers: Iterable[Named], prefix: str, indent: str) -> Iterator[dict[str, Any]]:
    modules = [(name, [(rest[1:], layer) for rest, layer in inside]) for name, inside in groupby(layers, _module)]
    for _, same in groupby(modules, _alike):
        (first, inside), *others = same
        if not others:
            yield from _rows(inside, f"{prefix}{first}", indent)
            continue
        params, macs = sum(layer.params for _, layer in inside), sum(layer.macs for _, layer in inside)
        name, count = f"{indent}{prefix}{first}…{others[-1][0]}", 1 + len(others)
        yield {"layer": name, "type": f"{count} alike, each", "params": params, "MACs": macs}
        yield from _rows(inside, indent=f"{indent}  ")


def _module(named: Named) -> str:
    return named[0][0]


def _alike(block: tuple[str, list[Named]]) -> Any:
    """Return what blocks that are alike have in common: all but their number; a single layer is like no other."""
    name, inside = block
    if not name.isdecimal() or len(inside) == 1:
        return name
    return [(rest, replace(layer, name="")) for rest, layer in inside]


def _row(name: str, layer: Layer) -> dict[str, Any]:
    return {
        "layer": name,
        "type": layer.type,
        "params": layer.params,
        "MACs": layer.macs,
        "in": "×".join(map(str, layer.input_shape)),
        "out": "×".join(map(str, layer.output_shape)),
    }


def _overrides(assignments: tuple[str, ...]) -> dict[str, Any]:
    from mixbench.suite.document import parse_value

    overrides = {}
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        if not sign or not key:
            raise RequestError(f"--set {assignment}: key=value is wanted, such as ratio=3/5")
        overrides[key] = parse_value(text, f"--set {assignment}")
    return overrides


def _print_totals(totals: dict[str, Any]) -> None:
    macs, other = totals["macs"], totals["macs_ptflops"]
    difference = f" ({100 * (other / macs - 1):+.2f} %)" if macs and other else ""
    if macs is None:
        click.echo(f"\nparams       {totals['params']:>18,}\nMACs not counted: {totals['not_counted']}")
        return
    lines = [
        f"params       {totals['params']:>18,}",
        f"MACs         {macs:>18,}  convolutions and matrix products, by torch's FlopCounterMode",
        f"MACs         {other:>18,}  by ptflops{difference}" if other is not None else "",
        f"FLOPs        {totals['flops']:>18,}  2 × MACs",
        f"FFT FLOPs    {totals['fft_flops']:>18,}  2.5 N log₂ N (real) or 5 N log₂ N (complex), in none of the above"
        if totals["fft_flops"]
        else "",
        f"activations  {totals['activations']:>18,}  outputs of convolutions and matrix products",
        f"not counted: {', '.join(totals['uncounted'])}" if totals["uncounted"] else "",
    ]
    click.echo("\n" + "\n".join(line for line in lines if line))
