"""Format numbers and texts for a reader.  None becomes a dash; values that are not finite read nan or inf."""

import math
import re
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mixbench.results.metrics import QUALITY, Quantity
from mixbench.results.statistics import DECIMALS, plus_minus, supported
from mixbench.system.words import binary_size, significant

if TYPE_CHECKING:
    from mixbench.results.summary import SummaryRow

DASH = "–"
MINUS = "−"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")


def text(value: object) -> str:
    """Return text from a user or a terminal without colour codes and control characters, which XML and HTML forbid."""
    plain = str(value)
    if plain.isprintable():  # the usual case, made fast: a page of many trials has a million texts
        return plain
    plain = _ANSI.sub("", plain).replace("\r\n", "\n")
    return "".join(c if c.isprintable() or _is_kept(c) else "\N{REPLACEMENT CHARACTER}" for c in plain)


def _is_kept(character: str) -> bool:
    """True for spaces of any width and the joiners that some scripts need; not for controls or changes of direction."""
    joiners = "\N{ZERO WIDTH JOINER}\N{ZERO WIDTH NON-JOINER}"
    return character in "\n\t" or character in joiners or unicodedata.category(character) == "Zs"


def short(value: object, limit: int) -> str:
    """Return the text on one line of at most `limit` characters, cut at its end."""
    line = " ".join(text(value).split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


def ends(value: object, head: int = 1000, tail: int = 3000) -> str:
    """Return a long text's beginning and end, and the number of characters left out between them."""
    whole = text(value)
    left_out = len(whole) - head - tail
    if left_out <= 0:
        return whole
    return f"{whole[:head]}\n… {left_out:,} characters left out …\n{whole[-tail:]}"


def exact(value: float | None) -> str:
    """Format with every digit, thousands separated: 65,219,072."""
    return DASH if value is None else f"{value:,}"


def fixed(value: float | None, digits: int = 2) -> str:
    if value is None:
        return DASH
    if not math.isfinite(value):
        return str(value)
    return f"{value:,.{digits}f}".replace("-", MINUS)


def percent(value: float | None) -> str:
    """Format an accuracy, or a spread of accuracies, that has no interval of its own: 94.30."""
    return fixed(value, DECIMALS)


def signs(text: str) -> str:
    """Replace the hyphens that Python prints by typographic minus signs."""
    return text.replace("-", MINUS)


def quality(row: "SummaryRow") -> str:
    """Format a row's mean quality with its 95 % interval, by images where it has one: "94.30 ± 0.32", else "94.30"."""
    return DASH if row.quality is None else signs(QUALITY.shown(row.quality, row.quality_ci95))


def counted(row: "SummaryRow") -> str:
    """Say what the interval of a row's quality counts: "± counts the seeds and the test images"."""
    if row.top1_ci95_images is None:
        no_interval = row.n_seeds < 2 or not row.top1_ci95
        return "no interval can be given" if no_interval else "± counts the seeds, not the test images"
    return f"± counts the {'test images, for this one network' if row.n_seeds < 2 else 'seeds and the test images'}"


def apart(row: "SummaryRow") -> str:
    """Format ours - published, to the digits that our interval supports: "−0.01", "−20"."""
    return DASH if row.top1_delta is None else signs(supported(row.top1_delta, row.quality_ci95, sign="+"))


UNCERTAIN = {"not distinguishable": " n.s.", "undecided": " undecided", "not testable": " untested"}
"""Text after a difference, by its verdict's outcome."""


def against(value: float | None, half_width: float | None, outcome: str) -> str:
    """Format a difference of two rows' qualities with its interval and verdict: "−0.81 ± 0.40", "+0.1 ± 0.4 n.s."."""
    if value is None:
        return DASH
    return signs(plus_minus(value, half_width, sign="+")) + UNCERTAIN.get(outcome, "")


def to_best(row: "SummaryRow") -> str:
    """Format a row's difference to the most accurate one on its images, "best" for that one."""
    outcome = row.top1_verdict.partition(":")[0]
    return outcome if outcome == "best" else against(row.top1_to_best, row.top1_to_best_ci95, outcome)


def signed(value: float | None, digits: int = 2) -> str:
    """Format a difference with its sign, unless it rounds to 0."""
    if value is None or not math.isfinite(value):
        return fixed(value, digits)
    rounded = round(value, digits) + 0.0
    sign = MINUS if rounded < 0 else "+" if rounded > 0 else ""
    return f"{sign}{abs(rounded):,.{digits}f}"


def count(value: float | None) -> str:
    """Format exactly below a million, else with three significant digits and a prefix: 275,834; 65.2 M; 22.3 G."""
    if value is None or abs(value) < 1e6:
        return exact(value)
    return scaled(value)


def scaled(value: float) -> str:
    """Format with three significant digits and a decimal prefix: 276 k, 65.2 M."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size * 0.9995:
            return f"{significant(value / size)} {prefix}"
    return significant(value)


def tick(value: float) -> str:
    """Format a round number on an axis: 5 M, not 5.00 M."""
    number, _, prefix = scaled(value).partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {prefix}".strip()


def span_tick(seconds: float) -> str:
    """Format a round time on an axis: 2 s, 10 min, 3 h."""
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds / size:,.3g} {unit}"
    return f"{seconds:.3g} s" if seconds >= 0.1 else f"{1000 * seconds:.3g} ms"


def rate_tick(value: float) -> str:
    """Format a round number of images per second on an axis: 2,000."""
    return f"{value:,.10g}"


def rate(value: float | None) -> str:
    """Format images per second: three significant digits below 100, else whole."""
    if value is None or not math.isfinite(value):
        return fixed(value)
    return significant(value) if value < 100 else f"{value:,.0f}"


def roughly(text: str, unsure: bool) -> str:
    """Mark the text of a speed that a flag says may be wrong: "≈ 1,430"."""
    return f"≈ {text}" if unsure and text != DASH else text


def size(value: int | None) -> str:
    """Format bytes in binary units: 1.50 GiB."""
    return DASH if value is None else binary_size(value)


def size_tick(value: float) -> str:
    """Format a round size on an axis: 2 GiB, not 2.00 GiB."""
    number, _, unit = size(round(value)).partition(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"


def middle(value: object, limit: int) -> str:
    """Return one line of at most `limit` characters, cut in the middle: names may differ only at their end."""
    line = short(value, 10_000)
    return line if len(line) <= limit else f"{line[: limit // 2 - 1]}…{line[-(limit - limit // 2) :]}"


def step(milliseconds: float) -> str:
    return f"{significant(milliseconds)} ms"


def finite(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and math.isfinite(value)]


def duration(seconds: float | None) -> str:
    if seconds is None or not math.isfinite(seconds):
        return fixed(seconds)
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours else f"{minutes} min {rest:02d} s"


def hours(seconds: float) -> str:
    """Format seconds as hours with three significant digits: 0.0121 h."""
    return f"{significant(seconds / 3600)} h"


def moment(iso: str) -> str:
    """Format a record's time to the minute, with its UTC offset; text that is not an ISO time is returned as it is."""
    try:
        time = datetime.fromisoformat(iso)
    except ValueError:
        return text(iso) or DASH
    offset = time.strftime("%z")
    zone = " UTC" if offset == "+0000" else f" {offset[:3]}:{offset[3:]}" if offset else ""
    return time.strftime("%Y-%m-%d %H:%M") + zone


def span(began: str, ended: str) -> str:
    """Format a time span; if it starts and ends on the same day, the day is written once."""
    first, last = moment(began), moment(ended) if ended else "now"
    day, _, rest = first.partition(" ")
    time, _, zone = rest.partition(" ")
    if last.startswith(f"{day} ") and last.endswith(zone) and time:
        return f"{day}, {time} to {last.removeprefix(f'{day} ')}"
    return f"{first} to {last}"


TIMES = (
    *(n / 1000 for n in (1, 2, 5, 10, 20, 50, 100, 200, 500)), 1, 2, 5, 10, 20, 30,
    *(60 * n for n in (1, 2, 5, 10, 20, 30)), *(3600 * n for n in (1, 2, 5, 10, 20, 50, 100)),
)  # fmt: skip
SIZES = tuple(2**exponent for exponent in range(20, 44))


@dataclass(frozen=True)
class Format:
    """The formats of a quantity: in a table's `cell`, with all its digits (`whole`), at an axis' `tick`."""

    cell: Callable[[Any], str]
    whole: Callable[[Any], str]
    tick: Callable[[float], str] = tick
    round_values: tuple[float, ...] = ()  # ticks of a log axis, if powers of ten are not round: 30 min, 2 GiB
    units: tuple[float, ...] = (1,)  # units of the values, the smallest first; axes have round multiples of them


def _loss(value: float | None) -> str:
    return fixed(value, 4)


FORMATS: dict[Quantity, Format] = {
    "percent": Format(percent, percent),
    "loss": Format(_loss, _loss),
    "count": Format(count, exact),
    "rate": Format(rate, rate, rate_tick),
    "seconds": Format(duration, duration, span_tick, TIMES, (0.001, 1, 60, 3600)),
    "milliseconds": Format(fixed, fixed),
    "bytes": Format(size, size, size_tick, SIZES, (1, 2**10, 2**20, 2**30)),
    "share": Format(_loss, _loss),
    "joules": Format(rate, rate),
}
