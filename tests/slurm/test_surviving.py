"""Whatever breaks on a real SLURM, every trial ends as if nothing had happened: the same weights to the bit.

A failed trial is run again only where it failed for its time limit: all failed trials are resumed alike.
"""

import re
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from mixbench.launch.slurm.jobs import rank_statuses
from mixbench.run.inventory import Inventory
from tests.slurm.runs import WITHIN, Training, kill
from tests.slurm.testbed import Slurm, running, until

pytestmark = pytest.mark.slow

Outcome = tuple[dict[str, Any], str, list[str]]
HELD_AT = 30  # in the second of three epochs of 22 steps: a checkpoint lies behind


@pytest.fixture(scope="module")
def undisturbed(testbed: Slurm, tmp_path_factory: pytest.TempPathFactory) -> dict[int, Outcome]:
    """What an undisturbed run comes to, by ZeRO stage."""
    found = {}
    for stage in (0, 1):
        training = Training.of(testbed, tmp_path_factory.mktemp("whole") / str(stage), stage)
        training.again()
        found[stage] = training.outcome()
        assert found[stage][2] == ["predictions.npz", "record.json", "trial.json", "weights.safetensors"]
    return found


def held(slurm: Slurm, folder: Path, stage: int, **profile: Any) -> Training:
    """A training that will be held at a step."""
    training = Training.of(slurm, folder, stage, **profile)
    training.order("hold", "hold", HELD_AT)
    return training


def let_the_time_limit_come(training: Training) -> None:
    """Held in mid-training, the job is left a minute; the training goes on when SLURM has sent its signal."""
    training.until_held()
    *_, minutes, seconds = map(
        int, training.slurm.run("squeue", "-h", "-j", training.job.slurm_id, "-o", "%M").split(":")
    )
    minutes += 1 if seconds < 25 else 2
    training.limit(minutes)
    assert training.until_signalled() == {"SIGUSR2"}
    training.let_go()


@pytest.fixture(scope="module")
def time_limits(
    testbed: Slurm, tmp_path_factory: pytest.TempPathFactory, undisturbed: dict[int, Outcome]
) -> Iterator[dict[str, Future[None]]]:
    """Both at the same time: SLURM counts them in minutes."""
    folder = tmp_path_factory.mktemp("limits")
    with ThreadPoolExecutor() as pool:
        yield {
            "once": pool.submit(the_time_limit_comes, testbed, folder / "once", undisturbed),
            "once too often": pool.submit(
                the_time_limit_comes_once_too_often, testbed, folder / "too often", undisturbed
            ),
        }


@pytest.mark.parametrize("limit", ["once", "once too often"])
def test_the_time_limit_comes(limit: str, time_limits: dict[str, Future[None]]) -> None:
    time_limits[limit].result()


def the_time_limit_comes(slurm: Slurm, folder: Path, undisturbed: dict[int, Outcome]) -> None:
    training = held(slurm, folder, 0, memory="2900M")  # both fit on a node
    with training.started() as process:
        let_the_time_limit_come(training)
        until(training.restarts, lambda count: count == 1, WITHIN)
        training.limit(60)
        training.ends(process)
    assert training.outcome() == undisturbed[0]
    assert training.restarts() == training.job.state().counts[training.trial_id].time_limits == 1


def the_time_limit_comes_once_too_often(slurm: Slurm, folder: Path, undisturbed: dict[int, Outcome]) -> None:
    training = held(slurm, folder, 1, memory="2900M", requeue={"time_limits": 0})
    with training.started() as process:
        let_the_time_limit_come(training)
        training.ends(process, code=1)
    assert re.fullmatch(
        r"the time limit of 60 minutes came \(1 times, the profile allows 0\); its checkpoint is kept, .*",
        training.record().error,
    )
    assert training.run.has_checkpoint(training.run.trial(training.trial_id))
    training.cancel_orders()
    assert "1 goes on from a checkpoint" in training.again()
    assert training.outcome() == undisturbed[1]


