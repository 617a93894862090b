"""A run folder that commit c2356bf made, before mixbench's packages: it is read and reported the same."""

import csv
import shutil
from pathlib import Path

import pytest

from mixbench.report.write import write
from mixbench.run.folder import Run

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
    write(Run(folder), forms=["csv"])
    before, now = rows(OLD / table), rows(folder / table)
    assert [{column: row[column] for column in before[0]} for row in now] == before
    assert len(before) == {"results.csv": 8, "summary.csv": 4}[table]


def test_its_trials_are_known_as_done_or_still_to_run() -> None:
    run = Run(OLD)
    trials = [run.trial(trial_id) for trial_id in run.planned()]
    assert [run.is_done(trial) for trial in trials] == [True, False] * 4
