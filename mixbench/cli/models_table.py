"""The tables of models in README and models/README.md, made from models/complexity.json by `mixbench.cli.reference`."""

import json
from dataclasses import dataclass
from typing import Any

from mixbench.system.content import content

BEGIN = "<!-- models: made by python -m mixbench.cli.reference -->\n"
END = "<!-- end of models -->\n"


@dataclass(frozen=True)
class Family:
    """A family, its variants in alphabetical order, and its paper, as "arXiv:2105.01601"; "" if none is known."""

    name: str
    variants: list[str]
    paper: str
    reconstruction: bool

    @property
    def title(self) -> str:
        return f"{self.name}, a reconstruction" if self.reconstruction else self.name

    @property
    def link(self) -> str:
        number = self.paper.removeprefix("arXiv:")
        return f"[{self.paper}](https://arxiv.org/abs/{number})" if number != self.paper else self.paper


def families() -> list[Family]:
    """Return the families of models/, in the order of their papers."""
    counted = counts()
    first = {row["family"]: row for row in reversed(counted.values())}
    found = [
        Family(
            name, sorted(model for model, row in counted.items() if row["family"] == name), row["paper"],
            row["reconstruction"],
        )
        for name, row in first.items()
    ]  # fmt: skip
    return sorted(found, key=lambda family: (family.paper, family.name))


def counts() -> dict[str, dict[str, Any]]:
    """Return the rows of models/complexity.json by model."""
    rows: dict[str, dict[str, Any]] = json.loads((content("models") / "complexity.json").read_text(encoding="utf-8"))
    return rows


def in_readme(text: str) -> str:
    """Return README's text with its table of models made anew."""
    rows = [f"| {family.title} | {_short(family.variants)} | {family.link} |" for family in families()]
    return _with_table(text, ["| family | variants | paper |", "|---|---|---|", *rows])


def in_models_readme(text: str) -> str:
    """Return the text of models/README.md with its table of variants made anew."""
    counted = counts()
    rows = [
        f"| {family.title} | `{name}` | {row['params']:,} | {row['macs']:,} | {row['image_size']} | {family.link} |"
        for family in families()
        for name in family.variants
        for row in [counted[name]]
    ]
    return _with_table(text, ["| family | model | params | MACs | px | paper |", "|---|---|--:|--:|--:|---|", *rows])


def _with_table(text: str, rows: list[str]) -> str:
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    table = "\n".join(rows)
    return f"{before}{BEGIN}\n{table}\n\n{END}{after}"


def _short(variants: list[str]) -> str:
    """Write names that begin alike once: `vip_{l7,m7,s14,s7}`."""
    prefix = variants[0].partition("_")[0] + "_"
    if len(variants) == 1 or not all(name.startswith(prefix) for name in variants):
        return ", ".join(f"`{name}`" for name in variants)
    return f"`{prefix}{{{','.join(name.removeprefix(prefix) for name in variants)}}}`"
