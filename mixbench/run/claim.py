"""Claims on a run: one process at a time works on a run folder, on any machine, over NFS too.

The folder lock/ of a run holds claims, numbered files; the highest number is valid.  A process claims the run by
creating the file of the next number, in which exactly one process succeeds (O_EXCL), so that taking over from a dead
process is atomic and never leaves the run without a claim.  A claim that has ended is marked so and stays until the
next one.  Until then a thread touches its file every few seconds (the heartbeat).  Clocks of two machines are never
compared to find out if a holder is dead: on the same machine its process is looked up; on another one, or if /proc
hides another user's process, its claim is watched for heartbeats.
"""

import os
import re
import signal
import socket
import sys
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
"""Heartbeats that a process on another machine must miss before it counts as dead."""


class Taken(Exception):
    """Another process has taken over the run, so this one must not write any more."""


class Holder(BaseModel):
    """The process that holds, or held, a claim.  `started`, in clock ticks since boot: pids are used again."""

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
        """Return True if its process still runs; None if unknown: on another machine, or hidden in /proc."""
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
    """The claim of one process on a run: the file `number`.json in the run's folder lock/."""

    folder: Path
    number: int

    @property
    def file(self) -> Path:
        return self.folder / f"{self.number}.json"

    def is_lost(self) -> bool:
        return latest(self.folder) != self

    def check(self) -> None:
        """Raise Taken if another process has taken over the run."""
        if self.is_lost():
            raise Taken(f"another process has taken over {self.folder.parent}")

    def holder(self) -> Holder | None:
        """Return the process that made the claim; None if the file is damaged.  Raises FileNotFoundError."""
        try:
            return Holder.model_validate_json(self.file.read_bytes())
        except (ValidationError, IsADirectoryError):
            return None

    def pulse(self) -> int:
        """Modification time, new with every heartbeat; of the opened file, since NFS then asks its server."""
        with open(self.file, "rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns


def latest(folder: Path) -> Claim | None:
    """Return the claim of the highest number; None if there are no claims."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return None
    numbers = [int(name.removesuffix(".json")) for name in names if re.fullmatch(r"[0-9]{1,9}\.json", name)]
    return Claim(folder, max(numbers)) if numbers else None


def holder(folder: Path) -> Holder | None:
    """Return the process that holds the run, dead or alive; None if no process does, or the claim is damaged."""
    claim = latest(folder)
    with suppress(FileNotFoundError):
        if claim and (found := claim.holder()) and not found.ended:
            return found
    return None


@contextmanager
def claimed(folder: Path, say: Callable[[str], None]) -> Iterator[Claim]:
    """Hold the run's claim within a `with` block; `say` is called to report a wait or a takeover from a dead process.

    If the claim is lost meanwhile, this process gets a SIGTERM.  Raises RequestError if another process holds the run.
    """
    claim = _take(folder, say)
    over = threading.Event()
    heartbeat = threading.Thread(target=_beat, args=(claim, over), daemon=True)
    heartbeat.start()
    try:
        yield claim
    finally:
        over.set()
        heartbeat.join()
        with suppress(OSError):  # disk full: the next process will find this one dead
            if not claim.is_lost() and (mine := claim.holder()):
                write_atomically(claim.file, to_json(mine.model_copy(update={"ended": timestamp()})))


def seize(folder: Path) -> Claim:
    """Take the next claim without waiting, for a caller that knows the holder to be dead, or is to replace it.

    A holder that is alive after all finds its claim lost, and writes no more.
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
        if mine.is_lost():  # since `latest`, others have used this number, removed it, and gone on to higher ones
            mine.file.unlink(missing_ok=True)
            continue
        break
    for number in range(before.number if before else 0, 0, -1):
        if not (old := Claim(folder, number)).file.exists():
            break
        old.file.unlink() if old.holder() else set_aside(old.file)
    return mine


def _await_end(claim: Claim, say: Callable[[str], None]) -> None:
    """Return once the claim has ended or its holder is dead.  Raises RequestError if the holder is alive."""
    deadline, pulse = None, None
    while True:
        try:
            who, now = claim.holder(), claim.pulse()
        except FileNotFoundError:
            return  # removed by the process with the next claim
        lives = who.lives() if who else None
        if who and who.ended:
            return
        if lives or pulse not in (None, now):
            raise RequestError(
                f"{claim.folder.parent} is being run by {who or 'another process'}; nothing was started or written.  "
                f"Wait for its end, or stop it there; its progress: mixbench status {quote(str(claim.folder.parent))}"
            )
        name = who or f"a process whose claim {claim.file} is damaged"
        patience = DEAD_AFTER * (who.heartbeat_seconds if who else HEARTBEAT_SECONDS)
        if deadline is None and lives is None:
            say(f"this run is held by {name}; waiting up to {patience:.0f} s to see whether it is alive")
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
    """Touch the claim until it is over; end this process with a SIGTERM if the claim is lost, or by any other error.

    Without a heartbeat another process would take over the run, while this one goes on.
    """
    try:
        while not over.wait(HEARTBEAT_SECONDS):
            with suppress(OSError):  # the file server may be unreachable for a moment
                if claim.is_lost():
                    return
                os.utime(claim.file)
    except Exception:
        sys.excepthook(*sys.exc_info())
    finally:
        if not over.is_set():
            os.kill(os.getpid(), signal.SIGTERM)


def _machine() -> dict[str, str]:
    """Identity of the pid namespace of this boot of this machine, in which process ids can be compared."""
    return {
        "host": socket.gethostname(),
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip(),
        "namespace": os.readlink("/proc/self/ns/pid"),
    }


def _start_of(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since boot; None if it has exited or is a zombie.

    Raises PermissionError if it exists, but /proc, mounted with hidepid, does not show it.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        try:
            os.kill(pid, 0)  # another user's: PermissionError
        except (ProcessLookupError, OverflowError):
            return None
        raise PermissionError(f"/proc does not show process {pid}") from None
    exited = fields[0] in b"ZX" and int(fields[17]) <= 1  # a zombie may have other threads that still finish a write
    return None if exited else int(fields[19])
