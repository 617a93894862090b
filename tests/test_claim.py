"""One process at a time on a run: real processes that refuse, die, are suspended, race, or seem to be elsewhere."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mixbench.errors import RequestError
from mixbench.run import claim
from mixbench.run.claim import Claim, Holder, Taken, claimed, holder, latest
from mixbench.run.folder import Run
from mixbench.run.record import Record
from tests import fake_runs

DEADLINE = 60
PRELUDE = "import sys, time; from pathlib import Path; from mixbench.run import claim; claim.HEARTBEAT_SECONDS = 0.05\n"
HOLD = PRELUDE + "with claim.claimed(Path(sys.argv[1]), print):\n print('have it', flush=True); time.sleep(600)"


@contextmanager
def holding(folder: Path, *prefix: str, code: str = HOLD) -> Iterator[subprocess.Popen[str]]:
    """A process that has the run, reached through the commands of `prefix`."""
    require(prefix)
    command = [*prefix, sys.executable, "-c", code, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stderr is not None
            if process.stdout.readline() != "have it\n":
                process.kill()
                pytest.fail(f"it does not have the run: {process.stderr.read()}")
            yield process
        finally:
            process.kill()


def elsewhere(name: str) -> tuple[str, ...]:
    """The prefix that makes a command run as if on another machine, by the name that it sees."""
    return ("unshare", "--uts", "sh", "-c", f'hostname {name} && exec "$@"', "sh")


def require(prefix: tuple[str, ...]) -> None:
    """Skip the test where the commands of `prefix` are not there, or not allowed, whatever they are to run."""
    if prefix and not shutil.which(prefix[0]):
        pytest.skip(f"there is no {prefix[0]} here")
    if prefix and (tried := subprocess.run([*prefix, "true"], capture_output=True, text=True, check=False)).returncode:
        pytest.skip(f"not allowed here: {tried.stderr}")


def output_of(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def wait_for(condition: Callable[[], Any], what: str) -> None:
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, f"waited {DEADLINE} s for {what}"
        time.sleep(0.01)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run" / "lock"


def test_a_living_holder_is_named_at_once_and_nothing_is_written(folder: Path) -> None:
    with holding(folder) as process:
        before = [(path, path.read_bytes()) for path in folder.iterdir()]
        began = time.monotonic()
        with pytest.raises(RequestError) as caught, claimed(folder, print):
            pytest.fail("two have it")
        assert time.monotonic() - began < 5
        who = holder(folder)
        assert who is not None and (who.pid, who.host, who.lives()) == (process.pid, os.uname().nodename, True)
        for fact in (f"process {process.pid}", who.host, who.since, "nothing was started or written"):
            assert fact in str(caught.value)
        assert [(path, path.read_bytes()) for path in folder.iterdir()] == before


def test_a_killed_holder_is_taken_over_from_at_once_and_named(folder: Path) -> None:
    with holding(folder) as process:
        process.kill()
        process.wait()
    said: list[str] = []
    with claimed(folder, said.append) as mine:
        assert mine.number == 2 and latest(folder) == mine
        assert [path.name for path in folder.iterdir()] == ["2.json"]
    assert len(said) == 1 and f"taking over from process {process.pid}" in said[0]
    assert holder(folder) is None, "freed at the end"


def test_a_holder_that_is_a_zombie_is_dead(folder: Path) -> None:
    with holding(folder) as process:
        process.kill()
        wait_for(lambda: b" Z " in Path(f"/proc/{process.pid}/stat").read_bytes(), "the zombie")
        who = holder(folder)
        wait_for(lambda: who is not None and who.lives() is False, "the end of its heartbeat's thread")
        with claimed(folder, print) as mine:
            assert mine.number == 2


def test_a_process_with_the_same_number_is_not_taken_for_the_holder(folder: Path) -> None:
    earlier = Holder.me().model_copy(update={"started": 1})  # this test's own number, given to another process before
    folder.mkdir(parents=True)
    Claim(folder, 1).file.write_text(earlier.model_dump_json())
    assert earlier.lives() is False
    with claimed(folder, print) as mine:
        assert mine.number == 2


HIDING = ("unshare", "--mount", "sh", "-c", 'mount -t proc -o hidepid=MODE proc /proc && exec "$@"', "sh")
"""A /proc of the command's own: to remount the one that is there would hide processes from the whole machine."""
AS_NOBODY = PRELUDE + (
    "import os; from mixbench.errors import RequestError\n"
    "claim.Holder.me()  # imports what nobody may not be allowed to read\n"
    "os.chdir(sys.argv[1]); os.setgroups([]); os.setresgid(*[65534] * 3); os.setresuid(*[65534] * 3)\n"
    "who = claim.holder(Path('lock')); print(who.lives())\n"
    "try: Path(f'/proc/{who.pid}/stat').read_bytes()\n"
    "except (FileNotFoundError, PermissionError): print('hidden')\n"
    "try:\n"
    " with claim.claimed(Path('lock'), print): print('taken')\n"
    "except RequestError as error: print(error)\n"
)