def test_it_is_preempted_by_a_higher_qos(slurm: Slurm, tmp_path: Path, undisturbed: dict[int, Outcome]) -> None:
    training = held(slurm, tmp_path, 1, qos="low")
    with training.started() as process:
        training.until_held()
        slurm.submit("true", tmp_path / "urgent.log", "--qos=high", "--nodes=3", "--exclusive")
        assert training.until_signalled() == {"SIGUSR2"}
        training.let_go()
        training.ends(process)
    assert training.outcome() == undisturbed[1]
    assert training.restarts() == 1 and training.job.state().counts == {}


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """A partition preempts another one, a preempted job gets TERM, and memory is limited without cgroups."""
    folder = tmp_path_factory.mktemp("other") / "slurm"
    with running(
        folder, 2, preempt="partition", memory="polled", conf="SlurmctldParameters=allow_user_triggers"
    ) as slurm:
        yield slurm


def test_it_is_preempted_by_another_partition(other: Slurm, tmp_path: Path, undisturbed: dict[int, Outcome]) -> None:
    training = held(other, tmp_path, 0)
    with training.started() as process:
        training.until_held()
        other.submit("true", tmp_path / "urgent.log", "--partition=urgent", "--nodes=2", "--exclusive")
        assert training.until_signalled() == {"SIGTERM"}
        training.let_go()
        training.ends(process)
    assert training.outcome() == undisturbed[0]
    assert training.restarts() == 1 and training.job.state().counts == {}


def test_it_is_requeued_by_hand(slurm: Slurm, tmp_path: Path, undisturbed: dict[int, Outcome]) -> None:
    training = held(slurm, tmp_path, 0)
    with training.started() as process:
        training.until_held()
        slurm.run("scontrol", "requeue", slurm.job(training.job.slurm_id)["JobId"])
        until(training.restarts, lambda count: count == 1, 30)
        training.let_go()
        training.ends(process)
    assert training.outcome() == undisturbed[0]
    assert training.restarts() == 1 and training.job.state().counts == {}


@pytest.mark.parametrize(("way", "which"), [("kill-node", 1), ("kill-node", 0), ("freeze-node", 1)])
def test_a_node_is_lost(way: str, which: int, slurm: Slurm, tmp_path: Path, undisturbed: dict[int, Outcome]) -> None:
    training = held(slurm, tmp_path, which)
    with training.started() as process:
        training.until_held()
        node = sorted(
            {path.read_text().split('"host": "')[1][:2] for path in training.job.folder.attempt(0).status_files()}
        )[which]
        slurm.testbed(way, node)
        training.let_go()
        until(training.restarts, lambda count: count == 1, WITHIN)
        slurm.testbed("start-node", node)
        training.ends(process)
    assert training.outcome() == undisturbed[which]
    assert training.restarts() == 1, "SLURM's own requeueing, and not ours as well"
    assert training.job.state().counts == {}, f"it is not held against the trial\n{training.logs()}"


def test_a_node_that_hung_comes_back_while_the_trial_goes_on_elsewhere(
    slurm: Slurm, tmp_path: Path, undisturbed: dict[int, Outcome]
) -> None:
    training = held(slurm, tmp_path, 1)
    with training.started() as process:
        training.until_held()
        [node] = {status.host for status in rank_statuses(training.job.folder.attempt(0)) if status.rank == 0}
        slurm.testbed("freeze-node", node)
        until(lambda: len(rank_statuses(training.job.folder.attempt(1))), lambda ranks: ranks == training.ranks, WITHIN)
        training.let_go()
        slurm.testbed("thaw-node", node)
        training.ends(process)
    assert training.outcome() == undisturbed[1]
    assert training.restarts() == 1, f"the old srun, which woke up, does not end the new step\n{training.logs()}"
    assert training.job.state().counts == {}, f"it is not held against the trial\n{training.logs()}"


def test_a_rank_is_killed(slurm: Slurm, tmp_path: Path, undisturbed: dict[int, Outcome]) -> None:
    training = held(slurm, tmp_path, 0)
    with training.started() as process:
        training.until_held()
        killed = training.pid_of(2)
        first = set(training.processes())
        kill(killed)
        training.let_go()
        begun = time.monotonic()
        until(lambda: first & set(training.processes()), lambda left: not left, 45)
        assert time.monotonic() - begun < 30, "the others end soon"
        training.ends(process)
    assert training.outcome() == undisturbed[0]
    assert training.restarts() == 1
    assert training.job.state().counts[training.trial_id].failures == 1


