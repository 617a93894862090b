"""Records: the columns' contract, whole or not at all on disk, what is damaged is never used."""

import json
import math
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from random import Random
from typing import get_args

import pytest

from mixbench.run.flags import Flag, Kind
from mixbench.run.parts import Complexity, Curve, Epoch, Layer, not_finite
from mixbench.run.record import COLUMNS, DamagedRecord, Record, Status, read_record
from mixbench.run.timings import ThroughputSamples
from mixbench.suite.trial import Measure
from mixbench.system.checksum import is_untouched, with_checksums
from mixbench.system.files import set_aside, to_json, write_atomically
from tests.fake_runs import ENVIRONMENT, damaged
from tests.trials import plan_trials

CONTRACT = (
    "suite,trial_id,status,model,label,family,dataset,image_size,seed,params,macs,flops,macs_ptflops,activations,recipe,"
    "top1,top5,test_loss,train_loss,epochs,train_seconds,train_samples_per_sec,train_batch_size,infer_samples_per_sec,"
    "infer_batch_size,infer_step_ms_p50,infer_step_ms_p95,peak_memory_bytes,precision,memory_format,compiled,nodes,"
    "world_size,device,torch_version,git_commit,started_at,finished_at,flags,error,run,"
    "infer_step_ms_p5,infer_step_cv,train_step_ms_p50,train_step_ms_p5,train_step_ms_p95,train_step_cv,timed_steps,"
    "device_memory_bytes,infer_joules_per_image,threads,model_code"
)


@pytest.fixture
def record(tmp_path: Path) -> Record:
    [trial] = plan_trials(tmp_path, resources={"processes_per_node": 2})
    return Record.pending(trial)


def epoch(number: int, top1: float, test_loss: float = 0.5) -> Epoch:
    return Epoch(epoch=number, lr=0.1, train_loss=0.4, test_loss=test_loss, top1=top1, top5=99.0, seconds=1.5)


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_the_first_number_of_a_part_that_is_not_finite_is_named(wrong: float) -> None:
    epochs = [epoch(1, 96.0), epoch(2, 95.0)]
    curve = Curve(epochs=epochs, best_top1_optimistic=96.0, best_epoch=1, test_images=360)
    assert not_finite(curve) == ""
    odd = curve.model_copy(update={"epochs": [epochs[0], epoch(2, 95.0, test_loss=wrong)]})
    assert not_finite(odd) == f"epochs.1.test_loss is {wrong}"
    timed = ThroughputSamples(infer_step_ms=[1.0], train_step_ms=[1.0, wrong], warmup=1, interleaved_with=0)
    assert not_finite(timed) == f"train_step_ms.1 is {wrong}"


def test_the_columns_are_the_contracts() -> None:
    assert ",".join(COLUMNS) == CONTRACT


def test_throughput_is_the_batch_of_all_processes_over_the_median_step(record: Record) -> None:
    samples = ThroughputSamples(
        infer_step_ms=[4.0, 2.0, 9.0], train_step_ms=[10.0, 30.0, 20.0, 40.0], warmup=1, interleaved_with=0
    )
    record.add_throughput(samples)
    assert record.infer_samples_per_sec == pytest.approx(1000 * 8 * 2 / 4)
    assert record.train_samples_per_sec == pytest.approx(1000 * 70 / 25)
    assert record.infer_step_ms_p50 == 4 and record.infer_step_ms_p95 == pytest.approx(8.5)
    assert record.infer_step_ms_p5 == pytest.approx(2.2) and record.timed_steps == 3
    assert record.infer_step_cv == pytest.approx(13**0.5 / 5)
    assert record.train_step_ms_p5 == pytest.approx(11.5) and record.train_step_ms_p95 == pytest.approx(38.5)


def test_a_wider_measure_keeps_the_parts_there_are_and_says_its_batch_sizes(tmp_path: Path) -> None:
    [narrow] = plan_trials(tmp_path, measure=["complexity"])
    [wide] = plan_trials(tmp_path)
    earlier, record = Record.pending(narrow), Record.pending(wide)
    assert earlier.train_batch_size is None and earlier.infer_batch_size is None
    counts = Complexity(params=3, macs=5, macs_ptflops=6, activations=7, layers=[])
    earlier.add_complexity(counts)
    record.keep(earlier)
    assert (record.params, record.flops, record.macs_ptflops, record.activations) == (3, 10, 6, 7)
    assert (record.train_batch_size, record.infer_batch_size, record.recipe) == (70, 8, "default")
    assert record.missing(wide.measure) == ["throughput", "accuracy"]


