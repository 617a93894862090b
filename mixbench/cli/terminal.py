"""Tables in a terminal, narrow ones too, or as JSON.  Text is shown literally: `[red]x[/]` in a label is not markup."""

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from operator import add
from pathlib import Path
from textwrap import wrap
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

NO_BREAK = "\N{NO-BREAK SPACE}"
"""Between words of a heading that belong on one line; printed as a space."""


class _Console(Console):
    """A console that leaves it to the command how it ends if the reader of its output has closed it."""

    def on_broken_pipe(self) -> None:
        raise


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() or "COLUMNS" in os.environ else PIPE_WIDTH
    return _Console(stderr=stderr, quiet=quiet, width=width, highlight=False, markup=False, emoji=False)


def print_rows(rows: list[dict[str, Any]], as_json: bool, styles: Mapping[str, str] | None = None) -> None:
    """Print a verb's rows: as JSON, or as a table, with spaces for _ in keys and values that are False left empty.

    `styles`: see print_table.
    """
    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        print_table(list(map(_shown, rows)), console(), styles=styles)


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


def print_table(
    rows: list[dict[str, Any]],
    to: Console,
    titles: dict[int, str] | None = None,
    styles: Mapping[str, str] | None = None,
) -> None:
    """Print rows as a table, numbers aligned right; if the terminal is too narrow for that, as one block per row.

    `titles`: text to print above the rows with these numbers.  `styles`: rich's styles of cells with these texts.
    """
    titles, styles = titles or {}, styles or {}
    keys, cells = _cells(rows)
    widths = {key: _least_width(key, cells) for key in keys}
    if not _fits(widths.values(), to.width):
        _print_blocks(cells, to, titles, styles)
        return
    headings = _headings(keys, cells, to.width)
    if headings and not (styles and to.is_terminal):
        heading, lines = _aligned(headings, cells)
        to.out(heading, style="bold", highlight=False)
        for first, last in pairwise(sorted({0, *titles, len(lines)})):
            if first in titles:
                to.out(f"\n{titles[first]}", style="bold", highlight=False)
            if not to.quiet:
                to.file.write("\n".join([*lines[first:last], ""]))
        return
    if titles:
        _print_blocks(cells, to, titles, styles)
        return
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for key in keys:
        whole = all(len(row[key]) <= widths[key] for row in cells)
        justify: Literal["right", "left"] = "right" if _is_numeric(key, cells) else "left"
        heading = "\n".join(headings[key] if headings else _wrapped(key, widths[key]))
        table.add_column(Text(heading), justify=justify, no_wrap=whole, overflow="fold")
    for row in cells:
        table.add_row(*(Text(text, style=styles.get(text, "")) for text in row.values()))
    to.print(table)


def print_fitting(
    rows: list[dict[str, Any]],
    to: Console,
    rather_than_fold: Sequence[str],
    rather_than_blocks: Sequence[str] = (),
    one_line: bool = False,
) -> None:
    """Print rows as a table, without those columns (in this order) that the terminal is too narrow for; name them.

    The columns `rather_than_fold` are left out so that no cell is folded, with `one_line` so that no heading is either;
    if that is not possible, these and `rather_than_blocks` so that it is a table, with folded cells.
    """
    ways = [("heading", rather_than_fold)] * one_line
    ways += [("cell", rather_than_fold), ("", (*rather_than_fold, *rather_than_blocks))]
    for whole, columns in ways:
        droppable = [key for key in columns if any(key in row for row in rows)]
        for count in range(len(droppable) + 1):
            left = [{key: value for key, value in row.items() if key not in droppable[:count]} for row in rows]
            if _is_table(left, to, whole):
                print_table(left, to)
                if count:
                    to.print(Text(f"columns left out at this width: {', '.join(droppable[:count])}"), soft_wrap=True)
                return
    print_table(rows, to)


def _is_table(rows: list[dict[str, Any]], to: Console, whole: str) -> bool:
    """Return True if rows are printed as a table, not as blocks, and without a folded `cell` or `heading`."""
    keys, cells = _cells(rows)
    if not whole:
        return _fits([_least_width(key, cells) for key in keys], to.width)
    headings = _headings(keys, cells, to.width)
    return bool(headings) and (whole == "cell" or all(len(lines) == 1 for lines in headings.values()))


def _fits(widths: Iterable[int], width: int) -> bool:
    return sum(each + 2 for each in widths) - 2 <= width


def _cells(rows: list[dict[str, Any]]) -> tuple[list[str], list[dict[str, str]]]:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return keys, [{key: word(row.get(key)) for key in keys} for row in rows]


def _headings(keys: list[str], cells: list[dict[str, str]], width: int) -> dict[str, list[str]]:
    """Return the lines of each column's heading, as few as a table that folds no cell fits in; empty if none does."""
    if any("\n" in cell for row in cells for cell in row.values()):
        return {}
    widest = {key: max((_width(row[key]) for row in cells), default=0) for key in keys}
    for height in range(1, max((len(key.split(" ")) for key in keys), default=1) + 1):
        widths = {key: max(widest[key], _width_in(key, height)) for key in keys}
        if _fits(widths.values(), width):
            return {key: _wrapped(key, widths[key]) for key in keys}
    return {}


def _width_in(heading: str, height: int) -> int:
    """Return the least width in which a heading takes no more than so many lines."""
    widths = range(max(map(len, heading.split(" "))), len(heading))
    return next((width for width in widths if len(_wrapped(heading, width)) <= height), len(heading))


def _wrapped(heading: str, width: int) -> list[str]:
    lines = wrap(heading, max(1, width), break_long_words=False, break_on_hyphens=False)
    return [line.replace(NO_BREAK, " ") for line in lines] or [""]


def _width(text: str) -> int:
    return len(text) if text.isascii() else cell_len(strip_control_codes(text))


def _aligned(headings: dict[str, list[str]], cells: list[dict[str, str]]) -> tuple[str, list[str]]:
    """Return heading and lines of a table as rich prints it if no cell is folded, in a hundredth of rich's time."""
    height = max(map(len, headings.values()))
    columns = []
    for key, heading in headings.items():
        texts = [*[""] * (height - len(heading)), *heading, *(strip_control_codes(row[key]) for row in cells)]
        widths = [_width(text) for text in texts]
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


def _print_blocks(cells: list[dict[str, str]], to: Console, titles: dict[int, str], styles: Mapping[str, str]) -> None:
    for number, row in enumerate(cells):
        if number in titles:
            to.print(Text(f"\n{titles[number]}", style="bold"))
        (_, title), *facts = row.items()
        to.print(Text(title, style="bold"))
        for key, value in facts:
            if value:
                fact = Text.assemble(f"{key.replace(NO_BREAK, ' ')}: ", (value, styles.get(value, "")))
                to.print(Padding(fact, (0, 0, 0, 2), expand=False))


def _is_numeric(key: str, cells: list[dict[str, str]]) -> bool:
    return all(row[key].removeprefix("≈ ")[:1].isdigit() or not row[key] for row in cells)


def _least_width(key: str, cells: list[dict[str, str]]) -> int:
    """Return the width below which a column is not readable: long text may be folded, a number may not."""
    longest = max(map(len, [*key.split(" "), *(row[key] for row in cells)]), default=0)
    return longest if _is_numeric(key, cells) else min(longest, SHORT)


def word(value: Any) -> str:
    """A value as a table's cell shows it."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int | float) else str(value)
