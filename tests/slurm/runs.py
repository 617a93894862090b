"""A run of mixbench on the testbed, held at a step, broken, and what it came to.

On 2 nodes: with 2 processes on each at ZeRO stage 0, with 1 at stage 1, as starting a process takes 6 s of a core.
"""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from mixbench.launch.slurm.jobs import RankStatus, SlurmJob, jobs, rank_statuses
from mixbench.run.folder import Run
from mixbench.run.record import Record
from tests.slurm.testbed import Slurm, until
from tests.trials import write_suite

STRIDING = Path(__file__).with_name("striding.py")
STEPS = 66  # three epochs of 22
PROFILE: dict[str, Any] = {
    "partition": "main",
    "nodes": 2,
    "memory": "3G",
    "time": 60,
    "signal_seconds": 20,
    "environment": {"OMP_NUM_THREADS": 1},
}
WITHIN = 150  # seconds in which what is waited for comes, on a machine that others keep busy


@dataclass(frozen=True)
class Training:
    """One trial's run on a testbed, in a folder of its own."""

    slurm: Slurm
    folder: Path
    suite: Path
    profile: Path
    out: Path
    ranks: int

    @classmethod
    def of(cls, slurm: Slurm, folder: Path, zero_stage: int = 0, out: Path | None = None, **profile: Any) -> "Training":
        folder.mkdir(exist_ok=True)
        suite = write_suite(
            folder,
            models=["striding"],
            plugins=[str(STRIDING)],
            measure=["accuracy"],
            recipe={
                "epochs": 3,
                "global_batch_size": 64,
                "zero_stage": zero_stage,
                "optimizer": {"name": "adamw", "lr": 0.01},
                "augment": {"flip": True, "mixup": 0.2},
            },
            checkpoint={"minutes": 0, "epochs": 1},
            keep_weights=True,
        )
        profile = PROFILE | {"processes_per_node": 1 if zero_stage else 2} | profile
        (folder / "profile.yaml").write_text(yaml.safe_dump(profile))
        ranks = profile["nodes"] * profile["processes_per_node"]
        return cls(slurm, folder, suite, folder / "profile.yaml", out or folder / "a 'run'; ünd \"so\"", ranks)

    @property
    def run(self) -> Run:
        return Run(self.out)

    @property
    def job(self) -> SlurmJob:
        """The job that was submitted last."""
        return list(jobs(self.run))[-1]

    @property
    def trial_id(self) -> str:
        return self.run.planned()[0]

    @property
    def environment(self) -> dict[str, str]:
        return self.slurm.environment | {"STRIDES": str(self.folder)}

    def order(self, order: str, what: str, step: int, attempts: int = 1) -> None:
        """`hold` or `fault` at that step in the first attempts of each job."""
        (self.folder / order).write_text(f"{what} {step} {attempts}")

    def cancel_orders(self) -> None:
        for order in ("hold", "fault"):
            (self.folder / order).unlink(missing_ok=True)

    @property
    def command(self) -> list[str]:
        return [
            sys.executable,
            "-m",
            "mixbench",
            "run",
            str(self.suite),
            "--cluster",
            str(self.profile),
            "--out",
            str(self.out),
        ]

    @contextmanager
    def started(self) -> Iterator["subprocess.Popen[str]"]:
        """The login process, which is killed where the test does not wait for its end."""
        pipes: dict[str, Any] = dict(stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        process = subprocess.Popen(self.command, env=self.environment, **pipes)
        try:
            yield process
        finally:
            process.kill()
            process.communicate()

    def ends(self, process: "subprocess.Popen[str]", code: int = 0, seconds: float = 240) -> str:
        """What the login process printed by its end."""
        printed, _ = process.communicate(timeout=seconds)
        assert process.returncode == code and "Traceback" not in printed, printed + self.logs()
        return printed

    def again(self, code: int = 0) -> str:
        with self.started() as process:
            return self.ends(process, code)

    def logs(self) -> str:
        """All that ranks and batch scripts printed: for a failing test to show."""
        return "".join(
            f"\n== {path.name}\n{path.read_text()[-3000:]}" for path in sorted(self.out.glob("jobs/*/*.log"))
        )

    def until_held(self) -> None:
        until(lambda: len(list(self.folder.glob("held-*"))), lambda count: count == self.ranks, WITHIN)

    def let_go(self) -> None:
        (self.folder / "go").touch()

    def until_signalled(self, attempt: int = 0, seconds: float = WITHIN) -> set[str]:
        """The signals that the ranks got, once all have."""

        def ranks() -> list[RankStatus]:
            return rank_statuses(self.job.folder.attempt(attempt)) if any(self.out.glob("jobs/*/array.json")) else []

        found = until(ranks, lambda found: len(found) == self.ranks and all(status.signal for status in found), seconds)
        return {status.signal for status in found}

    def limit(self, minutes: int) -> None:
        """Change the job's time limit, as an administrator may."""
        job = self.slurm.job(self.job.slurm_id)["JobId"]
        self.slurm.run("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")

    def restarts(self) -> int:
        return int(self.slurm.job(self.job.slurm_id)["Restarts"])

    def processes(self) -> list[int]:
        """Those of the run on all nodes, whose process ids this machine sees: by the folder that they work in."""
        found = []
        for link in Path("/proc").glob("[0-9]*/cwd"):
            try:
                folder = os.readlink(link)
            except OSError:
                continue
            if folder.startswith(str(self.run.jobs)):
                found.append(int(link.parent.name))
        return found

    def pid_of(self, rank: int) -> int:
        """The process of a rank, as this machine numbers it."""
        for pid in self.processes():
            facts = dict(line.split("=", 1) for line in environ(pid) if "=" in line)
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
            if (
                facts.get("SLURM_PROCID") == str(rank)
                and b"mixbench.launch.slurm.rank" in command
                and b"srun" not in command
            ):
                return pid
        raise AssertionError(f"rank {rank} runs nowhere")

    def outcome(self) -> tuple[dict[str, Any], str, list[str]]:
        """What the trial has come to: its figures, its weights, the files of its folder; no process is left."""
        until(self.processes, lambda pids: not pids, 60)
        record = self.record()
        assert record.status == "done" and record.details.curve is not None, record.error + self.logs()
        facts = record.model_dump(include={"top1", "top5", "test_loss", "train_loss", "epochs", "flags", "error"})
        facts["curve"] = [replace(epoch, seconds=0.0) for epoch in record.details.curve.epochs]
        facts["predictions"] = record.details.curve.predictions
        folder = self.run.trial_folder(self.trial_id)
        weights = hashlib.sha256(self.run.weights_file(self.trial_id).read_bytes()).hexdigest()
        return facts, weights, sorted(path.name for path in folder.rglob("*"))

    def record(self) -> Record:
        record = self.run.record(self.trial_id)
        assert record is not None, self.logs()
        return record


def environ(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
