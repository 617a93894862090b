"""The folders of a run's jobs: in the order of their numbers, damaged ones left out, the next one's number."""

from pathlib import Path

from mixbench.launch.job import JobFolder, current_trials, job_folders, next_job_folder
from mixbench.launch.processes import end_ranks
from mixbench.run.folder import Run
from mixbench.system.files import write_atomically


def test_jobs_are_in_the_order_of_their_numbers_and_the_next_one_is_free(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert job_folders(run) == [] and next_job_folder(run).path == tmp_path / "jobs" / "0001"
    for name in ("0002", "10000", "9999", "0003.damaged-1", "20000.tmp", "notes"):
        (run.jobs / name).mkdir(parents=True)
    assert [folder.number for folder in job_folders(run)] == [2, 9999, 10000]
    assert next_job_folder(run).path.name == "10001"


def test_the_trials_that_are_measured_are_those_of_local_jobs_and_of_slurms(tmp_path: Path) -> None:
    run, local = Run(tmp_path), JobFolder(tmp_path / "jobs" / "0001")
    write_atomically(local.current_file, "a")
    write_atomically(JobFolder(tmp_path / "jobs" / "0002").element(3).current_file, "b")
    write_atomically(JobFolder(tmp_path / "jobs" / "0002").element(3).attempt(0).current_file, "no job's")
    assert current_trials(run) == {"a", "b"}


def test_a_log_in_slurm_is_found_before_its_number_is_known(tmp_path: Path) -> None:
    array = JobFolder(tmp_path)
    assert array.slurm_log(3, 0, "42").name == "42_3_0.log"
    (tmp_path / "43_3_0.log").touch()
    assert array.slurm_log(3, 0, "").name == "43_3_0.log"


def test_a_rank_that_is_gone_is_not_waited_for(tmp_path: Path) -> None:
    job = JobFolder(tmp_path)
    job.pid_file(0).write_text("999999999")
    job.pid_file(1).write_text("no number")
    assert set(job.pid_files()) == {0, 1}
    end_ranks([job])
