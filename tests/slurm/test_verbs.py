"""logs, cancel and doctor on a real SLURM: what they say of jobs in every state, and what they leave behind."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixbench.launch.slurm.jobs import jobs, read_array
from mixbench.system.host import installed
from tests.slurm.runs import Training
from tests.slurm.test_cluster_runs import mixbench
from tests.slurm.testbed import Slurm, until
from tests.trials import write_suite

pytestmark = pytest.mark.slow
LATER = {"begin": "now+1hour"}


def in_queue(slurm: Slurm) -> list[str]:
    return slurm.run("squeue", "--noheader", "--format=%i").split()


def test_a_pending_job_is_told_of_and_cancelled_and_nobody_elses(slurm: Slurm, tmp_path: Path) -> None:
    other = slurm.submit("sleep 600", tmp_path / "other", "--begin=now+1hour")
    earlier = slurm.submit("true", tmp_path / "done")
    slurm.until_job(earlier, "COMPLETED", 30)
    far: dict[str, Any] = {
        "clusters": "testbed",
        "srun": {"mpi": "none"},
        "dependency": f"after:{earlier}",
    }  # this one, by its name
    training = Training.of(slurm, tmp_path / "a", sbatch=LATER, **far)
    out, trial_id = training.out, ""
    assert mixbench(slurm, *training.command[3:], "--detach").returncode == 0
    trial_id = training.trial_id
    array = training.job.array.slurm_id

    assert slurm.run("squeue", "--noheader", "--format=%k", f"--jobs={array}") == f"{out}; 0: {trial_id}\n"
    throttled = mixbench(slurm, "throttle", out, "3")
    assert throttled.stdout == f"1 array of {out}: at most 3 at a time\n", throttled.stderr
    assert slurm.job(array)["ArrayTaskThrottle"] == "3"

    until(lambda: slurm.job(array)["Reason"], lambda reason: reason == "BeginTime", 60)  # given once it was looked at
    none = mixbench(slurm, "logs", out, "striding")
    assert (none.returncode, none.stdout) == (2, "")
    said = f"nothing was printed for {trial_id} yet: job {array}_0 is PENDING (BeginTime)"
    assert none.stderr == f"mixbench: {said}\n"
    follow = [sys.executable, "-m", "mixbench", "logs", str(out), trial_id, "--follow"]
    with subprocess.Popen(follow, env=slurm.environment, stderr=subprocess.PIPE, text=True) as following:
        assert following.stderr is not None and said in following.stderr.readline()
        following.send_signal(signal.SIGINT)
        assert (following.wait(20), following.stderr.read().strip()) == (130, "")

    unasked = mixbench(slurm, "cancel", out, PATH="/nowhere")
    assert unasked.returncode == 2
    assert unasked.stderr == (
        "mixbench: squeue is not on this machine's PATH; nothing was done, the same command tries again\n"
    )
    assert training.job.state().ended == "" and len(in_queue(slurm)) == 2

    done = mixbench(slurm, "cancel", out)
    kept = "records and checkpoints are kept, `mixbench run` goes on from them"
    assert (done.returncode, done.stdout) == (0, f"1 job cancelled (1 pending); {kept}\n"), done.stderr
    assert in_queue(slurm) == [other]
    again = mixbench(slurm, "cancel", out, "--json")
    assert (again.returncode, json.loads(again.stdout)) == (0, {"run": str(out), "cancelled": []})
    assert f"job {array}_0 has ended: cancelled" in mixbench(slurm, "logs", out, trial_id).stderr


def test_a_job_whose_number_nobody_wrote_down_is_read_followed_cancelled_and_goes_on_later(
    slurm: Slurm, tmp_path: Path
) -> None:
    training = Training.of(slurm, tmp_path)
    training.order("hold", "hold", 30)
    with training.started():
        training.until_held()
    number = training.job.array.slurm_id
    array = read_array(training.job.array_folder).model_copy(update={"slurm_id": ""})
    training.job.array_folder.array_file.write_text(array.model_dump_json())

    found = mixbench(slurm, "logs", training.out, "stri*", "--rank", "3")
    assert (found.returncode, found.stdout) == (0, "rank 3 is held\n")
    wrong = mixbench(slurm, "logs", training.out, "stri*", "--rank", "4")
    assert wrong.returncode == 2 and "has ranks 0 to 3, and batch" in wrong.stderr
    follow = [sys.executable, "-m", "mixbench", "logs", str(training.out), training.trial_id, "--follow"]
    pipes: dict[str, Any] = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen(follow, env=slurm.environment, **pipes) as following:
        assert following.stdout is not None
        lines = iter(following.stdout.readline, "")
        assert next(lines).startswith("striding digits seed 0: ")
        assert "rank 0 is held\n" in lines
        cancelled = mixbench(slurm, "cancel", training.out, "--json")
        assert json.loads(cancelled.stdout)["cancelled"] == [f"{number}_0"], cancelled.stderr
        _, said = following.communicate(timeout=30)
        assert following.returncode == 0 and said.endswith(" has ended: cancelled\n")
    assert in_queue(slurm) == []
    until(training.processes, lambda left: not left, 30)
    assert [job.state().ended for job in jobs(training.run)] == ["cancelled"]
    batch = mixbench(slurm, "logs", training.out, "striding", "--rank", "batch").stdout
    assert "CANCELLED" in batch
    assert training.run.readable(training.trial_id) is None and training.run.has_checkpoint(
        training.run.trial(training.trial_id)
    )
    assert training.run.progress(training.trial_id) is None

    training.cancel_orders()
    training.again()
    assert training.record().status == "done"
    assert [job.state().ended for job in jobs(training.run)] == ["cancelled", "done"]


def doctor(
    slurm: Slurm, folder: Path, profile: dict[str, Any], *words: str | Path, runs: Path | None = None
) -> tuple[int, dict[str, Any]]:
    """Its exit code, and what it found by check; it leaves nothing in the queue, nor where run folders are."""
    runs = runs or folder / "where 'runs' are"
    runs.mkdir(exist_ok=True)
    (folder / "profile.yaml").write_text(yaml.safe_dump({"partition": "main", "time": 60} | profile))
    done = mixbench(slurm, "doctor", *words, "--cluster", folder / "profile.yaml", "--out", runs, "--json")
    assert "Traceback" not in done.stderr
    assert list(runs.iterdir()) == [] and in_queue(slurm) == []
    rows = json.loads(done.stdout)
    return done.returncode, {row["check"]: row["found"] if row["ok"] else f"FAILED {row['found']}" for row in rows}


def test_the_doctor_finds_the_testbed_well(slurm: Slurm, tmp_path: Path) -> None:
    suite = write_suite(tmp_path, resources={"nodes": 2, "processes_per_node": 2}, recipe={"global_batch_size": 64})
    code, found = doctor(slurm, tmp_path, {"memory": "3G", "environment": {"OMP_NUM_THREADS": 1}}, suite)
    assert code == 0, found
    host = found["compute node"].split()[-1]
    assert host in ("n1", "n2", "n3")
    assert found["nodes"] == "3 of 3 have 2 CPUs, 3G, 0 GPUs, for 2 processes each"
    assert found["sbatch"] == "takes jobs of 2 × 2 processes"
    assert found["data"] == found["data there"] == "digits"
    assert found["Python there"].endswith(sys.executable)
    assert found["DeepSpeed there"] == "one training step with gloo; nothing had to be compiled"
    first, _, second, backend, _, _ = found["rendezvous"].split()
    assert {first, second.rstrip(",")} < {"n1", "n2", "n3"} and backend == "gloo,"


def test_the_doctor_names_each_thing_that_is_wrong_on_a_node(slurm: Slurm, tmp_path: Path) -> None:
    other = tmp_path / "other/ptflops-0.0.1.dist-info"
    other.mkdir(parents=True)
    (other / "METADATA").write_text("Metadata-Version: 2.1\nName: ptflops\nVersion: 0.0.1\n")
    (tmp_path / "a file").touch()
    wrong = {"gpus_per_node": 2, "network_interface": "ib7", "scratch": str(tmp_path / "a file")}
    code, found = doctor(slurm, tmp_path, wrong | {"environment": {"PYTHONPATH": str(other.parent)}})
    assert code == 1
    bad = {check: text for check, text in found.items() if text.startswith("FAILED ")}
    assert list(bad) == ["packages there", "GPU there", "scratch there", "DeepSpeed there", "rendezvous"]
    assert bad["packages there"] == f"FAILED ptflops 0.0.1, here {installed('ptflops')}"
    assert "1 was asked for, and torch sees none (CUDA_VISIBLE_DEVICES: " in bad["GPU there"]
    assert "NotADirectoryError" in bad["scratch there"]
    assert "network_interface: this node has no ib7; it has " in bad["rendezvous"]


def test_the_doctor_says_why_a_probe_did_not_run(slurm: Slurm, tmp_path: Path) -> None:
    code, found = doctor(slurm, tmp_path, {"sbatch": LATER}, "--wait", "3")
    assert code == 1
    assert "was still PENDING (BeginTime) after " in found["compute node"]
    assert found["compute node"].endswith("and was cancelled; --wait has it wait longer")
    assert found["compute node"].startswith("FAILED job ") and found["rendezvous"].startswith("FAILED job ")

    code, found = doctor(slurm, tmp_path, {"python": "/nowhere/python"})
    assert code == 1
    assert "ended on n" in found["compute node"] and "/nowhere/python" in found["compute node"]

    code, found = doctor(slurm, tmp_path, {"account": "nobody", "cpus_per_task": 8, "memory": "64G", "time": 90})
    assert code == 1 and "compute node" not in found
    assert "a job needs 1 node with 8 CPUs, 64G, 0 GPUs each; 0 of 3 in the partition have that, " in found["nodes"]
    assert "Invalid account" in found["sbatch"]

    assert doctor(slurm, tmp_path, {"partition": "man"})[1]["partition"] == (
        "FAILED none is called 'man' (did you mean main?)"
    )


def test_the_doctor_sees_that_a_node_does_not_see_the_run_folder(slurm: Slurm, tmp_path: Path) -> None:
    blind = Path("/dev/shm") / f"mixbench-{tmp_path.name}"  # each node has its own
    try:
        code, found = doctor(slurm, tmp_path, {}, runs=blind)
    finally:
        blind.rmdir()
    assert code == 1
    assert f"it left nothing in {blind}: do compute nodes see that folder?" in found["compute node"]


def test_a_doctor_that_is_interrupted_leaves_nothing(slurm: Slurm, tmp_path: Path) -> None:
    (tmp_path / "profile.yaml").write_text(yaml.safe_dump({"time": 60, "sbatch": LATER}))
    runs = tmp_path / "runs"
    runs.mkdir()
    words = ["doctor", "--cluster", str(tmp_path / "profile.yaml"), "--out", str(runs)]
    pipes: dict[str, Any] = dict(stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with subprocess.Popen([sys.executable, "-m", "mixbench", *words], env=slurm.environment, **pipes) as process:
        until(lambda: in_queue(slurm), lambda found: len(found) == 2, 60)
        process.terminate()
        out, said = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "") and "Traceback" not in said
    assert in_queue(slurm) == [] and list(runs.iterdir()) == []
