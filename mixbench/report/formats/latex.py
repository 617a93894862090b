"""Leaderboards as LaTeX tables in booktabs' style, for \\input; all text from users is escaped."""

import re

from mixbench.report import numbers
from mixbench.report.text_table import FLAGS, NOTE, Board, boards
from mixbench.results.tables import Tables

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    "±": r"$\pm$",
    "≈": r"$\approx$",
    "−": "$-$",
    "–": "--",
    "·": r"$\cdot$",
    "×": r"$\times$",
    "…": r"\dots{}",
    "\ufffd": "?",  # replaces characters that cannot be shown
    "[": "{[}",  # after \\ these would be read as its arguments
    "]": "{]}",
    "*": "{*}",
} | {character: f"\\{character}" for character in "{}$&#%_"}
NEEDS = (
    r"% needs \usepackage[T1]{fontenc}, \usepackage{booktabs} and \usepackage{graphicx}",
    "% other scripts than Latin need xelatex or lualatex",
)
FULL_LINE = 65  # characters of a table's columns that a page's line has room for
_ANY_SPECIAL = re.compile("|".join(map(re.escape, _SPECIAL)))


def latex(tables: Tables) -> str:
    """A table environment for each dataset."""
    return "\n".join(["% made by mixbench report --format latex", *NEEDS, *map(_table, boards(tables))]) + "\n"


def escape(text: str) -> str:
    """Escape a text so that LaTeX prints it literally, on one line."""
    apart = re.sub("-(?=-)", "-\0", numbers.short(text, 1000))  # two hyphens would be a dash
    return _ANY_SPECIAL.sub(lambda found: _SPECIAL[found[0]], apart).replace("\0", "{}")


def _table(board: Board) -> str:
    caption = [f"{board.images}, {', '.join(board.caption)}", NOTE.removesuffix(".")]
    if board.flags:
        caption.append(f"{FLAGS}: " + "; ".join(f"({number}) {flag}" for number, flag in enumerate(board.flags, 1)))
    cells = [[escape(cell) for cell in row] for row in board.rows]
    for row, column in board.best:
        cells[row][column] = rf"\textbf{{{cells[row][column]}}}"
    rows = [" & ".join(row) + r" \\" for row in (list(map(escape, board.headings)), *cells)]
    width = sum(max(map(len, column)) for column in zip(board.headings, *board.rows, strict=True))
    fitted = (r"\resizebox{\linewidth}{!}{%", "}") if width > FULL_LINE else ("%", "%")
    return "\n".join(
        [
            "",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{'. '.join(map(escape, caption))}.}}",
            fitted[0],
            rf"\begin{{tabular}}{{l{'r' * (len(board.headings) - 1)}}}",
            r"\toprule",
            rows[0],
            r"\midrule",
            *rows[1:],
            r"\bottomrule",
            r"\end{tabular}" + fitted[1],
            r"\end{table}",
        ]
    )
