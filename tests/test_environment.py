"""Environment variables of ours, and those that break a library; the working folder, which nothing is imported from."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from mixbench.data.locations import cache_folders, data_root
from mixbench.errors import RequestError
from mixbench.launch.checks import checks
from mixbench.measure.recorder import error_text
from mixbench.system import environment
from tests.shell import Shell
from tests.small_sets import write_tree
from tests.trials import RECIPE, write_suite

DEADLINE = 300


def mixbench_in(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """The command line as a console script starts it, with no folder of the caller's on its import path."""
    command = [sys.executable, "-P", "-m", "mixbench", *words]
    return subprocess.run(
        command, cwd=folder, env=os.environ | variables, capture_output=True, text=True, timeout=DEADLINE
    )


def test_a_run_imports_nothing_from_its_working_folder_and_needs_no_short_temporary_folder(tmp_path: Path) -> None:
    """Neither modules of the standard library's names, nor another checkout of mixbench, nor by an empty PYTHONPATH."""
    write_tree(tmp_path / "images", {"a": (8, 4), "b": (8, 4)})
    images = {"name": "mine", "image_folder": "images", "image_size": 8}
    write_suite(tmp_path, datasets=[images], recipe=RECIPE | {"global_batch_size": 4}, measure=["accuracy"])
    for name in ("statistics", "random", "selectors", "torch", "submitit"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit(f'{__name__} of the working folder')")
    (tmp_path / "mixbench").mkdir()
    (tmp_path / "mixbench" / "__init__.py").write_text("raise SystemExit('another checkout')")
    long = tmp_path / ("t" * 100)
    long.mkdir()
    done = mixbench_in(tmp_path, "run", "small.yaml", "--out", "run", PYTHONPATH="", TMPDIR=str(long))
    assert done.returncode == 0, done.stdout + done.stderr
    said = f"mixbench: TMPDIR has {len(str(long))} characters, sockets in it allow 70: "
    assert done.stderr.startswith(said) and done.stderr.endswith(" is used instead\n")


def test_processes_started_by_a_checkout_import_that_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    root = str(Path(environment.__file__).parents[2])
    monkeypatch.setattr(sys, "path", [root, *sys.path])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(["", "/of/mine", ""]))
    environment.prepare()
    assert os.environ["PYTHONPATH"] == f"{root}{os.pathsep}/of/mine", "an empty entry is the working folder"
    assert os.environ["PYTHONSAFEPATH"] == "1"


def test_a_path_may_begin_with_a_tilde_and_is_the_same_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/of/mine")
    monkeypatch.setenv("MIXBENCH_DATA", "~/d")
    monkeypatch.setenv("MIXBENCH_CACHE", "c")
    assert data_root() == Path("/home/of/mine/d") and cache_folders() == [Path("c").absolute()]
    environment.prepare()
    assert os.environ["MIXBENCH_DATA"] == "/home/of/mine/d" and os.environ["MIXBENCH_CACHE"] == os.path.abspath("c")


