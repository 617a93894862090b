"""Damaged files in a run folder: named and counted by whoever reads, set aside by the next run, never used."""

import json
import shlex
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from random import Random

import pytest

from mixbench.cli.run import Session
from mixbench.errors import RequestError
from mixbench.report.write import write
from mixbench.results.collect import collect
from mixbench.results.tables import tables
from mixbench.run import damage
from mixbench.run.commands import commands
from mixbench.run.flags import Flag, Kind
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.run.predictions import NoPredictions, packed, read_predictions
from mixbench.run.progress import Progress
from mixbench.suite.load import load
from mixbench.system.checksum import with_checksums
from mixbench.system.files import set_aside
from tests.fake_runs import damaged, done, trial, with_predictions, write_run
from tests.shell import Shell
from tests.trials import write_suite

TEXT = "name: cifar\nmodels: [convmixer_256_8]\ndatasets: [cifar10]\n"
TRIALS = [trial("convmixer_256_8", seed) for seed in range(3)]


def small_run(folder: Path) -> Run:
    run = write_run(folder, TRIALS, [done(TRIALS[1], 91.0)], TEXT)
    run.write_record(with_predictions(run, done(TRIALS[0], 90.0)))
    run.write_progress(TRIALS[2].id, Progress(part="accuracy", done=3, total=25, updated_at=0.0))
    return run


