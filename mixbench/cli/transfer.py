"""Progress of a download, or of reading images: a bar in a terminal, a line every ten seconds elsewhere."""

import time
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from mixbench.cli.terminal import console
from mixbench.system.words import decimal_size

PLAIN_SECONDS = 10.0


class Meter:
    """Shows the bytes transferred, or with `counts` the number of images.  A context manager: shows until exit."""

    def __init__(self, to: Console | None = None, plain_seconds: float = PLAIN_SECONDS, counts: bool = False):
        self.console = to or console()
        self.plain_seconds = plain_seconds
        amount = (MofNCompleteColumn(),) if counts else (DownloadColumn(), TransferSpeedColumn())
        columns = (BarColumn(), *amount, TimeRemainingColumn())
        self._text = "{:,}".format if counts else decimal_size
        text = TextColumn("{task.description}", markup=False)
        self._bar = Progress(text, *columns, console=self.console, transient=True, disable=not self.console.is_terminal)
        self._task = self._bar.add_task("", visible=False, total=None)
        self._what, self._shown_at = "", time.monotonic()

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """Print a line that stays."""
        self.console.print(line, soft_wrap=True)

    def show(self, what: str, done: int, total: int) -> None:
        """Show that `done` of `total` bytes are transferred, or images read (0: unknown); `what` says which."""
        if what != self._what:
            self._what = what
            self._bar.reset(self._task, description=what, visible=True)
        self._bar.update(self._task, completed=done, total=total or None)
        moment = time.monotonic()
        if not self.console.is_terminal and moment - self._shown_at >= self.plain_seconds:
            self._shown_at = moment
            so_far = f" {self._text(done)}" if done else ""
            self.say(f"  {what}{so_far}" + (f" of {self._text(total)}" if total else ""))
