"""What there is: models, suites, datasets; and one model's layers.  Only `profile_of` needs torch."""

import json
from fnmatch import fnmatch
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from mixbench.content import content
from mixbench.errors import RequestError


def rows(what: str, pattern: str) -> list[dict[str, Any]]:
    """The models, suites or datasets whose names match a shell pattern."""
    found = {"models": _models, "suites": _suites, "datasets": _datasets}[what]()
    return [row for row in found if fnmatch(row["name"], pattern)]


def _models() -> list[dict[str, Any]]:
    counted = json.loads((content("models") / "complexity.json").read_text(encoding="utf-8"))
    return [{"name": name} | facts for name, facts in counted.items()]


def _suites() -> list[dict[str, Any]]:
    result = []
    for path in sorted(content("suites").glob("*.yaml")):
        with path.open(encoding="utf-8") as file:
            first = file.readline().lstrip("# ").strip()
        result.append({"name": path.stem, "what": first})
    return result


def _datasets() -> list[dict[str, Any]]:
    from mixbench.data.datasets import DATASETS

    return [
        {
            "name": dataset.name,
            "classes": dataset.classes,
            "image_size": dataset.image_size,
            "channels": dataset.channels,
            "train_images": dataset.train_images,
            "test_images": dataset.test_images,
            "source": dataset.source,
        }
        for dataset in DATASETS.values()
    ]


def print_table(rows: list[dict[str, Any]]) -> None:
    """Rows as a table, numbers to the right with thousands separated."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for key, value in rows[0].items():
        table.add_column(key, justify="right" if _is_number(value) else "left", overflow="fold")
    for row in rows:
        table.add_row(*(f"{value:,}" if _is_number(value) else _word(value) for value in row.values()))
    Console(highlight=False).print(table)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _word(value: Any) -> str:
    return {True: "yes", False: "no", None: ""}.get(value, str(value)) if isinstance(value, bool | None) else str(value)


def profile_of(
    model: str, assignments: tuple[str, ...], image_size: int | None, num_classes: int | None, as_json: bool
) -> None:
    """Print a model's counts.  Raises RequestError."""
    from mixbench.measure.complexity import profile
    from mixbench.yamltext import scalar

    overrides: dict[str, Any] = {}
    for assignment in assignments:
        key, sign, text = assignment.partition("=")
        if not sign:
            raise RequestError(f"--set {assignment}: key=value is wanted, such as ratio=3/5")
        overrides[key] = scalar(text)
    given = {"image_size": image_size, "num_classes": num_classes}
    overrides |= {key: value for key, value in given.items() if value is not None}
    counts = profile(model, **overrides)
    totals = {
        "model": model,
        "overrides": {key: str(value) for key, value in overrides.items()},
        "params": counts.params,
        "macs": counts.macs,
        "flops": 2 * counts.macs,
        "macs_ptflops": counts.macs_ptflops,
        "activations": counts.activations,
        "uncounted": counts.uncounted,
    }
    if as_json:
        click.echo(json.dumps(totals | {"layers": [layer.model_dump() for layer in counts.layers]}, indent=1))
        return
    print_table(
        [
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
    )
    print_totals(totals)


def print_totals(totals: dict[str, Any]) -> None:
    other = totals["macs_ptflops"]
    lines = [
        f"params       {totals['params']:>18,}",
        f"MACs         {totals['macs']:>18,}   torch's FlopCounterMode / 2: convolutions and matrix products",
        f"MACs         {other:>18,}   ptflops, aten ({100 * (other / totals['macs'] - 1):+.2f} %)" if other else "",
        f"FLOPs        {totals['flops']:>18,}   2 × MACs",
        f"activations  {totals['activations']:>18,}   outputs of convolutions and matrix products",
        f"not counted: {', '.join(totals['uncounted'])}" if totals["uncounted"] else "",
    ]
    click.echo("\n" + "\n".join(line for line in lines if line))