def files(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_any_file_damaged_at_random_is_never_a_traceback_and_never_a_wrong_figure(tmp_path: Path) -> None:
    """400 runs, a file or three of each damaged: what is read is right, what is not is counted, all of it is kept."""
    random = Random(1)
    whole = small_run(tmp_path / "whole")
    names = [path.relative_to(whole.folder) for path in files(whole.folder)]
    right = {record.trial_id: record for record in collect(whole).records}
    predicted = whole.predictions_file(TRIALS[0].id).read_bytes()
    counted = 0
    for number in range(400):
        run = Run(tmp_path / str(number))
        shutil.copytree(whole.folder, run.folder)
        for name in random.sample(names, random.choice([1, 1, 3])):
            (run.folder / name).write_bytes(damaged((whole.folder / name).read_bytes(), random))
        before = files(run.folder)
        try:
            found = collect(run)
            for record in found.records:
                if record.status == "done":
                    assert record.top1 == right[record.trial_id].top1
                with suppress(NoPredictions):
                    assert packed(read_predictions(run, record)) == predicted
            counted += len(found.damaged)
        except RequestError as error:
            assert "plan.json" in str(error)
        assert files(run.folder) == before, "reading changes nothing"
        moved = damage.set_all_aside(Inventory(run))
        assert sorted(files(run.folder).values()) == sorted(before.values()), "nothing is deleted"
        run.write_plan(TEXT, TRIALS)
        again = collect(run)
        assert again.damaged == [] and again.set_aside == len(moved)
        pending = Inventory(run).unfinished(TRIALS)
        assert [record.status for record in again.records].count("done") == len(TRIALS) - len(pending)
        shutil.rmtree(run.folder)
    assert counted > 200


@pytest.mark.parametrize("name", ["record.json", "trial.json", "progress.json"])
@pytest.mark.parametrize("what", ["folder", "binary", "empty", "foreign", "another's"])
def test_what_lies_in_a_trials_folder_and_is_not_its_own_is_named_and_set_aside(
    name: str, what: str, tmp_path: Path
) -> None:
    run = small_run(tmp_path / "run")
    run.write_progress(TRIALS[0].id, Progress(part="accuracy", updated_at=0.0))
    path = run.trial_folder(TRIALS[0].id) / name
    texts = {"binary": bytes(range(256)), "empty": b"", "foreign": b'{"openapi": "3.1.0"}'}
    if what == "another's" and name != "progress.json":  # which does not say whose it is
        shutil.copy(run.trial_folder(TRIALS[1].id) / name, path)
    elif what == "folder":
        path.unlink()
        (path / "inside").mkdir(parents=True)
    else:
        path.write_bytes(texts.get(what, b"\xff"))
    [said] = collect(run).damaged
    assert said.startswith(f"trials/{TRIALS[0].id}/{name}") and "\n" not in said
    assert damage.set_all_aside(Inventory(run)) == [path.with_name(f"{name}.damaged-1")]
    assert not path.exists() and path.with_name(f"{name}.damaged-1").exists()
    run.write_plan(TEXT, TRIALS)
    again = collect(run)
    assert again.damaged == [] and again.set_aside == tables(run).set_aside == 1
    assert again.records[0].status == ("running" if name == "record.json" else "done")


def test_a_newer_mixbenchs_record_is_no_damage_and_run_refuses_to_measure_it_again(
    mixbench: Shell, tmp_path: Path
) -> None:
    """In a folder that two versions share, the older one must not throw away what the newer one measured."""
    suite = write_suite(tmp_path, measure=["complexity"], seeds=[0, 1])
    run = Run(tmp_path / "run")
    command = ["run", str(suite), "--out", str(run.folder), "--cluster", "debug"]
    assert mixbench(*command)[0] == 0
    path = run.record_file(run.planned()[0])
    later = json.loads(path.read_text(encoding="utf-8")) | {"schema_version": 9, "status": "as never before"}
    path.write_text(
        with_checksums(json.dumps({key: later[key] for key in later if "sha256" not in key})), encoding="utf-8"
    )
    [given] = commands(run)
    assert given.line == shlex.join(["mixbench", *command])
    before = files(run.folder)
    code, _, err = mixbench(*command)
    assert code == 2 and str(path) in err
    assert "written by a newer mixbench" in err and "schema version 2" in err
    assert files(run.folder) == before
    found = collect(run)
    assert (found.records[0].status, found.records[0].flags[-1:]) == ("pending", [Flag(Kind.NEWER_RECORD)])
    assert len(found.damaged) == 1 and damage.set_all_aside(Inventory(run)) == [] and path.exists()
    other = [*command, "--only", f"seed={found.records[1].seed}"]
    assert mixbench(*other)[0] == 0, "what is not asked of it goes on"
    path.write_bytes(path.read_bytes().replace(b'"params"', b'"paramz"'))
    assert damage.set_all_aside(Inventory(run)) == [path.with_name("record.json.damaged-1")], "a changed one is damaged"


def test_a_file_in_place_of_a_trials_folder_is_set_aside(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    shutil.rmtree(run.trial_folder(TRIALS[0].id))
    run.trial_folder(TRIALS[0].id).write_text("hello")
    assert "not a folder" in collect(run).damaged[0]
    damage.set_all_aside(Inventory(run))
    run.write_plan(TEXT, TRIALS)
    assert collect(run).damaged == [] and collect(run).set_aside == 1


def test_the_report_says_what_is_damaged_and_later_what_was_set_aside(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    run.record_file(TRIALS[0].id).write_text("{")
    write(run)
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "1 file cannot be read" in page and "record.json" in page and "set aside by" not in page
    damage.set_all_aside(Inventory(run))
    write(run)
    page = (run.folder / "report.html").read_text(encoding="utf-8")
    assert "cannot be read" not in page and "1 damaged file set aside by an earlier run" in page


def test_a_damaged_plan_is_said_with_what_to_do(tmp_path: Path) -> None:
    run = small_run(tmp_path / "run")
    for text in (b"{", b"\xff", b'["../../elsewhere"]', b'["."]', b'["a\\u0000b"]', b"[" * 100_000):
        run.plan_file.write_bytes(text)
        with pytest.raises(RequestError, match=r"plan.json is damaged: .* keeps every result"):
            collect(run)


def lost(path: Path) -> None:
    path.unlink()


def torn(path: Path) -> None:
    path.write_bytes(b"\xff\x00name")


@pytest.mark.parametrize("harm", [lost, torn, set_aside])
def test_a_run_whose_suite_is_lost_or_damaged_is_known_by_its_trials_and_goes_on(
    harm: Callable[[Path], object], tmp_path: Path
) -> None:
    suite, trials = load(str(write_suite(tmp_path)))
    run = write_run(tmp_path / "run", trials, [done(trials[0], 90.0)], suite.text)
    harm(run.suite_file)
    session = Session(suite, trials, "local", run.folder, ())
    assert session.unfinished() == []
    other = suite.model_copy(update={"name": "other"})
    with pytest.raises(RequestError, match="holds the run of suite 'small', not the run of 'other'"):
        Session(other, trials, "local", run.folder, ())


def test_a_run_killed_while_it_wrote_its_plan_is_still_a_run(tmp_path: Path) -> None:
    suite, trials = load(str(write_suite(tmp_path)))
    run = Run(tmp_path / "run")
    run.lock.mkdir(parents=True)
    Session(suite, trials, "local", run.folder, ())
    run.write_plan(suite.text, trials)
    run.plan_file.unlink()
    Session(suite, trials, "local", run.folder, ())


def test_the_run_command_sets_aside_what_is_damaged_says_so_and_measures_it_again(
    mixbench: Shell, tmp_path: Path
) -> None:
    suite = write_suite(tmp_path, measure=["complexity"], seeds=[0, 1])
    run = Run(tmp_path / "run")
    command = ["run", suite, "--out", run.folder, "--cluster", "debug"]
    assert mixbench(*command)[0] == 0
    first, second = run.planned()
    kept = run.record_file(second).read_bytes()
    torn = run.record_file(first).read_bytes().replace(b'"params": 3', b'"params": 4')
    for path in (run.record_file(first), run.trial_folder(second) / "trial.json", run.plan_file):
        path.write_bytes(torn)
    code, out, err = mixbench(*command)
    assert code == 0 and out.count("damaged, set aside and not used: ") == 3, err
    assert f"1 trial to run (1 is done already), in {run.folder}" in out
    assert run.record_file(first).with_name("record.json.damaged-1").read_bytes() == torn
    assert run.record_file(second).read_bytes() == kept, "what was whole is as it was"
    found = collect(run)
    assert (found.damaged, found.set_aside, found.counts["done"]) == ([], 3, 2)