@pytest.mark.parametrize("columns", ["0", "00", "-1", "x", ""])
def test_a_width_of_no_columns_is_as_none(mixbench: Shell, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    wide = mixbench("list", "datasets")
    monkeypatch.setenv("COLUMNS", columns)
    assert mixbench("list", "datasets") == wide and wide[1]


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("TORCHINDUCTOR_COMPILE_THREADS", "x", "is 'x': a number of processes is wanted"),
        ("DEEPSPEED_TIMEOUT", "x", "is 'x': a whole number of minutes is wanted"),
        ("OMP_NUM_THREADS", "0", "is '0': a number of threads is wanted"),
        ("MKL_NUM_THREADS", "two", "is 'two': a number of threads is wanted"),
        ("CUDA_VISIBLE_DEVICES", "all", "is 'all': numbers of GPUs, or their names, are wanted: 0,1"),
    ],
)
def test_a_wrong_variable_is_named_before_a_run_begins_and_by_doctor(
    mixbench: Shell, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str, wanted: str
) -> None:
    monkeypatch.setenv(name, value)
    status, out, err = mixbench("run", write_suite(tmp_path), "--out", tmp_path / "run")
    assert (status, out, err) == (2, "", f"mixbench: the environment variable {name} {wanted}\n")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OMP_NUM_THREADS", "4, 2"),
        ("OMP_NUM_THREADS", ""),
        ("CUDA_VISIBLE_DEVICES", "0,1"),
        ("CUDA_VISIBLE_DEVICES", ""),
        ("CUDA_VISIBLE_DEVICES", "-1"),
        ("CUDA_VISIBLE_DEVICES", "NoDevFiles"),
        ("CUDA_VISIBLE_DEVICES", "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6"),
        ("CUDA_VISIBLE_DEVICES", "MIG-GPU-8932f937-d72c-4106-c12f-20bd9faed9f6/1/2"),
    ],
)
def test_a_right_variable_passes(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    environment.check()


def test_doctor_names_a_wrong_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEEPSPEED_TIMEOUT", "x")
    [found] = [check for check in checks() if check.check == "environment"]
    assert not found.ok and "DEEPSPEED_TIMEOUT" in found.found


def test_a_library_that_a_variable_breaks_is_no_traceback(tmp_path: Path) -> None:
    write_suite(tmp_path)
    done = mixbench_in(tmp_path, "validate", "small.yaml", NUMPY_MADVISE_HUGEPAGE="x")
    assert done.returncode == 2 and done.stderr == (
        "mixbench: NUMPY_MADVISE_HUGEPAGE='x' in the environment: "
        "ValueError: invalid literal for int() with base 10: 'x'\n"
    )


def reads_a_level(text: str) -> None:
    """As a library does."""
    if (level := os.environ.get("LEVEL_OF_MINE", "1")) not in ("1", "2"):
        raise ValueError(text.format(level))
    raise RuntimeError("shape [1, 2] is wrong")


@pytest.mark.parametrize(
    ("value", "text", "named"),
    [
        ("loud", "Unknown level: {!r}", True),
        ("loud", "unknown level LOUD, choose another", True),
        ("77", "invalid literal for int() with base 10: {!r}", True),
        ("", "invalid literal for int() with base 10: {!r}", True),
        ("/root", "no such file: /root/x", False),
        ("77", "a shape of 77 is wrong", False),
        ("1", "", False),
    ],
)
def test_only_an_error_about_a_variable_names_it(
    monkeypatch: pytest.MonkeyPatch, value: str, text: str, named: bool
) -> None:
    monkeypatch.setenv("LEVEL_OF_MINE", value)
    with pytest.raises((ValueError, RuntimeError)) as raised:
        reads_a_level(text)
    message, _ = error_text(raised.value)
    assert message.startswith(f"LEVEL_OF_MINE={value!r} in the environment: ") == named
    assert message.endswith(f"{type(raised.value).__name__}: {raised.value}")


def test_a_user_without_a_home_or_a_name_runs_a_suite(tmp_path: Path) -> None:
    """As in a container started with --user."""
    unknown = ["unshare", "--user", "--map-user=54321"]
    if not shutil.which("unshare") or subprocess.run([*unknown, "true"], capture_output=True).returncode:
        pytest.skip("no user namespace can be made here")
    suite = write_suite(tmp_path, measure=["complexity"])
    nameless = ["env", "-u", "HOME", "-u", "USER", "-u", "LOGNAME", *unknown, sys.executable, "-P", "-m", "mixbench"]
    run = subprocess.run(
        [*nameless, "run", str(suite), "--cluster", "debug"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    home = Path(tempfile.gettempdir()) / "mixbench-54321"
    try:
        assert run.returncode == 0, run.stdout + run.stderr
        assert f"mixbench: this user has no home folder ($HOME is not set): {home} is used" in run.stderr
        assert home.stat().st_mode & 0o77 == 0
        data = subprocess.run([*nameless, "data", "list", "--json"], capture_output=True, text=True, timeout=DEADLINE)
        assert data.returncode == 0 and str(home) in data.stdout
    finally:
        shutil.rmtree(home, ignore_errors=True)


def test_a_home_of_another_user_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / f"mixbench-{os.getuid()}").symlink_to("elsewhere")
    with pytest.raises(RequestError, match=r"has no home folder, and .* is another's: set \$HOME"):
        environment.prepare()