@pytest.fixture
def measured(record: Record) -> Record:
    """The record with every part, not yet said to be done."""
    layer = Layer(name="head", type="Linear", params=3, macs=5, input_shape=[4], output_shape=[10])
    record.add_complexity(
        Complexity(params=3, macs=5, macs_ptflops=6, activations=7, layers=[layer], uncounted=["sin"])
    )
    samples = ThroughputSamples(
        infer_step_ms=[4.0, 2.0],
        train_step_ms=[10.0, 30.0],
        warmup=1,
        interleaved_with=2,
        peak_memory_bytes=12_345,
        device_memory_bytes=23_456,
        joules_per_image=0.25,
    )
    record.add_throughput(samples)
    curve = Curve(epochs=[epoch(1, 96.0), epoch(2, 95.0)], best_top1_optimistic=96.0, best_epoch=1, test_images=360)
    record.add_accuracy(curve)
    record.details.environment = {
        "throughput": ENVIRONMENT,
        "accuracy": ENVIRONMENT.model_copy(update={"host": "another"}),
    }
    record.device, record.torch_version, record.git_commit = "a GPU", "2.11.0", "1f0c2d3e"
    record.threads = 2
    record.started_at, record.flags = "2026-11-20T09:00:00+00:00", [Flag(Kind.UNCOMMITTED_CHANGES)]
    return record


def test_an_earlier_records_parts_are_kept_whole_through_the_disk(measured: Record, tmp_path: Path) -> None:
    empty = {name for name in COLUMNS if getattr(measured, name) in (None, "", [])}
    assert empty == {"finished_at", "error", "run"}, "all that can be kept is there to be kept"
    write_atomically(tmp_path / "record.json", with_checksums(to_json(measured)))
    again = Record.pending(measured.details.trial)
    again.keep(read_record(tmp_path / "record.json"))
    assert again == measured and to_json(again) == to_json(measured)


def test_an_earlier_records_failure_is_not_kept_nor_is_it_changed_by_what_is_added_later(measured: Record) -> None:
    measured.status, measured.error, measured.finished_at = "failed", "the node was lost", "2026-11-20T11:00:00+00:00"
    measured.details.traceback = "Traceback"
    earlier = to_json(measured)
    record = Record.pending(measured.details.trial)
    record.keep(measured)
    assert (record.status, record.error, record.finished_at, record.details.traceback) == ("pending", "", "", "")
    record.flags.append(Flag(Kind.VALIDATION_SPLIT))
    record.details.environment["complexity"] = ENVIRONMENT
    assert to_json(measured) == earlier


def test_only_a_record_that_is_done_holds_what_is_asked_for(measured: Record) -> None:
    everything: tuple[Measure, ...] = ("complexity", "throughput", "accuracy")
    for status in get_args(Status):
        measured.status = status
        assert measured.holds(everything) == measured.holds(()) == (status == "done"), status
    measured.status, measured.details.curve = "done", None
    assert measured.holds(("complexity", "throughput")) and not measured.holds(everything)


def test_top1_is_the_last_epochs_the_best_stands_in_the_details_only(record: Record) -> None:
    epochs = [epoch(1, 90.0), epoch(2, 96.0), epoch(3, 95.0)]
    record.add_accuracy(Curve(epochs=epochs, best_top1_optimistic=96.0, best_epoch=2, test_images=360))
    assert record.top1 == 95 and record.epochs == 3 and record.train_seconds == 4.5
    assert record.missing(("complexity", "throughput", "accuracy")) == ["complexity", "throughput"]


