"""Rows of a summary compared: by predictions where all trials have them, of the same images; else by seeds."""

import io
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from rich.console import Console

from mixbench.cli.status import print_summary
from mixbench.report.findings import findings
from mixbench.report.formats.markdown import markdown
from mixbench.report.leaderboard import board
from mixbench.results.comparisons import Comparisons, mark_best
from mixbench.results.metrics import QUALITY
from mixbench.results.summary import Group, groups
from mixbench.results.tables import tables
from mixbench.run.flags import Flag, Kind
from mixbench.run.predictions import Predictions
from mixbench.run.record import Record
from tests.fake_runs import RECIPE, done, trial, with_predictions, write_run

IMAGES = 2_000


def rows(**accuracies: list[float]) -> list[Group]:
    return groups([
        done(trial(model, seed), top1) for model, values in accuracies.items() for seed, top1 in enumerate(values)
    ])  # fmt: skip


def without(_: Record) -> None:
    return None


def drawn(shift: int = 0, but: str = "") -> Callable[[Record], Predictions | None]:
    """Predictions with a trial's top-1 on images that all models find hard in the same order; none of the model `but`.

    `shift`: of the true classes of the model b.
    """

    def predictions(record: Record) -> Predictions | None:
        if record.model == but:
            return None
        rng = np.random.default_rng(record.seed + 100 * len(record.model))
        hard = np.arange(IMAGES) / IMAGES + 0.01 * rng.standard_normal(IMAGES)
        labels = (np.arange(IMAGES) + (shift if record.model == "b" else 0)) % 10
        predicted = np.where(100 * hard < QUALITY.of(record), labels, (labels + 1) % 10)
        certain = np.zeros(IMAGES, np.float32)
        return Predictions(labels.astype(np.uint8), predicted.astype(np.uint8), certain, certain)

    return predictions


def outcomes(found: Comparisons, some: list[Group]) -> dict[str, tuple[str, str]]:
    return {
        each.first.row.model + each.second.row.model: (each.verdict.outcome, each.verdict.basis)
        for each in found.pairs(some)
    }


THREE = dict(a=[90.0, 90.5, 90.2], b=[85.0, 85.6, 85.1], c=[90.2, 90.4, 90.1])


def test_status_shows_the_interval_that_the_summary_has(tmp_path: Path) -> None:
    trials = [trial("a", seed) for seed in range(2)] + [trial("b")]
    run = write_run(tmp_path, trials, [])
    for each in trials:
        run.write_record(with_predictions(run, done(each, 90.0)))
    found, printed = tables(run), io.StringIO()
    print_summary(found.records, Console(file=printed, width=140), run)
    assert [
        QUALITY.shown(group.row.quality, group.row.quality_ci95) in printed.getvalue() for group in found.groups
    ] == [
        True,
        True,
    ]
    assert all(group.row.top1_ci95_images for group in found.groups)


def test_rows_are_compared_by_their_seeds_where_no_predictions_were_kept() -> None:
    some = rows(**THREE, d=[90.0])
    found = outcomes(Comparisons(some, without), some)
    assert (found["ab"], found["ac"]) == (("better", "seeds"), ("not distinguishable", "seeds"))
    assert [found[pair][0] for pair in ("ad", "bd", "cd")] == ["not testable"] * 3


def test_rows_are_compared_by_their_images_where_all_trials_have_predictions() -> None:
    some = rows(**THREE, d=[90.0])
    found = outcomes(Comparisons(some, drawn()), some)
    assert (found["ab"], found["ac"]) == (
        ("better", "images and seeds"),
        ("not distinguishable", "images and seeds"),
    )
    assert found["bd"] == ("worse", "images")


def test_a_row_that_lacks_predictions_or_has_those_of_other_images_is_compared_by_its_seeds() -> None:
    some = rows(**THREE)
    for predictions in (drawn(shift=1), drawn(but="b")):
        found = outcomes(Comparisons(some, predictions), some)
        assert [found[pair][1] for pair in ("ab", "ac", "bc")] == ["seeds", "images and seeds", "seeds"]


def test_both_orders_of_a_pair_have_one_verdict() -> None:
    some = rows(**THREE)
    found = Comparisons(some, drawn())
    one, other = found.of(some[0], some[1]).verdict, found.of(some[1], some[0]).verdict
    assert one.value is not None and other.value is not None and one.half_width == other.half_width
    assert (one.value, one.outcome) == (-other.value, "better") and other.outcome == "worse"


def test_rows_tested_on_other_images_are_no_pair() -> None:
    held_out = RECIPE.model_copy(update={"split": "val"})
    trials = [trial("a"), trial("a", dataset="cifar100"), trial("a", recipe=held_out, id="val")]
    some = groups([done(each, 90.0) for each in trials])
    mark_best(some, Comparisons(some, without))
    assert [(group.row.top1_verdict, group.row.top1_to_best) for group in some] == [("best", None)] * 3


def test_a_failed_trial_takes_no_part_in_a_comparison() -> None:
    one, other = rows(a=[90.0, 91.0, 92.0], b=[89.0, 90.1])
    with_failed = replace(other, records=[*other.records, other.records[0].model_copy(update={"status": "failed"})])
    found = [Comparisons([one, each], without).of(one, each).verdict for each in (other, with_failed)]
    assert found[0] == found[1] and found[0].basis == "seeds"


def test_the_verdict_on_a_pair_is_the_same_in_all_views(tmp_path: Path) -> None:
    """Findings and summary.csv say the same of each pair; the board: tests/browser/test_leaderboard.py."""
    top1 = {name: [value + 0.3 * seed for seed in range(3)] for name, value in dict(a=90.0, b=89.3, c=85.0).items()}
    trials = {(name, seed): trial(name, seed) for name, values in top1.items() for seed in range(len(values))}
    records = [done(each, top1[name][seed]) for (name, seed), each in trials.items()]
    of = tables(write_run(tmp_path, list(trials.values()), records))
    [found] = findings(of)
    of_best = {pair.second.name: pair.verdict.turned for pair in found.pairs if pair.first.name == "a"}
    table = of.summary.set_index("model")
    assert table.top1_verdict["a"] == "best"
    for name in "bc":
        assert table.top1_verdict[name] == of_best[name].words
        assert (table.top1_to_best[name], table.top1_to_best_ci95[name]) == (
            of_best[name].value,
            of_best[name].half_width,
        )


def test_a_speed_that_a_flag_casts_doubt_on_is_marked_wherever_it_stands(tmp_path: Path) -> None:
    busy = [Flag(Kind.BUSY_NEIGHBOURS, "others kept 1.2 of 2 cores busy")]
    trials = [trial(name) for name in ("convmixer_256_8", "splitmixer_i_256_8")]
    records = [done(trials[0], 91.0, flags=busy), done(trials[1], 90.0)]
    of = tables(write_run(tmp_path, trials, records))
    lines = {line.row.model: line for line in board(of).lines}
    speed = next(column for column in board(of).columns if column.name == "throughput")
    assert speed.cell(lines["convmixer_256_8"]).shown == "≈ 812"
    assert speed.cell(lines["splitmixer_i_256_8"]).shown == "1,430"
    text = markdown(of)
    assert re.findall(r"\| +(≈ )?([\d,]+) \| +(≈ )?\d+ \| +\d? +\|$", text.replace("**", ""), re.M) == [
        ("≈ ", "812", "≈ "),
        ("", "1,430", ""),
    ]
    assert "≈: a speed" in text
    printed = io.StringIO()
    print_summary(records, Console(file=printed, width=140))
    assert printed.getvalue().count("≈ 812") == printed.getvalue().count("≈ 2") == 1
