"""README's table of models, generated from the families' files and their counts; `mixbench.cli.reference` writes it."""

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mixbench.system.content import content

BEGIN = "<!-- models: made by python -m mixbench.cli.reference -->\n"
END = "<!-- end of models -->\n"


@dataclass(frozen=True)
class Family:
    """A family of models, its variants in alphabetical order, and its paper's arXiv number; "" if there is none."""

    name: str
    variants: list[str]
    arxiv: str

    @property
    def paper(self) -> str:
        return f"[arXiv:{self.arxiv}](https://arxiv.org/abs/{self.arxiv})" if self.arxiv else ""


def families() -> list[Family]:
    """Return the families of models/, in the order of their papers."""
    counted = json.loads((content("models") / "complexity.json").read_text(encoding="utf-8"))
    papers = {name: arxiv for path in sorted(content("models").glob("*.py")) for name, arxiv in _papers(path)}
    found = [
        Family(name, sorted(model for model, row in counted.items() if row["family"] == name), arxiv)
        for name, arxiv in papers.items()
    ]
    return sorted(found, key=lambda family: (family.arxiv, family.name))


def in_readme(text: str) -> str:
    """Return README's text with its table of models made anew."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    rows = [f"| {family.name} | {_short(family.variants)} | {family.paper} |" for family in families()]
    table = "\n".join(["| family | variants | paper |", "|---|---|---|", *rows])
    return f"{before}{BEGIN}\n{table}\n\n{END}{after}"


def _papers(path: Path) -> Iterator[tuple[str, str]]:
    """Yield a file's families with their arXiv numbers: the one in its docstring, or one each in their order."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    numbers = re.findall(r"\d{4}\.\d{5}", ast.get_docstring(module) or "") or [""]
    names = [
        keyword.value.value
        for node in ast.walk(module)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "register_model"
        for keyword in node.keywords
        if keyword.arg == "family" and isinstance(keyword.value, ast.Constant)
    ]
    numbers = numbers if len(numbers) == len(names) else numbers[:1] * len(names)
    for name, number in zip(names, numbers, strict=True):
        yield str(name), number


def _short(variants: list[str]) -> str:
    """Write names that begin alike once: `vip_{l7,m7,s14,s7}`."""
    prefix = variants[0].partition("_")[0] + "_"
    if len(variants) == 1 or not all(name.startswith(prefix) for name in variants):
        return ", ".join(f"`{name}`" for name in variants)
    return f"`{prefix}{{{','.join(name.removeprefix(prefix) for name in variants)}}}`"
