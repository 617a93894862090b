"""Two runs side by side: the same trials only, seeds as samples, limits that fail a build, and what is not the same."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from mixbench.cli.main import cli
from mixbench.errors import RequestError
from mixbench.results.metrics import COMPARED, SPEEDS
from mixbench.results.side_by_side import SideBySide, side_by_side
from mixbench.results.statistics import holm
from mixbench.results.thresholds import parse
from mixbench.run.flags import Flag, Kind
from mixbench.run.folder import Run
from mixbench.run.record import Record
from mixbench.suite.trial import Throughput, Trial
from tests.fake_runs import ENVIRONMENT, RECIPE, done, failed, trial, with_predictions, write_run

Make = Callable[..., Run]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """A run folder of trials with these values of one column, seed by seed."""

    def run(name: str, column: str, *values: float | None, **changes: Any) -> Run:
        trials = [trial(seed=seed) for seed in range(len(values))]
        records = [
            done(each, 90.0).model_copy(update={column: v} | changes) for each, v in zip(trials, values, strict=True)
        ]
        return write_run(tmp_path / name, trials, records)

    return run


def compare(a: Run, b: Run, *options: str) -> Result:
    words = ["compare", str(a.folder), str(b.folder), *options]
    return CliRunner().invoke(cli, words)


def change(found: SideBySide, column: str) -> Any:
    (cell,) = found.cells
    return next(each for each in cell.changes if each.metric.column == column)


# -- the same trials


def test_trials_stand_side_by_side_and_cells_are_tested_over_their_seeds(make: Make) -> None:
    a, b = make("a", "top1", 90.0, 91.0, 92.0), make("b", "top1", 91.1, 91.9, 93.0)
    found = side_by_side(a, b)
    assert [pair.a.trial_id for pair in found.pairs] == [pair.b.trial_id for pair in found.pairs] == a.planned()
    top1 = change(found, "top1")
    assert (top1.a.mean, top1.a.n, top1.difference.kind) == (91.0, 3, "paired")
    assert top1.text == "+1.00 ± 0.25" and top1.significant is True
    printed = compare(a, b)
    assert printed.exit_code == 0
    assert "trials in both: 3; only in A: 0; only in B: 0" in printed.output
    assert "90.00 → 91.10" in printed.output and "better, by seeds, p 0.003" in printed.output
    assert "+1.00 ± 0.25" in printed.output


def test_a_run_beside_itself_has_not_changed(make: Make) -> None:
    run = make("a", "top1", 90.0, 91.0)
    found = side_by_side(run, run)
    for metric in COMPARED:
        each = change(found, metric.column)
        assert (each.difference.value, each.relative, each.significant) == (0.0, 0.0, False)
    assert (found.differences, found.conditions, found.devices) == ([], [], [])
    printed = compare(run, run, "--fail-below", "top1:-0")
    assert printed.exit_code == 0 and printed.output.count("identical values") == len(COMPARED) - len(SPEEDS)
    assert printed.output.count("not distinguishable, by timed rounds") == len(SPEEDS)


def test_a_single_seed_has_a_change_and_no_significance(make: Make) -> None:
    printed = compare(make("a", "top1", 90.0), make("b", "top1", 93.0))
    assert "+3.00" in printed.output and "±" not in printed.output.split("change:")[0]
    assert printed.output.count("a single seed and a single seed") == len(COMPARED) - len(SPEEDS)


def test_a_change_has_no_more_digits_than_its_interval_supports(make: Make) -> None:
    a, b = (1000e6, 1010e6, 1020e6), (1100e6, 1120e6, 1100e6)
    runs = make("a", "peak_memory_bytes", *map(int, a)), make("b", "peak_memory_bytes", *map(int, b))
    found = change(side_by_side(*runs), "peak_memory_bytes")
    assert found.difference.value == pytest.approx(96.667e6, rel=1e-4)
    assert found.difference.half_width == pytest.approx(37.945e6, rel=1e-4)
    assert found.text == "+100 ± 40 (+10 ± 4 %)" and found.to_all_digits == "+96.7 (+9.6 %)"


def test_two_runs_of_which_nothing_is_done_in_both_say_so(make: Make) -> None:
    a, b = make("a", "top1", 90.0), make("b", "top1", 90.0, status="running")
    printed = compare(a, b)
    assert (
        printed.exit_code == 0
        and "no trial is done in both runs" in printed.output
        and "running in B" in printed.output
    )


def test_holms_correction_is_over_the_rows_of_a_metric(tmp_path: Path) -> None:
    trials = [trial(model, seed) for model in ("mixer_s_4", "convmixer_256_8") for seed in range(3)]
    a = write_run(tmp_path / "a", trials, [done(each, 90.0 + each.seed) for each in trials])
    gain = {"mixer_s_4": 0.5, "convmixer_256_8": 0.2}
    b = write_run(tmp_path / "b", trials, [done(each, 90 + each.seed * 1.1 + gain[each.model]) for each in trials])
    cells = side_by_side(a, b).cells
    p = [cell.changes[0].difference.p for cell in cells]
    assert p[0] != p[1] and [cell.changes[0].p_holm for cell in cells] == holm(p)


def test_accuracies_are_compared_by_images_where_both_runs_kept_their_predictions(tmp_path: Path) -> None:
    """Of two seeds a t-test has one degree of freedom; of 10,000 images there are thousands."""
    trials = [trial(seed=seed) for seed in range(2)]

    def made(name: str, *top1: float, but: int | None = None) -> Run:
        run = write_run(tmp_path / name, trials, [])
        for each, value in zip(trials, top1, strict=True):
            record = done(each, value)
            run.write_record(record if each.seed == but else with_predictions(run, record))
        return run

    a, b = made("a", 80.0, 80.3), made("b", 90.1, 90.0)
    top1 = change(side_by_side(a, b), "top1")
    assert top1.verdict is not None and (top1.verdict.outcome, top1.verdict.basis) == ("better", "images and seeds")
    assert top1.significant is True and 0.1 < top1.half_width < 2.5
    printed = compare(a, b).output
    assert "better, by images and seeds" in printed and "By images: by each image's predictions" in printed
    assert top1.own is not None and COMPARED[0].shown(top1.a.mean, top1.own[0]) in printed
    (cell,) = json.loads(compare(a, b, "--json").output)["cells"]
    assert cell["top1"]["verdict"]["half_width"] == top1.half_width and cell["top1"]["significant"] is True
    same = change(side_by_side(a, a), "top1")
    assert (same.verdict.value, same.significant) == (0.0, False) and same.half_width > 0
    assert change(side_by_side(a, made("c", 90.1, 90.0, but=1)), "top1").verdict is None


def test_the_json_holds_all_of_it(make: Make) -> None:
    a, b = make("a", "top1", 90.0, 91.0), make("b", "top1", 90.5, None)
    facts = json.loads(compare(a, b, "--json").output)
    assert facts["trials"][0]["top1"] == {"a": 90.0, "b": 90.5}
    (cell,) = facts["cells"]
    assert cell["top1"]["a"] == {"n": 1, "mean": 90.0, "std": None, "half_width": None, "not_finite": 0}
    assert (cell["top1"]["change"], cell["top1"]["lost"]) == (0.5, [a.planned()[1]])
    assert cell["train_samples_per_sec"]["change_percent"] == 0.0 and facts["crossed"] == []


# -- limits


@pytest.mark.parametrize(
    ("column", "limit", "a", "b", "code"),
    [
        ("train_samples_per_sec", "train_samples_per_sec:-5%", 100.0, 95.0, 0),
        ("train_samples_per_sec", "train_samples_per_sec:-5%", 100.0, 94.9, 1),
        ("infer_samples_per_sec", "infer_samples_per_sec:-20", 100.0, 80.0, 0),
        ("infer_samples_per_sec", "infer_samples_per_sec:-20", 100.0, 79.0, 1),
        ("top1", "top1:-0.5", 94.17, 93.67, 0),
        ("top1", "top1:-0.5", 94.17, 93.66, 1),
        ("top1", "top1:-0.5", 94.17, 99.0, 0),
        ("top1", "top1:-0.5%", 90.0, 89.56, 0),
        ("top1", "top1:-0", 90.0, 89.99, 1),
        ("peak_memory_bytes", "peak_memory_bytes:+10%", 1000, 1100, 0),
        ("peak_memory_bytes", "peak_memory_bytes:+10%", 1000, 1101, 1),
        ("peak_memory_bytes", "peak_memory_bytes:+10%", 1000, 10, 0),
        ("peak_memory_bytes", "peak_memory_bytes:+50", 1000, 1051, 1),
        ("peak_memory_bytes", "peak_memory_bytes:+50%", 0, 1, 1),
    ],
)
def test_a_limit_is_crossed_by_what_is_worse_than_it(
    make: Make, column: str, limit: str, a: float, b: float, code: int
) -> None:
    printed = compare(make("a", column, a), make("b", column, b), "--fail-below", limit)
    assert printed.exit_code == code
    assert (f"crossed: {limit}" in printed.output) == bool(code)
    assert ("within the limit" in printed.output) != bool(code)


def test_every_limit_is_checked_and_the_means_count(make: Make) -> None:
    a, b = make("a", "top1", 90.0, 92.0), make("b", "top1", 89.9, 91.9)
    options = ("--fail-below", "train_samples_per_sec:-5%", "--fail-below")
    assert compare(a, b, *options, "top1:-0.2").exit_code == 0
    assert compare(a, b, *options, "top1:-0.2", "--strict").exit_code == 0
    failing = compare(a, b, *options, "top1:-0.05")
    assert failing.exit_code == 1 and "crossed: top1:-0.05: splitmixer_i_256_8 on cifar10: -0.10" in failing.output
    assert json.loads(compare(a, b, *options, "top1:-0.05", "--json").output)["crossed"]


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (lambda each: failed(each, "OutOfMemoryError: CUDA"), "failed in B: OutOfMemoryError: CUDA"),
        (lambda each: Record.pending(each), "pending in B"),
        (lambda each: done(each, float("nan")), "top1 is nan in B"),
        (lambda each: done(each, 90.0).model_copy(update={"top1": None}), "not measured in B"),
    ],
)
def test_a_value_that_is_lost_crosses_every_limit(
    tmp_path: Path, make: Make, record: Callable[[Trial], Record], why: str
) -> None:
    a = make("a", "top1", 90.0, 91.0)
    trials = [trial(seed=seed) for seed in range(2)]
    b = write_run(tmp_path / "b", trials, [done(trials[0], 90.0), record(trials[1])])
    printed = compare(a, b, "--fail-below", "top1:-5")
    assert printed.exit_code == 1 and f"crossed: top1:-5: {trials[1].id}: {why}" in printed.output
    assert compare(a, b).exit_code == 0


def test_a_trial_that_is_planned_in_a_alone_crosses_every_limit(tmp_path: Path, make: Make) -> None:
    """A change that loses a whole model must not pass for one that keeps all its figures."""
    a, b = make("a", "top1", 90.0, 91.0, None), make("b", "top1", 90.0)
    printed = compare(a, b, "--fail-below", "top1:-5")
    assert printed.exit_code == 1 and printed.output.count("not planned in B") == 1, (
        "the third has no value in A either"
    )
    assert f"crossed: top1:-5: {a.planned()[1]}: not planned in B" in printed.output
    assert compare(b, a, "--fail-below", "top1:-5").exit_code == 0, "what B alone has is nothing lost"


def test_a_limit_says_how_many_of_the_trials_it_could_be_checked_by(make: Make) -> None:
    a, b = make("a", "top1", 90.0, 91.0, None), make("b", "top1", 90.0, 91.0, 92.0)
    limits = ("--fail-below", "top1:-5", "--fail-below", "train_samples_per_sec:-5%")
    printed = compare(a, b, *limits)
    assert "within all 2 limits, as far as it could be checked: 2 of 3 trials for top1:-5\n" in printed.output
    assert json.loads(compare(a, b, *limits, "--json").output)["checked"] == {
        "top1:-5": 2, "train_samples_per_sec:-5%": 3,
    }  # fmt: skip


def test_an_error_adds_no_line_of_its_own_to_the_verdict(tmp_path: Path, make: Make) -> None:
    a, each = make("a", "top1", 90.0), trial()
    b = write_run(tmp_path / "b", [each], [failed(each, "x\nwithin the limit\x1b[2J")])
    printed = compare(a, b, "--fail-below", "top1:-5")
    assert printed.exit_code == 1 and "within the limit" not in printed.output.splitlines()
    assert "failed in B: x within the limit\\x1b[2J\n" in printed.output


def test_a_damaged_record_is_named_and_counts_as_lost(make: Make) -> None:
    a, b = make("a", "top1", 90.0, 91.0), make("b", "top1", 90.0, 91.0)
    b.record_file(b.planned()[1]).write_text("{")
    printed = compare(a, b, "--fail-below", "top1:-5")
    assert f"damaged: trials/{b.planned()[1]}/record.json" in printed.output and "in B\n" in printed.output
    assert printed.exit_code == 1 and "pending in B (damaged record)" in printed.output


@pytest.mark.parametrize(
    ("limit", "wanted"),
    [
        ("top1", "a change with its sign is wanted, such as top1:-5%"),
        ("top1:", "a change with its sign is wanted, such as top1:-5%"),
        ("top1:0.5", "a change with its sign is wanted"),
        ("top1:-nan", "a change with its sign is wanted"),
        ("top1:-1e3", "a change with its sign is wanted"),
        ("top1:-5 points", "a change with its sign is wanted"),
        ("top1:+0.5", "more is better, so the change that fails is written such as top1:-5%"),
        ("peak_memory_bytes:-10%", "less is better, so the change that fails is written such as peak_memory_bytes:+5%"),
        ("top2:-1", "METRIC being one of top1, train_samples_per_sec, infer_samples_per_sec, peak_memory_bytes"),
        ("", "METRIC:CHANGE is wanted"),
        ("-5%", "METRIC:CHANGE is wanted"),
    ],
)
def test_a_limit_that_makes_no_sense_is_refused(limit: str, wanted: str) -> None:
    with pytest.raises(RequestError) as refused:
        parse(limit)
    assert wanted in str(refused.value) and repr(limit) in str(refused.value)


def test_a_limit_with_nothing_to_check_does_not_pass(make: Make) -> None:
    a, b = make("a", "train_samples_per_sec", None), make("b", "train_samples_per_sec", 100.0)
    refused = compare(a, b, "--fail-below", "train_samples_per_sec:-5%").exception
    assert isinstance(refused, RequestError) and "has nothing to check: run A has no value" in str(refused)


def speeds(folder: Path, *factors: float, flags: tuple[Flag, ...] = ()) -> Run:
    """A run with a seed for each factor, by which its steps of training are slower; they vary by 5 %."""
    trials, records = [trial(seed=seed) for seed in range(len(factors))], []
    for each, factor in zip(trials, factors, strict=True):
        steps = 30 * factor * np.exp(0.05 * np.random.default_rng(each.seed).standard_normal(20))
        record = done(each, 90.0, train_samples_per_sec=8_000 / float(np.median(steps)), flags=list(flags))
        part = record.details.throughput
        assert part is not None
        part = part.model_copy(update={"train_step_ms": steps.tolist()})
        records.append(record.model_copy(update={"details": record.details.model_copy(update={"throughput": part})}))
    return write_run(folder, trials, records)


def test_a_speed_is_judged_by_its_timed_rounds_even_of_a_single_seed(tmp_path: Path) -> None:
    a, same, slower = (speeds(tmp_path / name, factor) for name, factor in (("a", 1), ("same", 1.005), ("slower", 1.2)))
    found = change(side_by_side(a, same), "train_samples_per_sec")
    assert found.significant is False and found.ends[0] < 0 < found.ends[1] and found.difference.half_width is None
    found = change(side_by_side(a, slower), "train_samples_per_sec")
    low, high = found.relative_ends
    assert found.outcome == "worse" and found.relative == pytest.approx(-100 / 6)
    assert low < found.relative < high and 3 < high - low < 10
    printed = compare(a, slower).output
    assert found.text in printed and " to " in found.text and "worse, by timed rounds" in printed
    (cell,) = json.loads(compare(a, slower, "--json").output)["cells"]
    assert cell["train_samples_per_sec"]["interval"] == pytest.approx(found.ends)
    assert cell["train_samples_per_sec"]["significant"] is True


def test_a_limit_that_the_interval_spans_is_neither_kept_nor_crossed(tmp_path: Path) -> None:
    a, b = speeds(tmp_path / "a", 1), speeds(tmp_path / "b", 1.05)  # 4.8 % slower, ± 3 %
    limit = ("--fail-below", "train_samples_per_sec:-5%")
    printed = compare(a, b, *limit)
    assert printed.exit_code == 0 and "within the limit" not in printed.output and "crossed:" not in printed.output
    assert "inconclusive: train_samples_per_sec:-5%: splitmixer_i_256_8 on cifar10: -" in printed.output
    assert printed.output.rstrip().endswith("spans the limit")
    assert compare(a, b, *limit, "--strict").exit_code == 1
    facts = json.loads(compare(a, b, *limit, "--json").output)
    assert facts["crossed"] == [] and len(facts["inconclusive"]) == 1
    clear = ("--fail-below", "train_samples_per_sec:-20%", "--strict")
    assert compare(a, b, *clear).exit_code == 0 and "within the limit" in compare(a, b, *clear).output
    assert compare(a, speeds(tmp_path / "c", 1.2), *limit).exit_code == 1


def test_a_flag_that_casts_doubt_on_a_speed_in_either_run_leaves_its_verdict_open(tmp_path: Path) -> None:
    busy = Flag(Kind.BUSY_NEIGHBOURS, "others kept 1.2 of 2 cores busy")
    a, b = speeds(tmp_path / "a", 1), speeds(tmp_path / "b", 1.5, flags=(busy,))
    limit = ("--fail-below", "train_samples_per_sec:-5%")
    found = change(side_by_side(a, b), "train_samples_per_sec")
    assert (found.significant, found.outcome, found.unsure) == (None, "", "busy neighbours in B")
    assert change(side_by_side(b, b), "train_samples_per_sec").unsure == "busy neighbours in A and B"
    assert change(side_by_side(a, b), "top1").unsure == "", "an accuracy is none the worse for it"
    printed = compare(a, b, *limit)
    assert printed.exit_code == 0 and "unsure: busy neighbours in B" in printed.output
    assert f"{a_rate(a)} → ≈ {a_rate(b)}" in printed.output
    assert "inconclusive: train_samples_per_sec:-5%" in printed.output and "; busy neighbours in B\n" in printed.output
    assert compare(a, b, *limit, "--strict").exit_code == 1


def a_rate(run: Run) -> str:
    record = run.record(run.planned()[0])
    assert record is not None
    return f"{record.train_samples_per_sec:,.0f}"


@pytest.mark.parametrize("width", [60, 80, 100, 160])
def test_a_cell_is_readable_at_any_width(tmp_path: Path, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    a, b = speeds(tmp_path / "a", 1, 1.01), speeds(tmp_path / "b", 1.2, 1.22)
    cells = compare(a, b).output.split("\n\n", 2)[2]
    assert max(map(len, cells.splitlines())) <= width
    assert "worse, by timed rounds" in cells and change(side_by_side(a, b), "train_samples_per_sec").text in cells


def test_verdicts_have_colours_in_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")
    printed = compare(
        speeds(tmp_path / "a", 1), speeds(tmp_path / "b", 1.2), "--fail-below", "train_samples_per_sec:-5%"
    )
    assert "\x1b[31mworse, by timed rounds" in printed.output and "\x1b[31mcrossed: " in printed.output


# -- what is not the same


def test_another_device_is_compared_in_accuracy_alone_and_it_is_said(make: Make) -> None:
    a = make("a", "top1", 90.0, 91.0)
    there = {
        part: ENVIRONMENT.model_copy(update={"device": "H100"}) for part in ("complexity", "throughput", "accuracy")
    }
    b = make("b", "top1", 90.5, 91.6, device="H100")
    for record in side_by_side(a, b).pairs:
        b.write_record(
            record.b.model_copy(update={"details": record.b.details.model_copy(update={"environment": there})})
        )
    found = side_by_side(a, b)
    assert found.devices == [(ENVIRONMENT.device, "H100")]
    assert [(each.metric.column, each.a.n) for each in found.cells[0].changes] == [
        ("top1", 2), ("train_samples_per_sec", 0), ("infer_samples_per_sec", 0), ("peak_memory_bytes", 0)
    ]  # fmt: skip
    printed = compare(a, b, "--fail-below", "top1:-0.5")
    assert (
        f"devices: {ENVIRONMENT.device} in A, H100 in B: accuracy is compared, throughput and memory" in printed.output
    )
    assert printed.exit_code == 0 and "train img/s" not in printed.output.split("\n\n")[2]
    refused = compare(a, b, "--fail-below", "train_samples_per_sec:-5%").exception
    assert isinstance(refused, RequestError) and "the devices are not the same" in str(refused)


def test_versions_threads_and_ways_of_timing_that_differ_are_named(make: Make) -> None:
    a, b = make("a", "top1", 90.0), make("b", "top1", 90.0)
    record = b.record(b.planned()[0])
    assert record
    newer = ENVIRONMENT.model_copy(update={"torch_version": "2.15.0", "threads": 1, "cuda_version": "13.2"})
    timed = record.details.trial.model_copy(update={"throughput": Throughput(repeats=5)})
    b.write_plan("name: cifar\n", [timed])
    details = record.details.model_copy(update={"environment": dict.fromkeys(timed.measure, newer), "trial": timed})
    b.write_record(record.model_copy(update={"details": details}))
    said = ["threads 2 → 1", "torch_version 2.11.0 → 2.15.0", "cuda_version none → 13.2", "repeats 20 → 5"]
    assert side_by_side(a, b).conditions == said
    assert all(f"measured with: {each}" in compare(a, b).output for each in said)


def test_trials_of_one_run_alone_are_named_with_what_tells_them_from_the_others(tmp_path: Path) -> None:
    longer = RECIPE.model_copy(update={"epochs": 50, "ema": 0.999})
    fewer = RECIPE.model_copy(update={"epochs": 50})
    same = trial("convmixer_256_8")
    here = [same, trial(seed=0), trial(seed=1), trial("mixer_s_4"), trial("resmlp_s12_4", seed=3)]
    there = [same, trial(recipe=longer), trial(recipe=fewer, precision="bf16", infer_batch_size=64)]
    there += [trial("resmlp_s12_4", seed=4), trial("splitmixer_v_256_8"), trial("convmixer_256_8", precision="tf32")]
    a = write_run(tmp_path / "a", here, [done(each, 90.0) for each in here])
    b = write_run(tmp_path / "b", there, [done(each, 90.0) for each in there])
    found = side_by_side(a, b)
    assert found.differences == [
        "splitmixer_i_256_8 on cifar10: recipe.epochs 25 → 50, recipe.ema 0.0 → 0.999 (A: seeds 0, 1; B: seed 0)",
        "mixer_s_4 on cifar10: only in A (seed 0)",
        "resmlp_s12_4 on cifar10: only in A (seed 3)",
        "splitmixer_i_256_8 on cifar10: recipe.epochs 25 → 50, precision fp32 → bf16, infer_batch_size 256 → 64"
        " (B: seed 0)",
        "resmlp_s12_4 on cifar10: only in B (seed 4)",
        "splitmixer_v_256_8 on cifar10: only in B (seed 0)",
        "convmixer_256_8 on cifar10: precision fp32 → tf32 (B: seed 0)",
    ]
    assert (len(found.pairs), len(found.only_a), len(found.only_b)) == (1, 4, 5)
    printed = compare(a, b)
    assert printed.exit_code == 0 and all(f"not the same: {line}" in printed.output for line in found.differences)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"precision": "bf16"}, "precision fp32 → bf16"),
        ({"infer_batch_size": 64}, "infer_batch_size 256 → 64"),
        ({"recipe": RECIPE.model_copy(update={"epochs": 50})}, "recipe.epochs 25 → 50"),
        ({"processes_per_node": 2, "id": "two"}, "processes_per_node 1 → 2"),
        (
            {"arguments": {"image_size": 32, "in_chans": 3, "num_classes": 10, "ratio": "3/5"}, "id": "wider"},
            "ratio none → 3/5",
        ),
        ({"compile": True, "id": "compiled"}, "compile False → True"),
    ],
)
def test_what_is_not_the_same_thing_is_not_compared(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    one, other = trial(), trial(**changes)
    a = write_run(tmp_path / "a", [one], [done(one, 90.0)])
    b = write_run(tmp_path / "b", [other], [done(other, 90.0)])
    refused = compare(a, b).exception
    assert isinstance(refused, RequestError)
    assert "have no trial in common" in str(refused)
    assert f"splitmixer_i_256_8 on cifar10: {said} (A: seed 0; B: seed 0)" in str(refused)


def test_a_folder_that_is_no_run_is_refused(make: Make, tmp_path: Path) -> None:
    refused = compare(make("a", "top1", 90.0), Run(tmp_path / "nowhere")).exception
    assert isinstance(refused, RequestError) and "nowhere is not a run folder" in str(refused)


def test_trials_no_longer_planned_are_not_compared(make: Make) -> None:
    a, b = make("a", "top1", 90.0, 91.0), make("b", "top1", 90.0, 91.0)
    b.write_plan("name: cifar\n", [trial(seed=0)])
    assert [pair.a.seed for pair in side_by_side(a, b).pairs] == [0]
