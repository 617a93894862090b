"""A process that was told to end, and may finish what it is at first.  Imports nothing, so that it can come first."""

from dataclasses import dataclass


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
