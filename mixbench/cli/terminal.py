"""Tables in a terminal, narrow ones too, or as JSON.  Text is shown literally: `[red]x[/]` in a label is not markup."""

import json
import os
import sys
from itertools import pairwise
from operator import add
from pathlib import Path
from typing import Any, Literal

import click
from rich.cells import cell_len
from rich.console import Console
from rich.control import strip_control_codes
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from mixbench.system.words import decimal_size


class FilePath(click.ParamType[Path]):
    """A path on the command line, with `~` expanded, which a shell does not do in --out=~/x; never empty."""

    name = "path"

    def convert(self, value: str | Path, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        if not str(value).strip():
            self.fail("it is empty: a path is wanted", param, ctx)
        return Path(os.path.expanduser(value))


json_option = click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
PIPE_WIDTH = 160
"""Width in characters if there is no terminal and no $COLUMNS: such lines are for grep, and need not be short."""
SHORT = 20
"""Characters of a text that is never folded onto a second line."""


class _Console(Console):
    """A console that leaves it to the command how it ends if the reader of its output has closed it."""

    def on_broken_pipe(self) -> None:
        raise


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return _Console(stderr=stderr, quiet=quiet, width=width, highlight=False, markup=False, emoji=False)


def print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print a verb's rows: as JSON, or as a table, with spaces for _ in keys and values that are False left empty."""
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        print_table([_shown(row) for row in rows], console())


def print_groups(groups: dict[str, list[dict[str, Any]]]) -> None:
    """Print one table of several groups of rows, each under its title."""
    rows = [_shown(row) for group in groups.values() for row in group]
    titles, first = {}, 0
    for title, group in groups.items():
        titles[first] = title
        first += len(group)
    print_table(rows, console(), titles)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row with spaces for _ in its keys, and values that are False left out."""
    return {key.replace("_", " "): value for key, value in row.items() if value is not False}


def print_table(rows: list[dict[str, Any]], to: Console, titles: dict[int, str] | None = None) -> None:
    """Print rows as a table, numbers aligned right; if the terminal is too narrow for that, as one block per row.

    `titles`: text to print above the rows with these numbers.
    """
    titles = titles or {}
    keys = list(dict.fromkeys(key for row in rows for key in row))
    cells = [{key: word(row.get(key)) for key in keys} for row in rows]
    widths = {key: _least_width(key, cells) for key in keys}
    if sum(width + 2 for width in widths.values()) - 2 > to.width:
        _print_blocks(cells, to, titles)
        return
    if not any("\n" in cell for row in cells for cell in row.values()):
        heading, lines = _aligned(keys, cells)
        if max(map(cell_len, (*heading.split("\n"), *lines))) <= to.width:
            to.out(heading, style="bold", highlight=False)
            for first, last in pairwise(sorted({0, *titles, len(lines)})):
                if first in titles:
                    to.out(f"\n{titles[first]}", style="bold", highlight=False)
                if not to.quiet:
                    to.file.write("\n".join([*lines[first:last], ""]))
            return
    if titles:
        _print_blocks(cells, to, titles)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for key in keys:
        whole = all(len(row[key]) <= widths[key] for row in cells)
        justify: Literal["right", "left"] = "right" if _is_numeric(key, cells) else "left"
        table.add_column(Text(key.replace(" ", "\n")), justify=justify, no_wrap=whole, overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row.values()))
    to.print(table)


def _aligned(keys: list[str], cells: list[dict[str, str]]) -> tuple[str, list[str]]:
    """Return heading and lines of a table as rich prints it if no cell is folded, in a hundredth of rich's time."""
    height = max(len(key.split(" ")) for key in keys)
    columns = []
    for key in keys:
        words = key.split(" ")
        texts = [*[""] * (height - len(words)), *words, *(strip_control_codes(row[key]) for row in cells)]
        widths = [len(text) if text.isascii() else cell_len(text) for text in texts]
        widest = max(widths)
        blanks = [" " * (widest - width) for width in widths]
        columns.append(map(add, blanks, texts) if _is_numeric(key, cells) else map(add, texts, blanks))
    lines = ["  ".join(line).rstrip() for line in zip(*columns, strict=True)]
    return "\n".join(lines[:height]), lines[height:]


def sizes(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return rows with bytes as text in MB or GB, under keys without the word `bytes`."""
    return [
        {
            key.replace("_bytes", "").replace("bytes_", ""): decimal_size(value) if "bytes" in key else value
            for key, value in row.items()
        }
        for row in rows
    ]


def _print_blocks(cells: list[dict[str, str]], to: Console, titles: dict[int, str]) -> None:
    for number, row in enumerate(cells):
        if number in titles:
            to.print(Text(f"\n{titles[number]}", style="bold"))
        (_, title), *facts = row.items()
        to.print(Text(title, style="bold"))
        for key, value in facts:
            if value:
                to.print(Padding(Text(f"{key}: {value}"), (0, 0, 0, 2), expand=False))


def _is_numeric(key: str, cells: list[dict[str, str]]) -> bool:
    return all(row[key][:1].isdigit() or not row[key] for row in cells)


def _least_width(key: str, cells: list[dict[str, str]]) -> int:
    """Return the width below which a column is not readable: long text may be folded, a number may not."""
    longest = max(map(len, [*key.split(), *(row[key] for row in cells)]), default=0)
    return longest if _is_numeric(key, cells) else min(longest, SHORT)


def word(value: Any) -> str:
    """A value as a table's cell shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
