"""`mixbench profile`: print one model's parameters and MACs by layer."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mixbench.cli.terminal import console, print_table
from mixbench.errors import RequestError


def profile_of(
    model: str,
    assignments: tuple[str, ...],
    image_size: int | None,
    num_classes: int | None,
    plugin: Path | None,
    as_json: bool,
) -> None:
    """Print a model's counts by layer and in total.  Raises RequestError."""
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
    layers = [
        {
            "layer": layer.name,
            "type": layer.type,
            "params": layer.params,
            "MACs": layer.macs,
            "in": "×".join(map(str, layer.input_shape)),
            "out": "×".join(map(str, layer.output_shape)),
        }
        for layer in counts.layers
    ]
    print_table(layers, console())
    _print_totals(totals)
    if totals["reconstruction"]:
        click.echo(f"{model} is a reconstruction: its paper does not define it completely")


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
