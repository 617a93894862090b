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
_ANY_SPECIAL = re.compile("|".join(map(re.escape, _SPECIAL)))


def latex(tables: Tables) -> str:
    """A table environment for each dataset."""
    note = "% \\usepackage[T1]{fontenc} and \\usepackage{booktabs}; other scripts than Latin need xelatex or lualatex"
    return "\n".join(["% made by mixbench report --format latex", note, *map(_table, boards(tables))]) + "\n"


def escape(text: str) -> str:
    """Escape a text so that LaTeX prints it literally, on one line."""
    apart = re.sub("-(?=-)", "-\0", numbers.short(text, 1000))  # two hyphens would be a dash
    return _ANY_SPECIAL.sub(lambda found: _SPECIAL[found[0]], apart).replace("\0", "{}")


def _table(board: Board) -> str:
    caption = [board.images, NOTE.removesuffix(".")]
    if board.flags:
        caption.append(f"{FLAGS}: " + "; ".join(f"({number}) {flag}" for number, flag in enumerate(board.flags, 1)))
    rows = [" & ".join(map(escape, row)) + r" \\" for row in (board.headings, *board.rows)]
    return "\n".join(
        [
            "",
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{'. '.join(map(escape, caption))}.}}",
            rf"\begin{{tabular}}{{l{'r' * (len(board.headings) - 1)}}}",
            r"\toprule",
            rows[0],
            r"\midrule",
            *rows[1:],
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )
