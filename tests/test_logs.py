"""`mixbench logs`: which trial is meant, what a local run's processes printed, files that are replaced meanwhile."""

import json
from pathlib import Path

from mixbench.cli.logs import Tail, find_trial
from mixbench.run.folder import Run
from tests import fake_runs
from tests.shell import Shell
from tests.trials import SMALL, write_suite

FAULTY = Path(__file__).with_name("faulty.py")


def read(tail: Tail, path: Path) -> bytes:
    return b"".join(tail.new(path))


def test_a_tail_gives_what_was_appended_and_all_of_a_file_that_was_replaced_or_cut(tmp_path: Path) -> None:
    tail, log, other = Tail(), tmp_path / "log", tmp_path / "other"
    log.write_bytes(b"one\n\xff half a line")
    other.write_bytes(b"another file")
    assert read(tail, log) == b"one\n\xff half a line"
    assert read(tail, other) == b"another file"
    with log.open("ab") as file:
        file.write(b", the rest\n")
    assert read(tail, log) == b", the rest\n"
    assert read(tail, log) == b""
    log.rename(tmp_path / "log.1")
    log.write_bytes(b"a new file that is longer than the one before it was\n")
    assert read(tail, log) == b"a new file that is longer than the one before it was\n"
    log.write_bytes(b"cut\n")
    assert read(tail, log) == b"cut\n"
    assert read(tail, other) == b""


def test_a_trial_is_named_by_its_id_its_beginning_or_a_pattern(tmp_path: Path) -> None:
    run = fake_runs.full_run(tmp_path / "run")
    ids = run.trial_ids()
    assert [find_trial(run, each) for each in ids] == ids
    [ii] = [each for each in ids if each.startswith("splitmixer_ii_256_8-") and "-s1-" in each]
    assert find_trial(run, "splitmixer_ii_256_8-cifar10-s1") == ii
    assert find_trial(run, "splitmixer_ii_*-s1-*") == ii


def test_a_trial_that_is_not_there_or_one_of_several_is_said_so(mixbench: Shell, tmp_path: Path) -> None:
    run = fake_runs.full_run(tmp_path / "run")
    code, out, err = mixbench("logs", run.folder, "splitmixer_ii_256_8")
    alike = [each for each in run.trial_ids() if each.startswith("splitmixer_ii_256_8")]
    assert (code, out) == (2, "") and len(alike) == 2
    assert err == f'mixbench: "splitmixer_ii_256_8" may be any of:\n  {alike[0]}\n  {alike[1]}\n'
    assert mixbench("logs", run.folder, "*")[2].endswith("\n  and 8 more\n")
    code, out, err = mixbench("logs", run.folder, alike[0].replace("mixer", "mixr"))
    assert (code, out) == (2, "") and f"(did you mean {alike[0]}" in err
    assert mixbench("logs", tmp_path, "a")[::2] == (
        2,
        f"mixbench: {tmp_path} is not a run folder: it has no plan.json\n",
    )


def test_a_trial_that_was_not_started_has_no_log(mixbench: Shell, tmp_path: Path) -> None:
    trial = fake_runs.trial("convmixer_256_8", 0)
    run = fake_runs.write_run(tmp_path / "run", [trial], [])
    assert mixbench("logs", run.folder, trial.id) == (
        2,
        "",
        f"mixbench: {trial.id} has not been started: it is in no job\n",
    )


def test_a_local_runs_log_is_that_of_the_job_that_had_the_trial_last(mixbench: Shell, tmp_path: Path) -> None:
    """A process that dies takes no other trial with it: the next job has those."""
    suite = write_suite(
        tmp_path, models=["dies", "raises", SMALL["mixer"]], plugins=[str(FAULTY)], measure=["accuracy"]
    )
    run = Run(tmp_path / "run")
    code, out, _ = mixbench("run", suite, "--out", run.folder)
    dies, raises, mixer = run.planned()
    what = "2 trials failed; the same command tries again; what the first printed"
    assert code == 1 and f"{what}: mixbench logs {run.folder} {dies}\n" in out
    given = [json.loads((run.jobs / number / "trials.json").read_text()) for number in ("0001", "0002")]
    assert given == [[dies, raises, mixer], [raises, mixer]]
    code, out, err = mixbench("logs", run.folder, raises)
    assert code == 0 and "Starting with JobEnvironment" in out
    assert err.startswith(f"mixbench: {raises} failed: RuntimeError: a tensor of the wrong size <b>&\nTraceback ")
    assert mixbench("logs", run.folder, mixer) == (0, out, ""), "one process measured both"
    code, first, err = mixbench("logs", run.folder, "dies", "--follow")
    assert code == 0 and first != out and err.startswith(f"mixbench: {dies}: it is failed\n")
    code, out, err = mixbench("logs", run.folder, "dies", "--rank", "1")
    assert (code, out, err) == (2, "", 'mixbench: --rank "1": the trial\'s processes are 0\n')
