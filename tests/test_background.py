"""Threads and processes beside the main one: all are known, and none dies unseen."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mixbench

STARTERS = {"Thread", "Process", "Popen", "ThreadPoolExecutor", "ProcessPoolExecutor", "DataLoader"}
KNOWN = {
    ("cli/progress_display.py", "Thread"),  # prints an error in place of progress: test_progress_display.py
    ("data/decode.py", "ProcessPoolExecutor"),  # raises their errors, RequestError if one dies: test_stream.py
    ("data/decode.py", "Thread"),  # ends a decoding process with its parent: test_store.py
    ("data/pixel_cache.py", "ThreadPoolExecutor"),  # raises its threads' errors, as results are read
    ("data/store.py", "ThreadPoolExecutor"),  # raises its thread's error with the batch: test_store.py
    ("data/stream.py", "DataLoader"),  # raises its processes' errors, and RequestError if one dies: test_stream.py
    ("data/verify.py", "ThreadPoolExecutor"),  # raises its threads' errors, as results are read
    ("suite/image_folder.py", "ThreadPoolExecutor"),  # raises its threads' errors, as results are read
    ("launch/local_rank.py", "Thread"),  # ends its rank if it fails: below
    ("launch/slurm/rank.py", "Thread"),  # notes signals, even if they cannot be written: below
    ("run/claim.py", "Thread"),  # ends its process if the heartbeat fails: test_claim.py
}
"""(module, what it starts), and what becomes of an error there: a new one needs an answer, and a test of it."""
SIGNALLED = """
import os, signal, sys, time
from pathlib import Path
from mixbench.launch.job import JobFolder
from mixbench.launch.slurm.jobs import RankStatus
from mixbench.launch.slurm.rank import StatusFile

status = StatusFile(JobFolder(Path(os.devnull)), RankStatus(rank=0, host="n1", pid=1))
status.receive_signals()
for number in (signal.SIGUSR2, signal.SIGTERM):
    os.kill(os.getpid(), number)
    while number in signal.sigpending():
        time.sleep(0.01)
    while not status.stop.signal:
        time.sleep(0.01)
print(status.stop.signal, status.status.signal)
"""


def test_every_thread_and_process_that_mixbench_starts_is_known() -> None:
    engine = Path(mixbench.__file__).parent
    found = {
        (path.relative_to(engine).as_posix(), name)
        for path in engine.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and (name := ast.unparse(node.func).rpartition(".")[2]) in STARTERS
        if ast.unparse(node.func) != "psutil.Process"
    }
    assert found == KNOWN


@pytest.mark.parametrize("pidfds", [True, False])
def test_a_rank_ends_with_its_launcher_even_if_nobody_waits_for_its_end(pidfds: bool) -> None:
    """On old kernels there are no pidfds."""
    code = "import errno, os, sys; from mixbench.launch.local_rank import _end_with\n"
    code += "" if pidfds else "def missing(_): raise OSError(errno.ENOSYS, 'no such call')\nos.pidfd_open = missing\n"
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as launcher:
        rank = subprocess.Popen([sys.executable, "-c", f"{code}_end_with({launcher.pid})"])
        try:
            with pytest.raises(subprocess.TimeoutExpired):
                rank.wait(1.0 if pidfds else 2.0)
            launcher.kill()
            assert rank.wait(60) == 1 and Path(f"/proc/{launcher.pid}").exists(), "it is a zombie"
        finally:
            rank.kill()


def test_signals_are_heard_where_the_file_that_tells_of_them_cannot_be_written() -> None:
    done = subprocess.run([sys.executable, "-c", SIGNALLED], capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("SIGUSR2 SIGUSR2\n", "")
