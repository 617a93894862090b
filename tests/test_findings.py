"""Findings: what the rows say and what they do not, in sentences that change when the rows do."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from mixbench.report.figures.all import figures
from mixbench.report.findings import Findings, Sentence, findings
from mixbench.report.formats.markdown import markdown
from mixbench.report.leaderboard import board
from mixbench.report.models import merge_repeated
from mixbench.report.overview import missing
from mixbench.report.tradeoffs import front
from mixbench.results.metrics import PRICES
from mixbench.results.summary import groups
from mixbench.results.tables import tables
from mixbench.run.flags import Flag, Kind
from mixbench.run.parts import Layer
from tests.fake_runs import RECIPE, done, trial, write_run


def found(folder: Path, top1: Mapping[str, Sequence[float]], **changes: object) -> Findings:
    trials = [(trial(name, seed), value) for name, values in top1.items() for seed, value in enumerate(values)]
    run = write_run(folder, [each for each, _ in trials], [done(each, value, **changes) for each, value in trials])
    [only] = findings(tables(run))
    return only


def text(sentence: Sentence) -> str:
    return "".join(part if isinstance(part, str) else part.name for part in sentence)


def said(of: Findings) -> dict[str, str]:
    return {title: text(sentence) for title, sentence in of.points}


def test_a_difference_larger_than_the_seeds_spread_is_said_to_be_one(tmp_path: Path) -> None:
    points = said(found(tmp_path, {"good": [95.0, 95.1, 95.2], "bad": [90.0, 90.15, 90.1], "near": [95.1, 94.9, 95.2]}))
    assert points["Best accuracy"] == (
        "good reaches 95.10 ± 0.25 %, the highest mean top-1 (3 seeds, 10,000 images). Not distinguishable from near."
    )
    assert points["Real differences"] == (
        "Of 3 pairs among these 3, 2 differ significantly (95 % intervals, simultaneous over all pairs of rows, by "
        "seeds): good over bad; near over bad. The difference of the other 1 is not significant."
    )


def test_the_same_means_with_more_spread_are_no_difference(tmp_path: Path) -> None:
    points = said(found(tmp_path, {"good": [90.0, 99.0, 96.3], "bad": [93.0, 85.2, 92.0]}))
    assert "Not distinguishable from bad" in points["Best accuracy"]
    assert "none differs significantly" in points["Real differences"]


def test_single_seeds_are_not_tested(tmp_path: Path) -> None:
    of = found(tmp_path, {"good": [95.0], "bad": [90.0]})
    assert said(of)["Real differences"].startswith("1 pair cannot be tested")
    [pair] = of.pairs
    assert pair.verdict.words == "not testable: a single seed of good and bad, and no predictions to compare by images"
    assert "Not testable, for want of predictions or seeds, against bad." in said(of)["Best accuracy"]


def test_only_the_most_accurate_are_paired(tmp_path: Path) -> None:
    of = found(tmp_path, {f"model_{index:02}": [80.0 + index, 80.3 + index * 1.01] for index in range(14)})
    assert len(of.pairs) == 45
    assert {pair.first.name for pair in of.pairs} <= {f"model_{index:02}" for index in range(4, 14)}
    assert "among the 10 most accurate" in said(of)["Real differences"]


def chosen(of: Findings) -> dict[str, tuple[str, str, str | None]]:
    """By budget: the row picked, its value, the next one."""
    return {each.budget: (each.pick.name, each.paid, each.next.name if each.next else None) for each in of.choices}


def test_the_best_within_each_budget_and_its_lead_over_the_next(tmp_path: Path) -> None:
    top1 = {
        "convmixer_256_8": [94.0, 94.1, 94.2],
        "splitmixer_i_256_8": [93.0, 93.1, 93.3],
        "splitmixer_v_256_8": [90.0, 90.2, 90.1],
        "resmlp_s12_4": [94.3, 94.2, 94.4],
    }
    params = {"convmixer_256_8": 594_186, "splitmixer_i_256_8": 275_834, "splitmixer_v_256_8": 180_000}
    trials = [(trial(name, seed), value) for name, values in top1.items() for seed, value in enumerate(values)]
    records = [done(each, value, params=params.get(each.model, 1_200_000)) for each, value in trials]
    [of] = findings(tables(write_run(tmp_path, [each for each, _ in trials], records)))
    found = chosen(of)
    assert found["none"] == ("resmlp_s12_4", "", "convmixer_256_8")
    assert {budget: each for budget, each in found.items() if budget.startswith("parameters")} == {
        "parameters ≤ 200 k": ("splitmixer_v_256_8", "180,000", None),
        "parameters ≤ 500 k": ("splitmixer_i_256_8", "275,834", "splitmixer_v_256_8"),
        "parameters ≤ 1 M": ("convmixer_256_8", "594,186", "splitmixer_i_256_8"),
    }
    verdicts = {each.budget: each.verdict and each.verdict.outcome for each in of.choices}
    assert verdicts["parameters ≤ 500 k"] == "better" and verdicts["none"] == "not distinguishable"
    assert verdicts["parameters ≤ 200 k"] is None


def test_a_budget_says_that_a_speed_is_flagged(tmp_path: Path) -> None:
    busy = [Flag(Kind.BUSY_NEIGHBOURS, "others kept 1.2 of 2 cores busy")]
    trials = [trial(name) for name in ("convmixer_256_8", "splitmixer_i_256_8")]
    records = [done(trials[0], 91.0), done(trials[1], 90.0, flags=busy)]
    [of] = findings(tables(write_run(tmp_path, trials, records)))
    budget = "inference throughput ≥ 1,000 images/s"
    assert chosen(of)[budget] == ("splitmixer_i_256_8", "≈ 1,430 images/s", None)


def test_a_validation_split_is_a_ranking_of_its_own(tmp_path: Path) -> None:
    """Tuning is judged on images that were left out of training, and is never the best of those tested."""
    held_out = RECIPE.model_copy(update={"name": "tune", "split": "val"})
    trials = [trial(seed=seed) for seed in (0, 1)] + [trial(seed=s, recipe=held_out, id=f"val-{s}") for s in (0, 1)]
    records = [done(each, 99.0 if each.recipe.split == "val" else 93.0 + each.seed) for each in trials]
    of = tables(write_run(tmp_path, trials, records))
    assert [(each.row.split, each.row.pareto) for each in of.groups] == [("test", True), ("val", True)]
    tested, tuned = findings(of)
    assert (tested.images, tuned.images) == ("cifar10", "cifar10 (validation split)")
    assert "reaches 94 ± 6 %" in said(tested)["Best accuracy"] and "99.00" in said(tuned)["Best accuracy"]
    assert {each.title.split(":")[0] for each in figures(of)} == {"cifar10", "cifar10 (validation split)"}
    assert [line.row.split for line in board(of).lines] == ["test", "val"]
    assert "1 row tested on a validation split" in "".join(missing(of))
    assert markdown(of).count("## cifar10") == 2


def test_speeds_of_several_devices_are_not_set_against_each_other(tmp_path: Path) -> None:
    trials = [trial(name) for name in ("splitmixer_i_256_8", "convmixer_256_8", "mixer_s_4", "resmlp_s12_4")]
    records = [done(each, 90.0 + i, device="H100" if i < 2 else "EPYC") for i, each in enumerate(trials)]
    (of,) = findings(tables(write_run(tmp_path, trials, records)))
    speeds = [each for each in chosen(of) if "throughput" in each]
    assert speeds and all(each.endswith((" on H100", " on EPYC")) for each in speeds)
    assert "splitmixer_i_256_8" not in {pick for each, (pick, *_) in chosen(of).items() if each.endswith("EPYC")}


def test_a_deviation_from_the_paper_is_pointed_out_and_agreement_is_counted(tmp_path: Path) -> None:
    points = said(found(tmp_path, {"splitmixer_i_256_8": [90.0], "splitmixer_ii_256_8": [92.3]}))
    assert points["Against the papers"].startswith(
        "1 of 2 published accuracies agree within 0.5 points or our interval; not splitmixer_i_256_8 (−3.91 points). "
        "1 of 2 published parameter counts agree to the printed digit; "
        "1 not, for reasons given with the published figures."
    )


def test_rows_of_one_long_name_that_differ_by_their_batch_are_told_apart(tmp_path: Path) -> None:
    trials = [trial(label="SplitMixer-I of " + 60 * "x", infer_batch_size=batch) for batch in (64, 256)]
    records = [done(each, 90.0 + index) for index, each in enumerate(trials)]
    (of,) = findings(tables(write_run(tmp_path, trials, records)))
    [pair] = of.pairs
    assert {pair.first.name[-3:], pair.second.name[-3:]} == {" 64", "256"}


def test_nothing_is_found_where_nothing_was_measured(tmp_path: Path) -> None:
    assert findings(tables(write_run(tmp_path, [trial()], []))) == []


GROUPS = groups([done(trial(f"model_{index}"), 90.0) for index in range(12)])


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12))
def test_the_front_is_what_no_other_row_beats(pairs: list[tuple[int, int]]) -> None:
    for group, (params, top1) in zip(GROUPS, pairs, strict=False):
        group.row.params, group.row.top1_mean = params, float(top1)
    expected = [
        group
        for group, (params, top1) in zip(GROUPS, pairs, strict=False)
        if not any(p <= params and t >= top1 and (p, t) != (params, top1) for p, t in pairs)
    ]
    best = front(GROUPS[: len(pairs)], PRICES[0])
    assert sorted(map(id, best)) == sorted(map(id, expected))
    assert [group.row.params for group in best] == sorted(group.row.params or 0 for group in best)


def test_layers_that_repeat_stand_once() -> None:
    def layer(name: str, params: int = 8) -> Layer:
        return Layer(name=name, type="Linear", params=params, macs=64, input_shape=[8], output_shape=[8])

    blocks = [layer(f"blocks.{index}.{part}") for index in range(8) for part in ("a.0", "b.0")]
    found = merge_repeated([layer("stem"), *blocks, layer("blocks.8.a.0", params=9), layer("head.0")])
    assert [(each.name, each.times) for each in found] == [
        ("stem", 1), ("blocks.*.a.0", 8), ("blocks.*.b.0", 8), ("blocks.8.a.0", 1), ("head.0", 1),
    ]  # fmt: skip
    assert sum(each.times * each.layer.params for each in found) == 8 * 18 + 9