@pytest.mark.parametrize("mode", [1, 2])
def test_another_users_process_that_proc_hides_is_not_taken_for_dead(folder: Path, mode: int) -> None:
    prefix = tuple(word.replace("MODE", str(mode)) for word in HIDING)
    if os.geteuid():
        pytest.skip("only root can be two users")
    require(prefix)
    command = [*prefix, sys.executable, "-c", AS_NOBODY, str(folder.parent)]
    with holding(folder) as process:
        folder.chmod(0o777)
        seen = output_of(command)
        assert seen.startswith("None\nhidden\n") and "taken" not in seen, "its heartbeat is watched"
        assert f"is being run by process {process.pid}" in seen.splitlines()[-1]
    seen = output_of(command)
    assert seen.splitlines()[:2] == ["False", "hidden"] and seen.endswith("taken\n"), "gone, hidden or not"


@pytest.mark.parametrize("how", [signal.SIGINT, None], ids=["exception", "exit"])
def test_the_claim_is_freed_however_its_context_is_left(folder: Path, how: signal.Signals | None) -> None:
    code = HOLD.replace("time.sleep(600)", "sys.exit(0)") if how is None else HOLD
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n" + code
    with holding(folder, code=code) as process:
        if how:
            process.send_signal(how)
        process.wait(DEADLINE)
    assert holder(folder) is None
    assert (
        json.loads(Claim(folder, 1).file.read_text())["ended"] >= json.loads(Claim(folder, 1).file.read_text())["since"]
    )
    said: list[str] = []
    with claimed(folder, said.append):
        assert said == []


def test_a_holder_on_another_machine_is_seen_to_live_by_its_heartbeat(folder: Path) -> None:
    with holding(folder, *elsewhere("far-away")):
        who = holder(folder)
        assert who is not None and who.host == "far-away" and who.lives() is None
        said: list[str] = []
        with pytest.raises(RequestError, match="on far-away"), claimed(folder, said.append):
            pytest.fail("two have it")
        assert len(said) == 1 and "waiting up to 1 s to see whether it is alive" in said[0]


def test_a_silent_holder_on_another_machine_loses_the_run_and_writes_no_more_when_it_comes_back(
    folder: Path, tmp_path: Path
) -> None:
    code = PRELUDE + (
        "from tests import fake_runs; from mixbench.run.folder import Run\n"
        "trial = fake_runs.trial(); ran = Path(sys.argv[1]).parent\n"
        "try:\n"
        " with claim.claimed(Path(sys.argv[1]), print) as mine:\n"
        "  print('have it', flush=True)\n"
        "  while True: Run(ran, mine).write_record(fake_runs.done(trial, 50.0))\n"
        "except claim.Taken as error: print(error)\n"
    )
    code = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + code  # the writing alone is to stop it
    run, trial = Run(folder.parent), fake_runs.trial()
    with holding(folder, *elsewhere("far-away"), code=code) as process:
        wait_for(lambda: run.readable(trial.id), "the first record")
        process.send_signal(signal.SIGSTOP)
        wait_for(lambda: b" T " in Path(f"/proc/{process.pid}/stat").read_bytes(), "it to stand still")
        said: list[str] = []
        with claimed(folder, said.append) as mine:
            assert mine.number == 2 and "which has died" in said[-1]
            mine_record = fake_runs.done(trial, 90.0)
            Run(run.folder, mine).write_record(mine_record)
            process.send_signal(signal.SIGCONT)
            output, errors = process.communicate(timeout=DEADLINE)
            assert "has taken over" in output and errors == ""
            assert latest(folder) == mine, "nor does its end free what is no longer its own"
            record = run.record(trial.id)
            assert record is not None and record.top1 in (50.0, 90.0)  # one write may have been under way
    assert not list(folder.parent.glob("trials/*/.*.tmp"))


