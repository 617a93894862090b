"""Runs where little is as it should be: the locale, the home, the clock, the folder's name, the terminal."""

import fcntl
import json
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from mixbench.report.write import write
from mixbench.results.collect import collect
from mixbench.run.claim import holder
from mixbench.run.folder import Run
from tests import fake_runs
from tests.disks import freeze
from tests.test_local import DEADLINE, FAULTY, wait_for
from tests.trials import SMALL, write_suite

NAME = '-a run\'s "folder"\n $HOME; 100 %; ünïcode 🙂'
ASCII_ALONE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}
CACHES = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "MPLCONFIGDIR")


def mixbench(*words: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key not in CACHES}
    command = [sys.executable, "-m", "mixbench", *words]
    done = subprocess.run(
        command, env=kept | environment, cwd=cwd, capture_output=True, text=True, errors="replace", timeout=DEADLINE
    )
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


def test_a_folder_full_of_odd_characters_in_a_locale_without_them_an_odd_zone_and_no_home(tmp_path: Path) -> None:
    suite = write_suite(tmp_path, models=[SMALL["mixer"] | {"label": "größe 🙂"}], measure=["accuracy"])
    (tmp_path / "here").mkdir()
    (tmp_path / "home").write_text("a file")
    around = dict(cwd=tmp_path / "here", HOME=str(tmp_path / "home"), TZ="Pacific/Kiritimati", **ASCII_ALONE)
    done = mixbench("run", str(suite), f"--out={NAME}", **around)  # type: ignore[arg-type]
    assert done.returncode == 0 and "1/1 gr" in done.stdout, done.stderr
    assert mixbench("status", "--", NAME, **around).stdout.endswith("1 done\n")  # type: ignore[arg-type]
    assert mixbench("report", "--json", "--", NAME, **around).returncode == 0  # type: ignore[arg-type]
    assert [path.name for path in (tmp_path / "here").iterdir()] == [NAME]
    [record] = collect(Run(tmp_path / "here" / NAME)).records
    assert record.label == "größe 🙂" and record.started_at.endswith("+00:00")
    assert "größe 🙂" in (tmp_path / "here" / NAME / "report.html").read_text(encoding="utf-8")


def test_a_home_that_is_read_only_is_no_obstacle(disk: Path, tmp_path: Path) -> None:
    suite = write_suite(tmp_path, measure=["accuracy"])
    freeze(disk)
    done = mixbench("run", str(suite), "--cluster", "debug", "--json", cwd=tmp_path, HOME=str(disk))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["trials"]["done"] == 1


@pytest.mark.parametrize("streams", [">&- 2>&- <&-", "2>/dev/full | true"])
def test_a_run_goes_on_where_nobody_hears_it_and_no_home_is_named(streams: str, tmp_path: Path) -> None:
    write_suite(tmp_path, measure=["complexity"])
    run = f"{sys.executable} -m mixbench run small.yaml --cluster debug {streams}"
    command = f"unset {' '.join(CACHES)}; {run}; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, timeout=DEADLINE)
    assert done.stdout == "0\n" and "Traceback" not in done.stderr and "Exception" not in done.stderr, done.stderr
    assert collect(Run(tmp_path / "runs" / "small")).counts["done"] == 1


def test_a_status_that_cannot_be_written_is_no_traceback(tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m mixbench list models >/dev/full"], capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr == "mixbench: No space left on device\n"


def test_a_terminal_that_is_closed_stops_the_run_and_loses_nothing(tmp_path: Path) -> None:
    keys = {"models": [SMALL["mixer"], "hangs"], "plugins": [str(FAULTY)], "measure": ["accuracy"]}
    suite, run, hanging = write_suite(tmp_path, **keys), tmp_path / "run", tmp_path / "hanging"
    ours, theirs = pty.openpty()

    def take_terminal() -> None:
        os.setsid()
        fcntl.ioctl(theirs, termios.TIOCSCTTY, 0)

    process = subprocess.Popen(
        [sys.executable, "-m", "mixbench", "run", str(suite), "--out", str(run)],
        env=os.environ | {"HANGING": str(hanging)},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        preexec_fn=take_terminal,
    )
    os.close(theirs)
    try:
        wait_for(lambda: hanging.exists() or process.poll() is not None, "the second trial to begin")
        os.close(ours)  # the kernel sends SIGHUP, and whatever is written then fails
        assert process.wait(DEADLINE) == 130
    finally:
        process.kill()
    assert holder(run / "lock") is None
    assert collect(Run(run)).counts == {"done": 1, "failed": 0, "running": 0, "pending": 1}


CLOCK = """
import time
real, calls = time.time, [0]
def jumping():
    calls[0] += 1
    return real() - 3600.0 * calls[0]
time.time = jumping
"""


def test_durations_do_not_follow_a_clock_that_jumps_back_an_hour_at_each_look(tmp_path: Path) -> None:
    suite = write_suite(tmp_path, measure=["throughput", "accuracy"])
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "sitecustomize.py").write_text(CLOCK)
    path = os.pathsep.join([str(tmp_path / "path"), str(Path(__file__).parent.parent)])
    done = mixbench("run", str(suite), "--cluster", "debug", "--out", "run", cwd=tmp_path, PYTHONPATH=path)
    assert done.returncode == 0, done.stderr
    [record] = collect(Run(tmp_path / "run")).records
    assert record.details.throughput is not None and record.details.curve is not None
    steps = record.details.throughput.infer_step_ms + record.details.throughput.train_step_ms
    assert all(0 < step < 60_000 for step in steps)
    assert all(0 < epoch.seconds < 60 for epoch in record.details.curve.epochs)
    assert (tmp_path / "run" / "report.html").exists()


def test_a_trial_that_ended_before_it_began_by_a_clock_set_back_is_reported(tmp_path: Path) -> None:
    trial = fake_runs.trial()
    times = {"started_at": "2026-11-20T11:00:00+00:00", "finished_at": "2026-11-20T09:00:00+00:00"}
    run = fake_runs.write_run(tmp_path / "run", [trial], [fake_runs.done(trial, 90.0, **times)])
    assert len(write(run)) > 3 and collect(run).counts["done"] == 1
