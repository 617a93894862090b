"""A line of the table of targets: what was measured, how far that scatters, and what is asked for."""

import os
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module


@dataclass(frozen=True)
class Line:
    """`values`: what each round gave, in the unit of the text around them, such as "{} s"."""

    what: str
    values: Sequence[float]
    unit: str = "{}"
    digits: int = 2
    at_least: float | None = None
    below: float | None = None

    @property
    def middle(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> str:
        """The quartiles; nothing of a single value."""
        if len(self.values) < 2:
            return ""
        low, _, high = statistics.quantiles(self.values, n=4, method="inclusive")
        return f"{low:.{self.digits}f}–{high:.{self.digits}f}"

    @property
    def measured(self) -> str:
        """The median, and the quartiles in brackets."""
        value = self.unit.format(f"{self.middle:.{self.digits}f}")
        return f"{value} ({self.spread})" if self.spread else value

    @property
    def target(self) -> str:
        if self.at_least is not None:
            return f"≥ {self.unit.format(f'{self.at_least:g}')}"
        return "" if self.below is None else f"< {self.unit.format(f'{self.below:g}')}"

    @property
    def met(self) -> bool | None:
        if self.at_least is not None:
            return self.middle >= self.at_least
        return None if self.below is None else self.middle < self.below

    @property
    def verdict(self) -> str:
        return "" if self.met is None else "met" if self.met else "missed"


def lines_of(name: str, arguments: tuple[int, ...]) -> list[Line]:
    """What a benchmark gives; for a process that does nothing else.  What it prints itself goes to standard error."""
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    lines: list[Line] = import_module(f"tests.benchmarks.{name}").main(*arguments)
    return lines
