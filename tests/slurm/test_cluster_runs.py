"""Runs on a real SLURM: leaving the jobs alone, hundreds of trials, what status says when a source is missing."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixbench.launch.slurm.jobs import jobs, rank_statuses
from mixbench.run.folder import Run
from tests.slurm.runs import Training
from tests.slurm.testbed import Slurm, until
from tests.trials import SMALL, write_suite

pytestmark = pytest.mark.slow
FAULTY = Path(__file__).parents[1] / "faulty.py"
PROFILE: dict[str, Any] = {"partition": "main", "memory": "1500M", "time": 20, "environment": {"OMP_NUM_THREADS": 1}}


def mixbench(slurm: Slurm, *words: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mixbench", *map(str, words)]
    return subprocess.run(
        command, env=slurm.environment | environment, capture_output=True, text=True, timeout=300, check=False
    )


def prepare(folder: Path, suite: dict[str, Any], **profile: Any) -> tuple[list[str | Path], Run]:
    """The words that run such a suite, and its run."""
    (folder / "profile.yaml").write_text(yaml.safe_dump(PROFILE | profile))
    run = Run(folder / "run")
    words: list[str | Path] = [
        "run",
        write_suite(folder, **suite),
        "--cluster",
        folder / "profile.yaml",
        "--out",
        run.folder,
    ]
    return words, run


def status(slurm: Slurm, run: Run, **environment: str) -> dict[str, Any]:
    done = mixbench(slurm, "status", run.folder, "--json", **environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_detached_jobs_finish_the_run_and_the_last_one_makes_the_report(slurm: Slurm, tmp_path: Path) -> None:
    models = [SMALL["mixer"], "raises", "dies"]
    suite = {"models": models, "plugins": [str(FAULTY)], "measure": ["complexity", "accuracy"], "seeds": [0, 1]}
    words, run = prepare(tmp_path, suite, trials_per_job=3, requeue={"failures": 0})
    done = mixbench(slurm, *words, "--detach")
    assert done.returncode == 0 and "6 trials submitted" in done.stdout, done.stdout + done.stderr
    assert not (run.folder / "report.html").exists()
    until((run.folder / "report.html").exists, bool, 200)
    found = [record for trial_id in run.planned() if (record := run.readable(trial_id))]
    states = sorted((record.model.partition("[")[0], record.seed, record.status, record.error) for record in found)
    assert [state[:3] for state in states] == [
        (model, seed, how)
        for model, how in [("dies", "failed"), ("mixer_s4", "done"), ("raises", "failed")]
        for seed in (0, 1)
    ]
    assert all(
        re.match(r"rank 0 of 1 died on n\d: Exited with exit code 7 \(1 times", error) for *_, error in states[:2]
    )
    assert {error for *_, error in states[4:]} == {"RuntimeError: a tensor of the wrong size <b>&"}
    assert [job.state().ended for job in jobs(run)] == ["done", "done"]
    number = next(jobs(run)).array.slurm_id
    ended = until(lambda: slurm.accounts(number), lambda found: "RUNNING" not in found.values(), 60)
    assert [ended[f"{number}_{index}"] for index in (0, 1)] == ["FAILED", "FAILED"], "each had one that failed"
    assert status(slurm, run)["counts"] == {"done": 2, "failed": 4, "running": 0, "pending": 0}
    assert (run.folder / "results.csv").read_text().count("\n") == 7


def test_what_the_queue_has_no_room_for_is_submitted_by_the_jobs_that_end(slurm: Slurm, tmp_path: Path) -> None:
    words, run = prepare(tmp_path, {"measure": ["complexity"], "seeds": [0, 1, 2]}, trials_per_job=1)
    limit = ("sacctmgr", "-i", "modify", "user", "root", "set")
    slurm.run(*limit, "MaxSubmitJobs=2")
    try:
        done = mixbench(slurm, *words, "--detach")
        assert done.returncode == 0, done.stderr
        said = "2 trials submitted, SLURM's queue has no room for 1 trial now (AssocMaxSubmitJobLimit)"
        assert said in done.stdout and "sbatch: error" not in done.stderr
        page = run.folder / "report.html"  # of two trials, where the third waits for room yet
        until(lambda: page.exists() and "3 of 3 trials done" in page.read_text(encoding="utf-8"), bool, 150)
    finally:
        slurm.run(*limit, "MaxSubmitJobs=-1")
    assert status(slurm, run)["counts"]["done"] == 3
    assert sorted(each for job in jobs(run) for each in job.trials) == sorted(run.planned())
    assert {job.state().ended for job in jobs(run)} == {"done"}


def test_the_report_of_a_run_on_several_nodes_is_made_by_a_job_of_one(slurm: Slurm, tmp_path: Path) -> None:
    words, run = prepare(tmp_path, {"measure": ["complexity"]}, nodes=2, cpus_per_task=2)
    assert mixbench(slurm, *words, "--detach").returncode == 0
    until((run.folder / "report.html").exists, bool, 150)
    first, second = jobs(run)
    assert (first.world_size, second.world_size, second.trials) == (2, 1, ())
    until(lambda: slurm.job(second.slurm_id)["JobState"], lambda state: state == "COMPLETED", 30)
    assert slurm.job(first.slurm_id)["JobState"] == "COMPLETED" and slurm.job(second.slurm_id)["NumNodes"] == "1"


def test_hundreds_of_trivial_trials_are_each_recorded_once(slurm: Slurm, tmp_path: Path) -> None:
    suite = {"seeds": list(range(300)), "measure": ["complexity"]}
    words, run = prepare(tmp_path, suite, trials_per_job=50)
    begun = time.monotonic()
    assert mixbench(slurm, *words, "--detach").returncode == 0
    submitted = time.monotonic() - begun
    assert len(list(run.folder.glob("jobs/*/array.json"))) == 1 and len(list(jobs(run))) == 6
    until((run.folder / "report.html").exists, bool, 240)
    whole = time.monotonic() - begun
    begun = time.monotonic()
    found = status(slurm, run)
    asked = time.monotonic() - begun
    assert found["counts"] == {"done": 300, "failed": 0, "running": 0, "pending": 0}
    assert len({row["trial_id"] for row in found["trials"]}) == 300
    taken = [trial_id for job in jobs(run) for trial_id in job.trials]
    assert sorted(taken) == sorted(run.planned()), "none twice"
    print(f"300 trials: submitted in {submitted:.1f} s, all in {whole:.1f} s, {whole / 300:.3f} s each; {asked=:.2f}")


def test_status_is_right_when_a_source_is_missing(slurm: Slurm, tmp_path: Path) -> None:
    training = Training.of(slurm, tmp_path)
    training.order("hold", "hold", 30)
    with training.started():
        training.until_held()
    run = training.run
    assert status(slurm, run)["counts"]["running"] == 1
    nowhere = tmp_path / "slurm.conf"
    nowhere.write_text(
        re.sub(r"SlurmctldPort=\d+", "SlurmctldPort=1", Path(slurm.environment["SLURM_CONF"]).read_text())
    )
    blind = status(slurm, run, SLURM_CONF=str(nowhere))
    assert blind["slurm"]["cannot_be_asked"] and blind["counts"]["running"] == 1, "as the run folder says"
    without = {"PATH": str(Path(sys.executable).parent)}
    assert "squeue is not on" in status(slurm, run, **without)["slurm"]["cannot_be_asked"]
    again = mixbench(slurm, *training.command[3:], SLURM_CONF=str(nowhere))
    assert again.returncode == 2 and "nothing was submitted" in again.stderr
    local = mixbench(slurm, "run", training.suite, "--out", training.out, "--set", "resources.processes_per_node=2")
    assert local.returncode == 2 and "has 1 job in SLURM's queue" in local.stderr
    slurm.run("scancel", training.job.slurm_id)
    until(training.processes, lambda pids: not pids, 60)
    until(lambda: status(slurm, run)["counts"], lambda counts: counts["pending"] == 1, 30)


def test_the_ranks_of_two_jobs_on_one_node_meet_each_other_and_nobody_else(slurm: Slurm, tmp_path: Path) -> None:
    suite = {"seeds": [0, 1], "measure": ["accuracy"], "resources": {"nodes": 2, "processes_per_node": 1}}
    recipe = {"epochs": 1, "global_batch_size": 70, "optimizer": {"name": "sgd", "lr": 0.05}}
    more = {"sbatch": {"nodelist": "n1,n2"}, "gpus_per_node": 2, "scratch": "$TMPDIR/scratch"}
    words, run = prepare(tmp_path, suite | {"recipe": recipe}, trials_per_job=1, network_interface="lo", **more)
    (tmp_path / "scratch").mkdir()
    done = mixbench(slurm, *words, TMPDIR=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    first, second = jobs(run)
    hosts = [[status.host for status in rank_statuses(job.folder.attempt(0))] for job in (first, second)]
    assert hosts == [["n1", "n2"], ["n1", "n2"]]
    meetings = [json.loads(job.folder.attempt(0).meeting_file.read_text()) for job in (first, second)]
    low = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(meeting["host"] == "127.0.0.1" and meeting["port"] < low for meeting in meetings)
    assert len({meeting["port"] for meeting in meetings}) == 2
    assert list((tmp_path / "scratch").iterdir()) == [], "caches on the node's disk are gone with the job"


def test_a_suite_that_the_cluster_cannot_run_is_refused_before_anything_is_written(
    slurm: Slurm, tmp_path: Path
) -> None:
    words, run = prepare(tmp_path, {"measure": ["complexity"]}, partition="gpu")
    done = mixbench(slurm, *words)
    assert done.returncode == 2 and "invalid partition specified: gpu" in done.stderr, done.stderr
    assert not list(run.jobs.iterdir())
    words, _ = prepare(tmp_path, {"measure": ["complexity"]}, memory="9000M", gpus_per_node=2)
    done = mixbench(slurm, *words)
    assert done.returncode == 2 and "sbatch refused the jobs" in done.stderr, done.stderr
    bare = {"PATH": os.pathsep.join([str(Path(sys.executable).parent)])}
    done = mixbench(slurm, *words, **bare)
    assert done.returncode == 2 and "sbatch is not on this machine's PATH" in done.stderr
    assert shutil.which("sbatch", path=bare["PATH"]) is None


def test_a_run_folder_may_have_any_name(slurm: Slurm, tmp_path: Path) -> None:
    words, _ = prepare(tmp_path, {"measure": ["complexity"]})
    odd = tmp_path / "a\nline; $(touch no) 'and' \"so\" ü 🙂"
    done = mixbench(slurm, *words[:-1], odd)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (odd / "report.html").exists() and not (tmp_path / "no").exists()
    refused = mixbench(slurm, *words[:-1], tmp_path / "100%x")
    assert refused.returncode == 2 and "SLURM reads % and \\ in paths in its own way" in refused.stderr


def test_what_a_shell_sets_for_slurms_commands_changes_nothing(slurm: Slurm, tmp_path: Path) -> None:
    words, run = prepare(tmp_path, {"measure": ["complexity"]})
    shell = {"SBATCH_JOB_NAME": "mine", "SBATCH_TIMELIMIT": "1", "SBATCH_NO_REQUEUE": "1", "SBATCH_PARTITION": "none"}
    shell |= {"SQUEUE_STATES": "COMPLETED", "SQUEUE_PARTITION": "urgent", "SLURM_MEM_PER_CPU": "1", "SLURM_NTASKS": "9"}
    done = mixbench(slurm, *words, **shell)
    assert done.returncode == 0 and "1/1" in done.stdout, done.stdout + done.stderr
    [job] = jobs(run)
    facts = slurm.job(job.slurm_id)
    assert (facts["Requeue"], facts["TimeLimit"], facts["JobName"]) == ("1", "00:20:00", job.array.name)


def test_the_report_is_made_though_a_job_left_the_queue_without_a_word(slurm: Slurm, tmp_path: Path) -> None:
    suite = {"measure": ["complexity"], "seeds": [0, 1]}
    words, run = prepare(tmp_path, suite, trials_per_job=1, array_parallelism=1)
    assert mixbench(slurm, *words, "--detach").returncode == 0
    slurm.run("scancel", list(jobs(run))[1].slurm_id)
    until((run.folder / "report.html").exists, bool, 120)
    assert status(slurm, run)["counts"] == {"done": 1, "failed": 0, "running": 0, "pending": 1}
    assert mixbench(slurm, *words).returncode == 0
    assert status(slurm, run)["counts"]["done"] == 2 and len(list(jobs(run))) == 3


def test_jobs_of_which_sbatch_cannot_say_whether_slurm_took_them_are_not_submitted_twice(
    slurm: Slurm, tmp_path: Path
) -> None:
    words, run = prepare(tmp_path, {"measure": ["complexity"]})
    unsure = tmp_path / "bin" / "sbatch"
    unsure.parent.mkdir()
    real = shutil.which("sbatch", path=slurm.environment["PATH"])
    unsure.write_text(
        f'#!/bin/sh\n{real} "$@" >/dev/null\necho "sbatch: error: Socket timed out on send/recv" >&2\nexit 1\n'
    )
    unsure.chmod(0o755)
    done = mixbench(slurm, *words, PATH=f"{unsure.parent}:{slurm.environment['PATH']}")
    assert done.returncode == 0 and "1/1" in done.stdout, done.stdout + done.stderr
    [job] = jobs(run)
    assert (
        job.array.slurm_id
        and slurm.run("squeue", "--noheader", "--states=all", f"--name={job.array.name}", "--array").count("\n") == 1
    )


def test_a_job_that_was_ended_before_it_began_measures_nothing(slurm: Slurm, tmp_path: Path) -> None:
    words, run = prepare(tmp_path, {"measure": ["complexity"]}, sbatch={"begin": "now+1hour"})
    assert mixbench(slurm, *words, "--detach").returncode == 0
    [job] = jobs(run)
    job.end("cancelled")
    slurm.run("scontrol", "update", f"JobId={slurm.job(job.slurm_id)['JobId']}", "StartTime=now")
    slurm.until_job(job.slurm_id, "FAILED", 120)  # what waits for it with afterok is not to begin
    assert run.record(*job.trials) is None, "it may be with another job by now"
