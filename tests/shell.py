"""What the fixture `mixbench` is: words of a command line, called in this process, to exit code, stdout and stderr."""

from collections.abc import Callable

Shell = Callable[..., tuple[int, str, str]]
