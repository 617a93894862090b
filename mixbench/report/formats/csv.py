"""Tables as CSV: exact numbers, and text that a spreadsheet does not run as a formula."""

import re

from pandas import DataFrame
from pandas.api.types import is_string_dtype

# Some spreadsheets skip blanks before a formula, and read full-width signs as the usual ones.
_FORMULA = re.compile(r"[\t\r\n]|[\s\ufeff\u200b\u2060]*[=+\-@＝＋－＠﹦﹢﹣﹫−]")


def csv(table: DataFrame) -> str:
    """A header and a line per row; text that begins like a formula is prefixed by an apostrophe, numbers never are."""
    safe = table.copy()
    for name in safe.columns:
        if is_string_dtype(safe[name]):
            safe[name] = [_safe(cell) if isinstance(cell, str) else cell for cell in safe[name]]
    return safe.to_csv(index=False, lineterminator="\n")


def _safe(text: str) -> str:
    marked = f"'{text}" if _FORMULA.match(text) else text
    return marked.replace("\r\n", "\n").replace("\r", "\n")  # pandas leaves a lone \r unquoted: a new row to readers
