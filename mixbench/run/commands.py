"""Commands that made a run: a line of commands.jsonl for each, with its time, host and command line.

Only a process with a claim on the run writes; a line that cannot be read is skipped.
"""

import os
import shlex
import socket
from collections.abc import Sequence
from contextlib import suppress

from pydantic import BaseModel, ValidationError

from mixbench.run.folder import Run
from mixbench.system.files import text_of, write_atomically

FILE = "commands.jsonl"


class Command(BaseModel):
    """A command of mixbench: `line` is quoted for a shell; `at` is ISO 8601, UTC."""

    at: str
    host: str
    line: str


def note(run: Run, arguments: Sequence[str], at: str) -> None:
    """Append a command; `arguments` are what was typed after `mixbench`.  Raises OSError, Taken."""
    run.check_claim()
    line = os.fsencode(shlex.join(["mixbench", *arguments])).decode(errors="backslashreplace")  # paths may be any bytes
    command = Command(at=at, host=socket.gethostname(), line=line)
    write_atomically(run.folder / FILE, text_of(run.folder / FILE) + command.model_dump_json() + "\n")


def commands(run: Run) -> list[Command]:
    """Return the commands in the order they were given."""
    found = []
    for line in text_of(run.folder / FILE).splitlines():
        with suppress(ValidationError):
            found.append(Command.model_validate_json(line))
    return found
