"""A process that was told to end, and may finish what it is at first.  Imports nothing of ours: it may come first."""

import signal
from dataclasses import dataclass
from typing import NoReturn

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Stopped(BaseException):
    """The job was told to end from outside.  What could be saved is saved."""


@dataclass
class Stop:
    """Whether this process was told to end, and by which signal."""

    signal: str = ""

    def heed(self) -> None:
        """Raises Stopped where it was."""
        if self.signal:
            raise Stopped(self.signal)


def heed_stops() -> None:
    """Have a closed terminal and a kill do what Ctrl-C does."""
    for stop in STOPS:
        if signal.getsignal(stop) != signal.SIG_IGN:  # as a shell's background jobs ignore Ctrl-C, and nohup's SIGHUP
            signal.signal(stop, _interrupt)


def _interrupt(*_: object) -> NoReturn:
    """Stop, once: a second Ctrl-C would stop the stopping, and leave processes behind."""
    for stop in STOPS:
        signal.signal(stop, signal.SIG_IGN)
    raise KeyboardInterrupt
