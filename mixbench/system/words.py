"""Counts and sizes as a person reads them: "1 trial", "3 trials", "1.5 GB", "1.50 GiB"."""

import math


def plural(count: int, noun: str) -> str:
    """A count with its noun: 1 trial, 1,200 trials, 2 processes, 3 families, 4 arrays."""
    if count == 1:
        return f"1 {noun}"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{count:,} {noun[:-1]}ies"
    return f"{count:,} {noun}{'es' if noun.endswith('s') else 's'}"


def decimal_size(size: float) -> str:
    """Bytes as disks are sold: 15.0 MB, from a thousand of them on 1.5 GB (1 MB = 10⁶ bytes, 1 GB = 10⁹)."""
    return f"{size / 1e9:,.1f} GB" if size >= 1e9 else f"{size / 1e6:,.1f} MB"


def binary_size(size: int) -> str:
    """Bytes as memory is counted, to three significant digits: 1.50 GiB (1 GiB = 2³⁰ bytes)."""
    for unit, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if size >= unit:
            return f"{significant(size / unit)} {name}"
    return f"{size} B"


def clock(seconds: float) -> str:
    """A duration as a clock shows it: 0:07, 12:30, 1:05:00."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def significant(value: float) -> str:
    """Three significant digits, without an exponent."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value)) + math.log10(1.0005)))
    return f"{value:,.{digits}f}"
