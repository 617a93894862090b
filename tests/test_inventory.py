"""A run folder's files are parsed once a verb, and again only where they were written since."""

import json
import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from mixbench.cli import main as cli
from mixbench.cli.run import Session
from mixbench.launch.outcome import final_record
from mixbench.results.collect import collect
from mixbench.run import damage, folder
from mixbench.run.claim import Claim, claimed
from mixbench.run.folder import Run
from mixbench.run.inventory import Found, Inventory
from mixbench.run.record import Record, read_record
from mixbench.suite.load import load
from mixbench.suite.trial import Trial
from mixbench.system.checksum import KEY, with_checksums
from tests import fake_runs
from tests.trials import write_suite


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each trial's record has been parsed, in this process."""
    counts: Counter[str] = Counter()

    def counted(path: Path, text: bytes | None = None) -> Record:
        record = read_record(path, text)
        counts[path.parent.name] += 1
        return record

    monkeypatch.setattr(folder, "read_record", counted)
    return counts


@pytest.fixture
def trials() -> list[Trial]:
    return [fake_runs.trial("convmixer_256_8", seed) for seed in range(3)]


@pytest.fixture
def run(tmp_path: Path, trials: list[Trial]) -> Run:
    return fake_runs.write_run(tmp_path / "run", trials, [fake_runs.done(each, 90.0) for each in trials[:2]])


def mixbench(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> None:
    monkeypatch.setattr(sys, "argv", ["mixbench", *map(str, words)])
    with pytest.raises(SystemExit) as end:
        cli.main()
    assert end.value.code == 0


def test_a_run_parses_a_finished_record_once_and_one_that_it_measures_once(
    parsed: Counter[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    suite, run = write_suite(tmp_path, measure=["complexity"], seeds=[0, 1, 2]), Run(tmp_path / "run")
    command: list[str | Path] = ["run", suite, "--out", run.folder, "--cluster", "debug", "--json"]
    mixbench(monkeypatch, *command)
    first, *others = run.planned()
    parsed.clear()
    mixbench(monkeypatch, *command)
    assert parsed == dict.fromkeys([first, *others], 1), "a finished run"
    run.record_file(first).unlink()
    parsed.clear()
    mixbench(monkeypatch, *command)
    assert parsed == dict.fromkeys([first, *others], 1), "one trial to do"
    assert collect(run).counts["done"] == 3


def test_status_parses_a_record_once(parsed: Counter[str], run: Run, trials: list[Trial]) -> None:
    cli.cli(["status", str(run.folder)], standalone_mode=False)
    assert parsed == {trial.id: 1 for trial in trials[:2]}


def anew(path: Path, text: bytes) -> None:
    path.with_name("new").write_bytes(text)
    path.with_name("new").replace(path)


def in_place(path: Path, text: bytes) -> None:
    path.write_bytes(text)


@pytest.mark.parametrize("write", [anew, in_place])
def test_what_was_written_since_is_read_again(
    write: Callable[[Path, bytes], None], parsed: Counter[str], run: Run, trials: list[Trial]
) -> None:
    inventory, path = Inventory(run), run.record_file(trials[0].id)
    assert inventory.unfinished(trials) == trials[2:]
    write(path, path.read_bytes()[:-9])
    found = inventory.look(trials[0].id)
    assert found.record is None and found.trial == trials[0] and found.damages[0].path == path
    assert damage.set_all_aside(inventory) == [path.with_name("record.json.damaged-1")]
    assert inventory.look(trials[0].id).damages == () and inventory.record(trials[0].id) is None
    run.write_record(fake_runs.failed(trials[0], "out of memory"))
    assert inventory.look(trials[0].id).record == run.record(trials[0].id)
    assert parsed[trials[1].id] == 1


def test_a_file_in_place_of_a_trials_folder_is_forgotten_once_it_was_set_aside(run: Run, trials: list[Trial]) -> None:
    inventory, folder = Inventory(run), run.trial_folder(trials[2].id)
    shutil.rmtree(folder)
    folder.write_text("hello")
    assert "not a folder" in inventory.look(trials[2].id).damages[0].text
    damage.set_all_aside(inventory)
    run.write_plan("name: cifar\n", trials)
    assert inventory.look(trials[2].id) == Found(trials[2])


def test_a_newer_mixbenchs_record_is_told_from_a_damaged_one(run: Run, trials: list[Trial]) -> None:
    later = json.loads(run.record_file(trials[0].id).read_bytes()) | {"schema_version": 9}
    run.record_file(trials[0].id).write_text(
        with_checksums(json.dumps({key: later[key] for key in later if key != KEY}))
    )
    run.record_file(trials[1].id).write_text("{")
    inventory = Inventory(run)
    assert [inventory.is_newer(trial.id) for trial in trials] == [True, False, False]
    assert inventory.unfinished(trials) == trials


def test_a_record_that_is_taken_is_not_parsed_and_those_handed_out_stay_as_they_are(
    parsed: Counter[str], run: Run, trials: list[Trial]
) -> None:
    inventory, record = Inventory(run), fake_runs.done(trials[2], 89.0)
    run.write_record(record)
    inventory.take(record)
    run.write_plan("name: cifar\n", [trial.model_copy(update={"label": "other"}) for trial in trials[1:]])
    for _ in range(2):
        found = collect(inventory).records
        assert [each.label for each in found] == ["other", "other", trials[0].label]
        assert found[0].details.trial.label == "other"
    assert inventory.record(trials[2].id) is record and parsed[trials[2].id] == 0
    assert [inventory.record(each.id) for each in trials] == [run.record(each.id) for each in trials]


def test_what_another_process_finished_until_this_one_had_the_claim_is_not_run_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    suite, trials = load(str(write_suite(tmp_path, measure=["complexity"])))
    run = fake_runs.write_run(tmp_path / "run", trials, [fake_runs.failed(trials[0], "killed")], suite.text)

    @contextmanager
    def late(lock: Path, say: Callable[[str], None]) -> Iterator[Claim]:
        run.write_record(fake_runs.done(trials[0], 90.0))
        with claimed(lock, say) as claim:
            yield claim

    monkeypatch.setattr("mixbench.cli.run.claimed", late)
    monkeypatch.delattr("mixbench.cli.run.launch")
    session = Session(suite, trials, "debug", run.folder, ())
    assert session.unfinished() == trials
    assert session.run_all(quiet=True)["done"] == 1


def test_a_file_that_cannot_be_read_this_time_is_named_and_read_the_next_time(run: Run, trials: list[Trial]) -> None:
    inventory, path = Inventory(run), run.record_file(trials[0].id)
    text = path.read_bytes()
    path.unlink()
    os.symlink(path, path)  # to itself: it can't be opened, whoever asks
    with pytest.raises(OSError, match=r"record\.json"):
        inventory.record(trials[0].id)
    assert collect(inventory).damaged[0].endswith(f"'trials/{trials[0].id}/record.json'")
    path.unlink()
    path.write_bytes(text)
    assert inventory.is_done(trials[0])


def test_a_record_that_is_finished_between_two_looks_is_never_taken_for_a_pending_one(tmp_path: Path) -> None:
    one = fake_runs.trial()
    run = fake_runs.write_run(tmp_path / "run", [one], [fake_runs.done(one, 90.0, status="pending")])

    class Late(Inventory):
        def record(self, trial_id: str) -> Record | None:
            found = super().record(trial_id)
            run.write_record(fake_runs.done(one, 90.0))  # by the trial's process, right after this look
            return found

    found = [final_record(Late(run), one) for _ in range(2)]
    assert [each and each.status for each in found] == [None, "done"]
