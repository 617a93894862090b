"""Tables as Markdown (CommonMark with GitHub's tables), readable as plain text; all text from users is escaped."""

import re

from mixbench.report import numbers, overview
from mixbench.report.text_table import FLAGS, NOTE, boards
from mixbench.results.tables import Tables
from mixbench.system.words import plural

MOST_FAILURES = 50


def markdown(tables: Tables) -> str:
    """The report: an overview, what is missing, a leaderboard for each dataset, and the failed trials."""
    head = overview.head(tables)
    facts = [f"{head.done} of {plural(head.total, 'trial')} done"]
    facts += [numbers.span(head.began, head.ended)] * bool(head.began)
    facts += [f"on {', '.join(map(escape, head.devices))}"] * bool(head.devices)
    facts += map(escape, [*head.versions, *head.commits])
    parts = [f"# {escape(tables.suite)}", f"{'; '.join(facts)}."]
    parts += ["\n".join(f"- {escape(sentence)}" for sentence in sentences) for sentences in (head.images, head.missing)]
    parts = [part for part in parts if part]
    for board in boards(tables):
        rows = [list(row) for row in board.rows]
        for index, column in board.best:
            rows[index][column] = f"**{rows[index][column]}**"
        parts += [f"## {escape(board.images)}", _table(board.headings, rows)]
        parts += [f"Measured {escape(', '.join(board.caption))}."] * bool(board.caption)
        if board.published:
            heading, *rows = board.published
            parts += ["Ours beside the published, counted as the source counts:", _table(heading, rows)]
        flags = "\n".join(f"{number}. {escape(flag)}" for number, flag in enumerate(board.flags, 1))
        parts += [f"{FLAGS}, each trial's own in results.csv:", flags] * bool(flags)
    parts += [NOTE] * bool(tables.groups) + _failures(tables)
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Escape a text so that Markdown shows it literally, on one line: no markup, HTML, link or new table cell."""
    line = re.sub(r"([\\`*\[\]<>|~&$@])", r"\\\1", numbers.short(text, 1000))
    line = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", line)  # within a word it has no meaning
    line = re.sub(r"(?i)(?<=:)/(?=/)|(?<=www)\.", r"\\\g<0>", line)  # GitHub makes links of bare addresses
    return re.sub(r"^([#+=-]|\d+(?=[.)]))", _escaped_start, line)


def _escaped_start(found: re.Match[str]) -> str:
    """Escape the mark of a heading or list at the start of a line; for "1." the backslash goes before the full stop."""
    return f"{found[0]}\\" if found[0].isdigit() else f"\\{found[0]}"


def _table(heading: list[str], body: list[list[str]]) -> str:
    """A table padded with spaces, so that it is readable as plain text; its first column holds names from users."""
    rows = [heading, *([escape(name), *rest] for name, *rest in body)]
    widths = [max(3, *map(len, column)) for column in zip(*rows, strict=True)]
    widths[0] = min(widths[0], 60)  # longer names shift only their own row
    lines = [
        "| " + " | ".join([first.ljust(widths[0]), *map(str.rjust, rest, widths[1:])]) + " |" for first, *rest in rows
    ]
    rule = "| " + " | ".join(["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]) + " |"
    return "\n".join([lines[0], rule, *lines[1:]])


def _failures(tables: Tables) -> list[str]:
    failed = [record for record in tables.records if record.status == "failed"]
    if not failed:
        return []
    lines = [
        f"- {escape(record.label)}, {escape(record.dataset)}, seed {record.seed}: {escape(record.error)}"
        for record in failed[:MOST_FAILURES]
    ]
    lines += [f"- … and {len(failed) - MOST_FAILURES:,} more"] * (len(failed) > MOST_FAILURES)
    return ["## Failed", "\n".join(lines)]
