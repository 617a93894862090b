"""The doctor: every check has its line, and stdout holds nothing else."""

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from mixbench.launch import checks
from mixbench.launch.slurm.doctor import gpus_of

CHECKS = [
    "python", "mixbench", "torch", "torchvision", "deepspeed", "submitit", "ptflops",
    "environment", "device", "models", "DeepSpeed engine", "data", "writable",
]  # fmt: skip


def test_every_check_is_good_here_with_a_suites_data_and_json_alone_is_on_stdout(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mixbench", "doctor", "quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    rows = json.loads(done.stdout)
    assert done.returncode == 0, rows
    assert [row["check"] for row in rows] == [*CHECKS[:-1], "data: digits", CHECKS[-1]]
    assert all(row["ok"] for row in rows)
    found = {row["check"]: row["found"] for row in rows}
    assert found["DeepSpeed engine"].startswith("one training step with ")
    assert found["writable"] == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_check_that_fails_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from mixbench.cli import main

    def broken() -> str:
        print("a library's chatter")
        raise OSError("no [red]compiler[/]")

    monkeypatch.setattr(checks, "_engine", broken)
    monkeypatch.setattr(checks, "installed", lambda name: "" if name == "ptflops" else "1.0")
    monkeypatch.setattr(sys, "argv", ["mixbench", "doctor"])
    with pytest.raises(SystemExit) as end:
        main.main()
    out, err = capfd.readouterr()
    lines = {line.split("  ")[0]: line for line in out.splitlines()[1:]}
    assert end.value.code == 1
    assert list(lines) == CHECKS
    assert "FAILED  OSError: no [red]compiler[/]" in lines["DeepSpeed engine"]
    assert "FAILED  missing" in lines["ptflops"]
    assert " ok " in lines["writable"]
    assert err == "a library's chatter\n"


@pytest.mark.parametrize("width", [20, 40, 100])
def test_a_terminal_shows_good_checks_in_green_and_bad_ones_in_red(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    from mixbench.cli import checkup

    found = [checks.Check("torch", True, "2.15"), checks.Check("writable", False, "the home folder of nobody at all")]
    terminal = Console(file=io.StringIO(), width=width, force_terminal=True, color_system="standard")
    monkeypatch.setattr("mixbench.cli.terminal.console", lambda: terminal)
    monkeypatch.setattr(checkup, "checks", lambda suite: found)
    assert not checkup.print_checks(None, "local", Path(), 0.0, as_json=False)
    stream = terminal.file
    assert isinstance(stream, io.StringIO)
    assert "\x1b[32mok" in stream.getvalue()
    assert "\x1b[1;31mFAILED" in stream.getvalue()


def test_what_c_code_prints_to_stdout_goes_to_stderr(capfd: pytest.CaptureFixture[str]) -> None:
    import os

    with checks._stdout_as_stderr():
        os.write(1, b"from C\n")
    os.write(1, b"ours\n")
    assert capfd.readouterr() == ("ours\n", "from C\n")


def test_a_cluster_is_examined_from_where_its_commands_are(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from mixbench.cli import main

    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["mixbench", "doctor", "--cluster", "slurm/testbed.yaml"])
    with pytest.raises(SystemExit) as end:
        main.main()
    out, _ = capfd.readouterr()
    assert end.value.code == 1
    assert [line.split()[0] for line in out.splitlines()[1:]] == [*CHECKS[:7], "SLURM"]
    assert "FAILED  sbatch is not on this machine's PATH: submit from a login node of the cluster" in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("resources", "kind", "count"),
    [
        ("gpu:2", "", 2),
        ("gpu:a100:4(S:0-1),gpu:v100:2", "", 6),
        ("gpu:a100:4(S:0-1),gpu:v100:2", "v100", 2),
        ("gpu:a100:4", "h100", 0),
        ("gpu:2", "a100", 0),
        ("(null)", "", 0),
    ],
)
def test_a_nodes_gpus_of_a_kind_are_counted(resources: str, kind: str, count: int) -> None:
    assert gpus_of(resources, kind) == count
