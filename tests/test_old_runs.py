"""What was made before mixbench's packages (by commit c2356bf) is known still: run folders, queued jobs, plugins."""

import csv
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mixbench.errors import RequestError
from mixbench.report.write import write
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.zoo.registry import load_plugin

OLD = Path(__file__).parent / "golden" / "old_run"


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("table", ["results.csv", "summary.csv"])
def test_its_tables_are_those_that_it_was_reported_with(table: str, tmp_path: Path) -> None:
    """Cell by cell; columns may have been appended since."""
    folder = tmp_path / OLD.name
    shutil.copytree(OLD, folder)
    (folder / table).unlink()
    write(Run(folder), formats=["csv"])
    before, now = rows(OLD / table), rows(folder / table)
    assert [{column: row[column] for column in before[0]} for row in now] == before
    assert len(before) == {"results.csv": 8, "summary.csv": 4}[table]


def test_its_trials_are_known_as_done_or_still_to_run() -> None:
    run = Run(OLD)
    trials = [run.trial(trial_id) for trial_id in run.planned()]
    assert [Inventory(run).is_done(trial) for trial in trials] == [True, False] * 4


@pytest.mark.parametrize("module", ["rank", "after", "probe"])
def test_a_job_queued_before_the_move_says_in_one_line_how_to_go_on(module: str) -> None:
    command = [sys.executable, "-P", "-m", f"mixbench.slurm.{module}", "jobs/1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.count("\n") == 1 and "mixbench run SUITE --cluster PROFILE" in done.stderr


def test_a_plugin_may_import_the_registry_by_its_public_addresses(tmp_path: Path) -> None:
    code = "import sys, pathlib; from mixbench.zoo.registry import list_models, load_plugin\n"
    for name, address in (("short", "mixbench"), ("registry", "mixbench.registry"), ("full", "mixbench.zoo.registry")):
        text = f"from {address} import register_model\nfrom torch import nn\n\n\n"
        text += f"@register_model(variants={{'by_{name}': {{}}}})\nclass By{name}(nn.Module):\n"
        text += "    def __init__(self, image_size: int = 8, in_chans: int = 1, num_classes: int = 10):\n"
        text += "        super().__init__()\n"
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        code += f"load_plugin(pathlib.Path('{name}.py'))\n"
    command = [sys.executable, "-c", f"{code}print(*list_models('by_*'))"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["by_full", "by_registry", "by_short"], done.stderr


def test_a_plugin_that_imports_a_moved_module_is_told_its_new_path(tmp_path: Path) -> None:
    (tmp_path / "old.py").write_text("\nfrom mixbench.layers import MLP\n", encoding="utf-8")
    with pytest.raises(RequestError, match=r"mixbench\.layers.*\(line 2\): it is mixbench\.zoo\.layers now"):
        load_plugin(tmp_path / "old.py")


def test_importing_mixbench_imports_no_torch() -> None:
    code = (
        "import sys, mixbench; assert 'torch' not in sys.modules; mixbench.list_models; assert 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