def test_a_rank_dies_once_too_often(slurm: Slurm, tmp_path: Path) -> None:
    training = Training.of(slurm, tmp_path, 0, requeue={"failures": 1})
    training.order("fault", "die", HELD_AT - 22, attempts=9)
    with training.started() as process:
        training.ends(process, code=1)
    record = training.record()
    assert record.error == "rank 3 of 4 died on n2: Killed (2 times, the profile allows 1)"
    assert "about to die" in record.details.traceback
    assert training.restarts() == 1


def test_a_rank_raises(slurm: Slurm, tmp_path: Path) -> None:
    training = Training.of(slurm, tmp_path, 0)
    training.order("fault", "raise", HELD_AT)
    with training.started() as process:
        training.ends(process, code=1)
    record = training.record()
    assert record.error == "ValueError: the third rank has had enough"
    assert "in fail" in record.details.traceback and "Connection" not in record.details.traceback
    assert training.restarts() == 0, "what raises would raise again"


@pytest.mark.parametrize("limited", ["by the kernel", "by polling"])
def test_a_rank_takes_more_memory_than_the_host_gives(limited: str, slurm: Slurm, other: Slurm, tmp_path: Path) -> None:
    training = Training.of(slurm if limited == "by the kernel" else other, tmp_path, 1)
    training.order("fault", "swell", HELD_AT)
    with training.started() as process:
        training.ends(process, code=1)
    assert training.record().error.startswith("out of memory on the host: "), training.record().error + training.logs()
    assert training.restarts() == 0


def test_slurmctld_restarts(slurm: Slurm, tmp_path: Path, undisturbed: dict[int, Outcome]) -> None:
    training = held(slurm, tmp_path, 0)
    with training.started() as process:
        training.until_held()
        slurm.testbed("kill-node", "controller")
        training.let_go()
        until(
            training.processes,
            lambda pids: not pids or Inventory(training.run).is_done(training.run.trial(training.trial_id)),
            WITHIN,
        )
        slurm.testbed("start-node", "controller")
        training.ends(process)
    assert training.outcome() == undisturbed[0]
    assert training.restarts() == 0


def test_the_login_process_is_killed_and_another_one_attaches(
    slurm: Slurm, tmp_path: Path, undisturbed: dict[int, Outcome]
) -> None:
    training = held(slurm, tmp_path, 1)
    with training.started() as process:
        training.until_held()
        kill(process.pid)
        process.wait(30)
    with training.started() as process:
        until(lambda: len(list((training.out / "lock").glob("2.json"))), bool, 60)
        training.let_go()
        printed = training.ends(process)
    assert "1 trial in the queue already" in printed and "submitted" not in printed
    assert training.outcome() == undisturbed[1]
    assert len(list(training.run.jobs.iterdir())) == 1 and training.restarts() == 0


@pytest.mark.parametrize("ranks", ["do not react", "end by themselves"])
def test_a_job_is_cancelled_from_outside(
    ranks: str, slurm: Slurm, tmp_path: Path, undisturbed: dict[int, Outcome]
) -> None:
    training = held(slurm, tmp_path, 0)
    with training.started() as process:
        training.until_held()
        slurm.run("scancel", training.job.slurm_id)
        if ranks == "end by themselves":
            training.let_go()
        printed = training.ends(process, code=1)
    assert "pending again" in printed
    assert training.run.record(training.trial_id) is None and training.run.progress(training.trial_id) is None
    until(training.processes, lambda pids: not pids, 60)
    training.cancel_orders()
    assert "1 goes on from a checkpoint" in training.again()
    assert training.outcome() == undisturbed[0]


def test_the_disk_fills_during_a_checkpoint(
    slurm: Slurm, node_disk: Path, tmp_path: Path, undisturbed: dict[int, Outcome]
) -> None:
    training = Training.of(slurm, tmp_path, 1, out=node_disk / "run")
    training.order("hold", "hold", HELD_AT)
    with training.started():
        training.until_held()
        before = {path: path.read_bytes() for path in training.run.checkpoints(training.trial_id).rglob("*.pt")}
        filler = node_disk / "filler"
        with open(filler, "ab", buffering=0) as file:
            try:
                while file.write(bytes(4096)):
                    pass
            except OSError:
                pass
        training.let_go()
        until(training.processes, lambda pids: not pids, WITHIN)
        assert before and {path: path.read_bytes() for path in before} == before, "the last checkpoint stays good"
        filler.unlink()  # the login process would wait 90 s for what the job could not write: the block kills it
    training.cancel_orders()
    training.again()
    assert training.outcome() == undisturbed[1]
