"""Trials → arrays → sbatch's script: nothing is lost or twice, limits hold, no text of a person is run by a shell."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from submitit.core.utils import FailedSubmissionError

from mixbench.launch.slurm.batch_script import Executor, command, comment, executor
from mixbench.launch.slurm.cluster_profile import Profile
from mixbench.launch.slurm.jobs import Array
from mixbench.launch.slurm.rank import CACHES
from mixbench.launch.slurm.submit import UNSURE, arrays, pack
from tests.trials import SMALL, plan_trials

GOLDEN = Path(__file__).parent / "golden"
FULL: dict[str, Any] = {
    "partition": "gpu",
    "account": "vision lab",
    "qos": "long",
    "constraint": "a100&nvlink",
    "gpus_per_node": 8,
    "cpus_per_task": 12,
    "memory": "400G",
    "time": "1-12:30:00",
    "signal_seconds": 180,
    "array_parallelism": 20,
    "setup": ["module load cuda/12.4", "source ~/venv/bin/activate"],
    "environment": {"NCCL_DEBUG": "WARN", "GREETING": 'it\'s $HOME; "so" `date`'},
    "python": "/opt/my env/bin/python",
    "container": {"image": "docker://nvcr.io/nvidia/pytorch:26.01-py3", "mounts": ["/data:/data", "/my home:/home"]},
    "sbatch": {"exclusive": True, "mail-type": "END,FAIL", "nice": 100},
}


def script(
    profile: Profile, nodes: int = 1, processes: int = 1, jobs: int = 3, folder: str = "/runs/x/jobs/0001"
) -> str:
    array = Array(
        name="mixbench-x-1234abcd",
        profile=profile,
        nodes=nodes,
        processes_per_node=processes,
        jobs=tuple((f"trial-{index}",) for index in range(jobs)),
    )
    made = executor(array, Path(folder))
    return made._make_submission_file_text(command(profile, "mixbench.launch.slurm.rank"), "")


@pytest.mark.parametrize(
    ("name", "profile", "nodes", "processes"),
    [("plain", {"time": 30, "python": "/usr/bin/python3"}, 1, 1), ("full", FULL, 2, 8)],
)
def test_the_script_is_the_golden_one(name: str, profile: dict[str, Any], nodes: int, processes: int) -> None:
    text = script(Profile.model_validate(profile), nodes, processes)
    assert text == (GOLDEN / f"sbatch_{name}.sh").read_text(), "if it is meant so, look at every line of the new one"
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


@pytest.mark.parametrize("given", [True, False])
def test_jobs_get_the_caches_that_the_user_names_not_those_that_torch_does(given: bool) -> None:
    shell = {name: value for name, value in os.environ.items() if name not in CACHES}
    submitting = (
        "import os, sys\n"
        "from pathlib import Path\n"
        "from mixbench.launch.slurm.batch_script import Executor\n"
        "os.environ['TORCHINDUCTOR_CACHE_DIR'] = '/tmp/x'\n"
        "print(*Executor(Path(sys.argv[1]))._make_submission_command(Path('script')))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", submitting, "/tmp"],
        env=shell | ({"TORCHINDUCTOR_CACHE_DIR": "/shared"} if given else {}),
        capture_output=True,
        text=True,
        check=True,
    )
    assert ("-u TORCHINDUCTOR_CACHE_DIR" in done.stdout) is not given


def test_a_folder_of_any_name_stands_in_no_line_for_sbatch_and_quoted_in_the_shell() -> None:
    folder = "/runs/a 'b' \"c\" $(touch /tmp/no)\nü/jobs/0001"
    text = script(Profile(time=30), folder=folder)
    assert not [line for line in text.splitlines() if line.startswith("#SBATCH") and "runs" in line]
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    harmless = "srun() { printf '%s\\0' \"$@\"; }\n" + text[text.index("# command") :]
    shown = subprocess.run(["bash", "-c", harmless], capture_output=True, text=True, check=True).stdout.split("\0")
    assert shown[2] == f"{folder}/%A_%a_%t_log.out" and shown[5] == "--output=%A_%a_%t.log", "the last one counts"


@given(
    values=st.dictionaries(
        st.from_regex(r"[A-Z_][A-Z0-9_]{0,8}", fullmatch=True),
        st.text(st.characters(codec="utf-8", exclude_characters="\n\0"), max_size=30),
        max_size=10,
    )
)
@settings(max_examples=40, deadline=None)  # each is a shell of its own
def test_the_environment_reaches_the_job_as_it_was_written(values: dict[str, str]) -> None:
    values = {f"MINE{key}": value for key, value in values.items()}
    text = script(Profile(time=30, environment=values))
    setup = text[text.index("export MIXBENCH_FOLDER") : text.index("# command")]
    printed = subprocess.run(["bash", "-c", setup + "\nenv --null"], capture_output=True, check=True).stdout.decode()
    found = dict(line.split("=", 1) for line in printed.split("\0") if "=" in line)
    assert {key: found.get(key) for key in values} == values


works = st.lists(st.floats(0, 10), max_size=60).map(lambda found: [(f"t{i}", macs) for i, macs in enumerate(found)])


@given(work=works, most=st.integers(1, 7), macs=st.floats(0.5, 20))
def test_packing_keeps_every_trial_once_and_in_order_and_no_job_is_overfull(
    work: list[tuple[str, float]], most: int, macs: float
) -> None:
    jobs = pack(work, Profile(time=30, trials_per_job=most, macs_per_job=macs))
    assert [each for job in jobs for each in job] == [trial_id for trial_id, _ in work]
    size = dict(work)
    for job, following in zip(jobs, [*jobs[1:], ()], strict=False):
        total = sum(size[each] for each in job)
        assert 0 < len(job) <= most and (len(job) == 1 or total <= macs * (1 + 1e-9))
        if following:
            assert len(job) == most or total + size[following[0]] > macs * (1 - 1e-9), (
                "no job is begun before it must be"
            )


def test_trials_that_need_the_same_are_one_array_which_is_split_where_it_is_too_long(tmp_path: Path) -> None:
    sizes, seeds = [{"nodes": 1}, {"nodes": 2}], list(range(10))
    trials = plan_trials(tmp_path, models=[SMALL["mixer"]], seeds=seeds, resources=sizes, measure=["complexity"])
    profile = Profile(time=30, trials_per_job=2)
    made = list(arrays(trials, profile, 4))
    assert [(array.nodes, len(array.jobs)) for array in made] == [(1, 4), (1, 1), (2, 4), (2, 1)]
    held = [trial_id for array in made for job in array.jobs for trial_id in job]
    assert sorted(held) == sorted(trial.id for trial in trials) and len(held) == 20
    assert len({array.name for array in made}) == 4
    assert all(re.fullmatch(r"mixbench-small-[0-9a-f]{8}", array.name) for array in made)


def test_a_long_training_has_a_job_of_its_own(tmp_path: Path) -> None:
    trials = plan_trials(tmp_path, models=[SMALL["mixer"]], seeds=[0, 1, 2], measure=["accuracy"])
    [array] = arrays(trials, Profile(time=30, macs_per_job=1e6), 1000)
    assert array.jobs == tuple((trial.id,) for trial in trials), "20 steps of 70 images are 182 million MACs"
    assert json.loads(array.model_dump_json())["profile"]["macs_per_job"] == 1e6


@pytest.mark.parametrize(
    ("profile", "processes", "lines"),
    [
        ({"gpus_per_node": "a100:8"}, 2, ["#SBATCH --gpus-per-node=a100:2"]),
        ({"gpus_per_node": "a100:0"}, 2, []),
        ({"dependency": "afterok:7,afterany:8"}, 1, ["#SBATCH --dependency=afterok:7,afterany:8"]),
        ({"clusters": "far"}, 1, ["#SBATCH --clusters=far"]),
    ],
    ids=str,
)
def test_a_profile_says_more_to_sbatch(profile: dict[str, Any], processes: int, lines: list[str]) -> None:
    plain = script(Profile(time=30), processes=processes).splitlines()
    text = script(Profile.model_validate({"time": 30} | profile), processes=processes)
    assert [line for line in text.splitlines() if line not in plain] == lines


def test_options_of_srun_are_those_of_the_ranks_alone() -> None:
    options = {"mpi": "pmix", "cpu-bind": "none; date", "exclusive": True, "mem-bind": False}
    text = script(Profile.model_validate({"time": 30, "srun": options}))
    [line] = [line for line in text.splitlines() if "--mpi" in line]
    assert line.startswith("srun --unbuffered") and " --mpi=pmix '--cpu-bind=none; date' --exclusive " in line
    assert "mem-bind" not in text


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("1234", "1234"),
        ("1234;far\n", "1234"),
        ("Submitted batch job 1234 on cluster far", "1234"),
        ("Welcome: job 1 of 1\njob 7 days left\n1234\n", "1234"),
        ("1234\nThis was job 5 of 9", "1234"),
    ],
)
def test_the_number_of_an_array_in_what_sbatch_prints(said: str, number: str) -> None:
    assert Executor._get_job_id_from_submission_command(said) == number
    assert Executor._get_job_id_from_submission_command(said.encode()) == number


def test_without_a_number_it_is_unknown_if_slurm_took_the_jobs() -> None:
    with pytest.raises(FailedSubmissionError) as error:
        Executor._get_job_id_from_submission_command("Welcome: job 1 of 1")
    assert UNSURE.search(str(error.value))


def test_a_comment_of_any_length_and_name_is_one_that_slurm_takes() -> None:
    profile = Profile(time=30)
    array = Array(
        name="a", profile=profile, nodes=1, processes_per_node=1, jobs=tuple((f"ü{i}",) * 9 for i in range(100))
    )
    found = comment(array, Path("/runs/a\nb/jobs/0001"))
    assert found.startswith("/runs/a\\nb; 0: ü0, ü0") and found.endswith(" …") and len(found.encode()) <= 1024


def test_an_array_is_split_under_new_names() -> None:
    jobs = tuple((f"t{i}",) for i in range(5))
    array = Array(name="mixbench-x-1234abcd", profile=Profile(time=30), nodes=2, processes_per_node=1, jobs=jobs)
    assert array.split(5) == (array, None)
    first, rest = array.split(2)
    assert rest is not None and first.jobs + rest.jobs == jobs and len(first.jobs) == 2
    assert len({array.name, first.name, rest.name}) == 3
    assert all(re.fullmatch(r"mixbench-x-[0-9a-f]{8}", each.name) for each in (first, rest))