def test_a_holder_that_was_taken_over_is_interrupted_by_its_own_heartbeat(folder: Path) -> None:
    with holding(folder) as process:
        Claim(folder, 2).file.write_text(Holder.me().model_dump_json())
        assert process.wait(DEADLINE) == -signal.SIGTERM


def test_a_holder_whose_heartbeat_fails_is_interrupted_and_says_why(folder: Path) -> None:
    code = HOLD.replace("with ", "claim.os.utime = lambda file: {}[file]\nwith ", 1)
    with holding(folder, code=code) as process:
        errors = process.communicate(timeout=DEADLINE)[1]
        assert process.returncode == -signal.SIGTERM and "KeyError" in errors


def test_who_lost_the_claim_can_no_longer_write_the_plan_or_a_record(folder: Path, tmp_path: Path) -> None:
    trial = fake_runs.trial()
    with claimed(folder, print) as mine:
        run = Run(folder.parent, mine)
        run.write_record(Record.pending(trial))
        before = run.record_file(trial.id).read_bytes()
        Claim(folder, 7).file.write_text(Holder.me().model_dump_json())
        with pytest.raises(Taken):
            run.write_record(fake_runs.done(trial, 90.0))
        with pytest.raises(Taken):
            run.write_plan("name: cifar\n", [trial])
        with pytest.raises(Taken):
            run.write_predictions(trial.id, b"late")
        assert run.record_file(trial.id).read_bytes() == before and not run.plan_file.exists()
        assert not run.predictions_file(trial.id).exists()


@pytest.mark.parametrize("damage", [b"", b"{", b"\xff\xfe", b"[]", b'{"host": 1}', b"\0" * 4096])
def test_a_damaged_claim_is_watched_set_aside_and_no_obstacle(
    folder: Path, damage: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim, "HEARTBEAT_SECONDS", 0.01)
    folder.mkdir(parents=True)
    Claim(folder, 3).file.write_bytes(damage)
    assert holder(folder) is None
    said: list[str] = []
    with claimed(folder, said.append) as mine:
        assert mine.number == 4 and "3.json is damaged" in said[0]
    assert sorted(path.name for path in folder.iterdir()) == ["3.json.damaged-1", "4.json"]
    assert (folder / "3.json.damaged-1").read_bytes() == damage


def test_of_many_that_race_for_a_run_whose_holders_die_one_at_a_time_has_it(folder: Path, tmp_path: Path) -> None:
    """The kernel's own lock, on a file beside, is the judge: it is free whenever its holder is gone."""
    code = PRELUDE + (
        "import fcntl, os, random, signal; from mixbench.errors import RequestError\n"
        "random.seed(int(sys.argv[2])); won = 0\n"
        "judge = open(sys.argv[3], 'a')\n"
        "while won < 5:\n"
        " try:\n"
        "  with claim.claimed(Path(sys.argv[1]), lambda said: None):\n"
        "   fcntl.flock(judge, fcntl.LOCK_EX | fcntl.LOCK_NB); won += 1\n"
        "   judge.write(f'{os.getpid()}\\n'); judge.flush(); time.sleep(random.random() / 100)\n"
        "   if won == 5: os.kill(os.getpid(), signal.SIGKILL)\n"
        "   fcntl.flock(judge, fcntl.LOCK_UN)\n"
        " except RequestError: pass\n"
    )
    judge = tmp_path / "judge"
    command = [sys.executable, "-c", code, str(folder)]
    racers = [
        subprocess.Popen([*command, str(seed), str(judge)], stderr=subprocess.PIPE, text=True) for seed in range(6)
    ]
    ends = [(racer.communicate(timeout=DEADLINE)[1], racer.returncode) for racer in racers]
    assert ends == [("", -signal.SIGKILL)] * 6
    assert len(judge.read_text().split()) == 30
    assert len(list(folder.glob("*.json"))) == 1
