"""Signals that tell a process to end, which may save its work first.  Imports nothing else of mixbench."""

import signal
from dataclasses import dataclass
from typing import NoReturn

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopped(BaseException):
    """The job was told to end from outside, and has saved what it could."""


@dataclass
class Stop:
    """The signal by which this process was told to end; empty until then."""

    signal: str = ""

    def raise_if_set(self) -> None:
        """Raises Stopped if there was a signal."""
        if self.signal:
            raise Stopped(self.signal)


def interrupt_on_stop_signals() -> None:
    """Make a closed terminal and `kill` do the same as Ctrl-C."""
    for stop in STOPS:
        if signal.getsignal(stop) != signal.SIG_IGN:  # as a shell's background jobs ignore Ctrl-C, and nohup's SIGHUP
            signal.signal(stop, _interrupt)


def _interrupt(*_: object) -> NoReturn:
    """Raise KeyboardInterrupt once: a second Ctrl-C would interrupt the clean-up, and leave processes behind."""
    for stop in STOPS:
        signal.signal(stop, signal.SIG_IGN)
    raise KeyboardInterrupt
