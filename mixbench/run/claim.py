"""Who works on a run: one process at a time, on whatever machine, over NFS too.

A run's folder lock/ holds claims, numbered files; the highest is the run's.  Whoever wants the run creates the next
number, which exactly one process can (O_EXCL), so that taking over from a dead one is atomic and never leaves the run
without a claim.  A claim that is over says so and stays until the next one.  While it is not, a thread touches it now
and then.  Whether a holder is dead is never told from the clocks of two machines: on its own machine its process is
looked for, on another one, or where it is another user's and hidden, its claim is watched for a while.
"""

import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from pydantic import BaseModel, ValidationError

from mixbench.errors import RequestError
from mixbench.system.files import set_aside, to_json, write_atomically
from mixbench.system.host import timestamp

HEARTBEAT_SECONDS = 5.0
DEAD_AFTER = 12
"""So many heartbeats of a process on another machine must be missed before it counts as dead."""


class Taken(Exception):
    """Another process has taken the run over, as this one showed no sign of life: it must not write any more."""


class Holder(BaseModel):
    """The process that has, or had, a run.  `started`, in clock ticks since the boot, tells it from later ones."""

    host: str
    boot: str
    namespace: str
    pid: int
    started: int
    since: str
    heartbeat_seconds: float
    ended: str = ""

    @classmethod
    def me(cls) -> "Holder":
        pid = os.getpid()
        now, started = timestamp(), _start_of(pid) or 0
        return cls(**_machine(), pid=pid, started=started, since=now, heartbeat_seconds=HEARTBEAT_SECONDS)

    def lives(self) -> bool | None:
        """Whether its process still runs; None where another machine would know, or /proc hides another user's."""
        machine = _machine()
        if any(getattr(self, key) != value for key, value in machine.items()):
            return None
        try:
            return _start_of(self.pid) == self.started
        except PermissionError:
            return None

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}, since {self.since}"


@dataclass(frozen=True)
class Claim:
    """One process's turn with the run whose locks are in this folder."""

    folder: Path
    number: int

    @property
    def file(self) -> Path:
        return self.folder / f"{self.number}.json"

    def is_lost(self) -> bool:
        return latest(self.folder) != self

    def check(self) -> None:
        """Raises Taken."""
        if self.is_lost():
            raise Taken(f"another process has taken over {self.folder.parent}")

    def holder(self) -> Holder | None:
        """None where the file is damaged.  Raises FileNotFoundError."""
        try:
            return Holder.model_validate_json(self.file.read_bytes())
        except (ValidationError, IsADirectoryError):
            return None

    def pulse(self) -> int:
        """What changes with every heartbeat: read from the opened file, which NFS asks its server about."""
        with open(self.file, "rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns


def latest(folder: Path) -> Claim | None:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return None
    numbers = [int(name.removesuffix(".json")) for name in names if re.fullmatch(r"[0-9]{1,9}\.json", name)]
    return Claim(folder, max(numbers)) if numbers else None


def holder(folder: Path) -> Holder | None:
    """Who has the run now, alive or not; None where nobody has, or the claim cannot be read."""
    claim = latest(folder)
    with suppress(FileNotFoundError):
        if claim and (found := claim.holder()) and not found.ended:
            return found
    return None


@contextmanager
def claimed(folder: Path, say: Callable[[str], None]) -> Iterator[Claim]:
    """Have the run to oneself; `say` hears of a wait, and of a dead process that is taken over from.

    Where the claim is lost in between, this process is interrupted.  Raises RequestError where another one has the run.
    """
    claim = _take(folder, say)
    over = threading.Event()
    beating = threading.Thread(target=_beat, args=(claim, over), daemon=True)
    beating.start()
    try:
        yield claim
    finally:
        over.set()
        beating.join()
        with suppress(OSError):  # on a full disk: that this process is gone will be seen
            if not claim.is_lost() and (mine := claim.holder()):
                write_atomically(claim.file, to_json(mine.model_copy(update={"ended": timestamp()})))


def seize(folder: Path) -> Claim:
    """Take the next claim without waiting: for whoever knows that the holder is dead, or no longer wanted.

    Should it live after all, it finds its claim lost and writes no more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        before = latest(folder)
        mine = Claim(folder, before.number + 1 if before else 1)
        with suppress(FileExistsError):
            _create(mine.file, to_json(Holder.me()))
            return mine


def _take(folder: Path, say: Callable[[str], None]) -> Claim:
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        before = latest(folder)
        if before:
            _await_end(before, say)
        mine = Claim(folder, before.number + 1 if before else 1)
        try:
            _create(mine.file, to_json(Holder.me()))
        except FileExistsError:
            continue  # another process was quicker
        if mine.is_lost():  # a number that was used up and cleared away since we looked
            mine.file.unlink(missing_ok=True)
            continue
        break
    for number in range(before.number if before else 0, 0, -1):
        if not (old := Claim(folder, number)).file.exists():
            break
        old.file.unlink() if old.holder() else set_aside(old.file)
    return mine


def _await_end(claim: Claim, say: Callable[[str], None]) -> None:
    """Return where the claim is over or its holder dead.  Raises RequestError where it lives."""
    deadline, pulse = None, None
    while True:
        try:
            who, now = claim.holder(), claim.pulse()
        except FileNotFoundError:
            return  # the next claim cleared it away
        lives = who.lives() if who else None
        if who and who.ended:
            return
        if lives or pulse not in (None, now):
            raise RequestError(
                f"{claim.folder.parent} is being run by {who or 'another process'}; nothing was started or written.  "
                f"Wait for its end, or stop it there; how far it is: mixbench status {quote(str(claim.folder.parent))}"
            )
        name = who or f"a process whose claim {claim.file} is damaged"
        patience = DEAD_AFTER * (who.heartbeat_seconds if who else HEARTBEAT_SECONDS)
        if deadline is None and lives is None:
            say(f"this run is held by {name}; whether it still lives will be known in {patience:.0f} s or less")
            deadline, pulse = time.monotonic() + patience, now
        if lives is False or (deadline and time.monotonic() > deadline):
            say(f"taking over from {name}, which has died")
            return
        time.sleep(min(1.0, patience / DEAD_AFTER))


def _create(path: Path, text: str) -> None:
    """Write a new file.  Raises FileExistsError."""
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise
    except OSError as error:
        path.unlink(missing_ok=True)
        error.filename = str(path)
        raise


def _beat(claim: Claim, over: threading.Event) -> None:
    while not over.wait(HEARTBEAT_SECONDS):
        with suppress(OSError):  # a server that is away for a moment
            if claim.is_lost():
                os.kill(os.getpid(), signal.SIGTERM)
                return
            os.utime(claim.file)


def _machine() -> dict[str, str]:
    """What process ids are unique in, until it is booted again."""
    return {
        "host": socket.gethostname(),
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
        "namespace": os.readlink("/proc/self/ns/pid"),
    }


def _start_of(pid: int) -> int | None:
    """When a process was started; None where it is gone, or only waits to be buried.

    Raises PermissionError where one has that number and /proc, mounted with hidepid, does not show it.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        try:
            os.kill(pid, 0)  # another user's: PermissionError
        except (ProcessLookupError, OverflowError):
            return None
        raise PermissionError(f"/proc does not show process {pid}") from None
    buried = fields[0] in b"ZX" and int(fields[17]) <= 1  # a dying process may have threads that still finish a write
    return None if buried else int(fields[19])