def test_a_record_comes_back_from_disk_as_it_was_also_with_a_loss_that_is_no_number(
    record: Record, tmp_path: Path
) -> None:
    curve = Curve(epochs=[epoch(1, 10.0, math.nan)], best_top1_optimistic=10.0, best_epoch=1, test_images=360)
    record.add_accuracy(curve)
    write_atomically(tmp_path / "record.json", with_checksums(to_json(record)))
    again = read_record(tmp_path / "record.json")
    assert to_json(again) == to_json(record)
    assert again.details.trial == record.details.trial and math.isnan(again.test_loss or 0)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[: len(text) // 2],
        lambda text: "",
        lambda text: "[]",
        lambda text: "null",
        lambda text: "{}",
        lambda text: text.replace('"schema_version": 2', '"schema_version": 99'),
        lambda text: text.replace('"schema_version": 2', '"schema_version": 1'),
        lambda text: text.replace('"sha256": "', '"sha256": "0'),
        lambda text: text.replace('"sha256"', '"sha257"'),
        lambda text: text.replace('"seed": 0', '"seed": 1'),
        lambda text: "[" * 100_000,
        lambda text: text.replace('"status": "pending"', '"status": "finished"'),
        lambda text: text.replace('"seed": 0', '"seed": "zero"'),
        lambda text: "\udcff",
    ],
)
def test_a_damaged_or_foreign_record_is_named_in_one_line(
    damage: Callable[[str], str], record: Record, tmp_path: Path
) -> None:
    path = tmp_path / "record.json"
    write_atomically(path, with_checksums(to_json(record)))
    whole = path.read_text(encoding="utf-8")
    assert damage(whole) != whole
    path.write_text(damage(whole), encoding="utf-8", errors="surrogateescape")
    with pytest.raises(DamagedRecord) as caught:
        read_record(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_record_of_version_1_which_had_no_checksum_is_read_and_gets_one_when_it_is_written_again(
    measured: Record, tmp_path: Path
) -> None:
    path = tmp_path / "record.json"
    path.write_text(to_json(measured).replace('"schema_version": 2', '"schema_version": 1'), encoding="utf-8")
    record = read_record(path)
    assert record == measured and record.schema_version == 2
    write_atomically(path, with_checksums(to_json(record)))
    assert '"sha256": "' in path.read_text(encoding="utf-8") and read_record(path) == measured


def test_a_record_damaged_at_random_bytes_is_never_used(measured: Record, tmp_path: Path) -> None:
    """Either it says what was written, or it is refused: 600 records, flipped, cut, zeroed or doubled somewhere."""
    path = tmp_path / "record.json"
    write_atomically(path, with_checksums(to_json(measured)))
    whole = path.read_bytes()
    random, refused = Random(0), 0
    for _ in range(600):
        path.write_bytes(damaged(whole, random))
        try:
            assert read_record(path) == measured
        except DamagedRecord as error:
            refused += 1
            assert str(path) in str(error) and "\n" not in str(error)
    assert refused > 500, "the rest are blanks, and bytes replaced by themselves"


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "record.json"
    write_atomically(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, "new")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_what_is_set_aside_is_kept_under_the_next_free_name_be_it_a_file_a_folder_or_a_link(tmp_path: Path) -> None:
    path = tmp_path / "record.json"
    path.write_text("first")
    assert set_aside(path) == tmp_path / "record.json.damaged-1"
    path.mkdir()
    (path / "inside").write_text("second")
    assert set_aside(path) == tmp_path / "record.json.damaged-2"
    path.symlink_to(tmp_path)
    assert set_aside(path) == tmp_path / "record.json.damaged-3"
    assert (tmp_path / "record.json.damaged-1").read_text() == "first"
    assert (tmp_path / "record.json.damaged-2" / "inside").read_text() == "second"
    assert (tmp_path / "record.json.damaged-3").is_symlink() and not path.exists()


def test_of_several_that_set_one_file_aside_at_once_one_does_and_all_else_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "record.json"

    def attempt(_: int) -> int:
        try:
            set_aside(path)
        except FileNotFoundError:
            return 0
        return 1

    with ThreadPoolExecutor(8) as pool:
        for number in range(50):
            path.write_text(str(number))
            assert sum(pool.map(attempt, range(8))) == 1
    assert sorted(int(file.read_text()) for file in tmp_path.iterdir()) == list(range(50))


def test_what_is_not_there_cannot_be_set_aside_and_leaves_no_name_taken(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        set_aside(tmp_path / "record.json")
    assert not list(tmp_path.iterdir())


def test_a_record_is_believed_whatever_its_layout_and_refused_where_a_value_was_changed_with_its_text_seal_made_anew(
    measured: Record, tmp_path: Path
) -> None:
    path = tmp_path / "record.json"
    write_atomically(path, with_checksums(to_json(measured)))
    contents = json.loads(path.read_bytes())
    assert is_untouched(path.read_bytes())
    path.write_text(json.dumps(contents, sort_keys=True))
    assert not is_untouched(path.read_bytes()) and read_record(path) == measured
    path.write_text(json.dumps(contents | {"params": 4}, indent=1))
    with pytest.raises(DamagedRecord, match="checksum"):
        read_record(path)


def test_a_whole_record_of_a_later_version_is_refused_by_its_version_even_where_its_keys_differ(
    measured: Record, tmp_path: Path
) -> None:
    path = tmp_path / "record.json"
    later = json.loads(to_json(measured)) | {"schema_version": 3, "status": "as never before"}
    write_atomically(path, with_checksums(json.dumps(later)))
    with pytest.raises(DamagedRecord, match="schema version 3, this mixbench reads 2"):
        read_record(path)
