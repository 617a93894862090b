"""Tables as CSV: numbers exact, and no text that a spreadsheet would run as a formula."""

from pandas import DataFrame
from pandas.api.types import is_string_dtype

# A tab or a carriage return before a formula is skipped by spreadsheets.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def csv(table: DataFrame) -> str:
    """A header and a line per row; text that begins like a formula gets an apostrophe, numbers stay numbers."""
    safe = table.copy()
    for name in safe.columns:
        if is_string_dtype(safe[name]):
            safe[name] = [f"'{cell}" if str(cell).startswith(_FORMULA_STARTS) else cell for cell in safe[name]]
    return safe.to_csv(index=False, lineterminator="\n")
