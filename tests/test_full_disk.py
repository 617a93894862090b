"""Full disks and read-only ones, on small file systems that are really mounted."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

from mixbench.launch.cost import OPTIMIZER_STATES, PREDICTION_BYTES, RECORD_BYTES, needed_bytes
from mixbench.suite.recipe import Optimizer
from tests.disks import freeze
from tests.shell import Shell
from tests.trials import RECIPE, SMALL, plan_trials, write_suite

FAULTY = Path(__file__).with_name("faulty.py")


def test_what_trials_need_is_counted_to_the_byte(tmp_path: Path) -> None:
    params, evidence = 3114, 360 * PREDICTION_BYTES  # of the small MLP-Mixer, of the digits' test images
    [trial] = plan_trials(tmp_path)
    assert needed_bytes([trial], 1) == (RECORD_BYTES + evidence, 2 * 4 * params * 2), (
        "weights and SGD's momentum, twice"
    )
    adamw = RECIPE | {"optimizer": {"name": "adamw"}, "ema": 0.99}
    two = plan_trials(tmp_path, recipe=adamw, keep_weights=True, keep_predictions=False, seeds=[0, 1])
    assert needed_bytes(two, 3) == (2 * RECORD_BYTES + 2 * 4 * params, 2 * 4 * params * 4 * 3)
    assert needed_bytes(plan_trials(tmp_path, measure=["complexity"]), 1) == (RECORD_BYTES, 0)


def test_a_disk_too_small_is_refused_with_figures_before_anything_is_written(
    mixbench: Shell, disk: Path, tmp_path: Path
) -> None:
    suite = write_suite(tmp_path, models=["mixer_s32"], measure=["accuracy"], datasets=["synthetic"])
    suite.write_text(suite.read_text().replace("- synthetic", "- {name: synthetic, image_size: 224}"))
    code, _, err = mixbench("run", suite, "--out", disk / "run")
    assert code == 2 and "MB are free; delete files" in err, err
    assert "8.4 MB are free" in err and list(disk.iterdir()) == []


def test_a_read_only_folder_is_refused_named_and_can_be_read(mixbench: Shell, disk: Path, tmp_path: Path) -> None:
    suite = write_suite(tmp_path, measure=["complexity"])
    assert mixbench("run", suite, "--out", disk / "run", "--cluster", "debug")[0] == 0
    freeze(disk)
    before = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
    refused: list[list[str | Path]] = [
        ["run", suite, "--out", disk / "run"],
        ["run", suite, "--out", disk / "new"],
        ["report", disk / "run"],
    ]
    for words in refused:
        code, _, err = mixbench(*words)
        assert code == 2 and "Read-only file system" in err and str(disk) in err
    assert mixbench("status", disk / "run")[1].endswith("1 done\n")
    assert {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()} == before


def test_a_disk_that_fills_up_fails_the_trial_keeps_the_rest_and_the_same_command_finishes(
    mixbench: Shell, disk: Path, tmp_path: Path
) -> None:
    models = [SMALL["mixer"], "fills", SMALL["splitmixer"]]
    suite = write_suite(tmp_path, models=models, plugins=[str(FAULTY)], measure=["complexity", "accuracy"])
    run, filling = disk / "run", disk / "filling"
    command = [sys.executable, "-m", "mixbench", "run", str(suite), "--out", str(run), "--json"]
    # a process of its own: where no file can be written it cannot give up its claim, which ends with it
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"FILLING": str(filling)})
    assert done.returncode == 1 and "Traceback" not in done.stderr, done.stderr
    assert "fills-digits-s0" in done.stderr and "the report cannot be written" in done.stderr
    assert json.loads(done.stdout)["trials"] == {"done": 1, "failed": 1, "running": 0, "pending": 1}
    assert "No space left on device" in done.stderr and "the same command goes on" in done.stderr
    first = {path: path.read_bytes() for path in run.glob("trials/mixer*/record.json")}
    assert len(first) == 1 and not list(run.rglob("*.tmp"))
    assert '"done": 1' in mixbench("status", run, "--json")[1]
    assert mixbench("report", run)[0] == 2
    filling.unlink()
    code, out, err = mixbench("run", suite, "--out", run, "--json")
    assert code == 0, err
    assert json.loads(out)["trials"]["done"] == 3
    assert {path: path.read_bytes() for path in first} == first, "what was done is as it was"


def test_a_disk_that_was_full_all_along_is_refused_and_a_report_that_cannot_be_written_costs_nothing(
    mixbench: Shell, disk: Path, tmp_path: Path
) -> None:
    suite = write_suite(tmp_path, measure=["complexity"])
    run = disk / "run"
    assert mixbench("run", suite, "--out", run, "--cluster", "debug")[0] == 0
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.parent.name != "lock"}
    subprocess.run(["dd", "if=/dev/zero", f"of={disk / 'filling'}", "bs=4k"], capture_output=True)
    requests: list[list[str | Path]] = [["run", suite, "--out", disk / "new"], ["report", run]]
    for words in requests:
        code, _, err = mixbench(*words)
        assert code == 2 and ("No space" in err or "are free" in err), err
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and path.parent.name != "lock"}
    assert after == before
    (disk / "filling").unlink()
    assert mixbench("run", suite, "--out", run, "--cluster", "debug")[0] == 0


def test_the_size_of_every_optimizers_state_is_known() -> None:
    assert set(OPTIMIZER_STATES) == set(get_args(Optimizer.model_fields["name"].annotation))
