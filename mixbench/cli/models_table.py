"""README's table of models, generated from models/complexity.json; `mixbench.cli.reference` writes it."""

import json
from dataclasses import dataclass

from mixbench.system.content import content

BEGIN = "<!-- models: made by python -m mixbench.cli.reference -->\n"
END = "<!-- end of models -->\n"


@dataclass(frozen=True)
class Family:
    """A family, its variants in alphabetical order, and its paper, as "arXiv:2105.01601"; "" if none is known."""

    name: str
    variants: list[str]
    paper: str

    @property
    def link(self) -> str:
        number = self.paper.removeprefix("arXiv:")
        return f"[{self.paper}](https://arxiv.org/abs/{number})" if number != self.paper else self.paper


def families() -> list[Family]:
    """Return the families of models/, in the order of their papers."""
    counted = json.loads((content("models") / "complexity.json").read_text(encoding="utf-8"))
    papers = {row["family"]: row["paper"] for row in counted.values()}
    found = [
        Family(name, sorted(model for model, row in counted.items() if row["family"] == name), paper)
        for name, paper in papers.items()
    ]
    return sorted(found, key=lambda family: (family.paper, family.name))


def in_readme(text: str) -> str:
    """Return README's text with its table of models made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = [f"| {family.name} | {_short(family.variants)} | {family.link} |" for family in families()]
    table = "\n".join(["| family | variants | paper |", "|---|---|---|", *rows])
    return f"{before}{BEGIN}\n{table}\n\n{END}{after}"


def _short(variants: list[str]) -> str:
    """Write names that begin alike once: `vip_{l7,m7,s14,s7}`."""
    prefix = variants[0].partition("_")[0] + "_"
    if len(variants) == 1 or not all(name.startswith(prefix) for name in variants):
        return ", ".join(f"`{name}`" for name in variants)
    return f"`{prefix}{{{','.join(name.removeprefix(prefix) for name in variants)}}}`"
