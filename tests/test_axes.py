"""What tells trials apart: every axis, whatever its name, keeps rows of every table apart, and rows look different."""

import csv
import io
import json
import random
import re
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner
from rich.console import Console

from mixbench.cli.main import cli
from mixbench.cli.status import print_summary
from mixbench.report.formats.csv import csv as written
from mixbench.report.formats.html import html
from mixbench.report.formats.latex import latex
from mixbench.report.formats.markdown import markdown
from mixbench.report.formats.timm import timm
from mixbench.report.leaderboard import board
from mixbench.results.collect import collect
from mixbench.results.rows import rows_of, settings
from mixbench.results.side_by_side import side_by_side
from mixbench.results.summary import SummaryRow
from mixbench.results.tables import tables
from mixbench.run.folder import Run
from mixbench.run.parts import Environment
from mixbench.run.record import Record
from mixbench.suite.axes import AXES, NO_IDENTITY, Axis, point
from mixbench.suite.plan import listed
from mixbench.suite.schema import Suite
from mixbench.suite.trial import Trial
from tests.fake_runs import ENVIRONMENT, RECIPE, done, trial, write_run
from tests.trials import SMALL, write_suite

SEED = next(axis for axis in AXES if axis.name == "seed")
OTHERS = [axis for axis in AXES if axis.name != "seed"]


def another(axis: Axis, trial: Trial) -> Trial:
    """The same trial but for its place on this axis: what a person would write, or any other value of its field."""
    arguments, recipe = trial.arguments, trial.recipe
    known: dict[str, dict[str, Any]] = {
        "model": {"overrides": {"dim": 8}, "arguments": arguments | {"dim": 8}},
        "dataset": {"dataset": "svhn"},
        "image_size": {"arguments": arguments | {"image_size": 16}},
        "weights": {"weights": "/somewhere/mine.safetensors"},
        "recipe": {"recipe": recipe.model_copy(update={"epochs": 3})},  # the same name
        "train_batch_size": {"recipe": recipe.model_copy(update={"global_batch_size": 64})},
        "infer_batch_size": {"infer_batch_size": "max"},
    }
    if axis.name in known:
        return trial.model_copy(update=known[axis.name])
    (field,) = axis.fields
    value, choices = getattr(trial, field), get_args(Trial.model_fields[field].annotation)
    other = next((choice for choice in choices if choice != value), None) if choices else None
    if other is None:
        other = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else f"{value}-other"
    return trial.model_copy(update={field: other})


def run_of(folder: Path, points: list[Trial]) -> Run:
    """Two seeds of each, all with the same figures: nothing but what they are tells their rows apart."""
    trials = [
        each.model_copy(update={"seed": seed, "id": f"trial-{at}-s{seed}", "label": "the same"})
        for at, each in enumerate(points)
        for seed in (0, 1)
    ]
    figures = dict(params=1000, macs=1000, infer_samples_per_sec=1.0, train_samples_per_sec=1.0, infer_batch_size=256)
    return write_run(folder, trials, [done(each, 90.0 + each.seed, **figures) for each in trials])


def of_seeds_alone(members: list[Record]) -> bool:
    return {record.seed for record in members} == {0, 1} and len(members) == 2


def table_lines(run: Run) -> dict[str, list[str]]:
    """What each table of a run shows, a text for each row; those of another dataset stand under its name."""
    found, stream = tables(run), io.StringIO()
    print_summary(collect(run).records, Console(file=stream, width=400, highlight=False, markup=False))
    csv_rows = list(csv.reader(io.StringIO(written(found.summary))))
    timms = timm(found).values()
    leaderboard = markdown(found).partition("Ours beside the published")[0]  # other tables name models, too
    lines = {
        "status": [line for line in stream.getvalue().splitlines() if "2/2" in line],
        "summary.csv": [str(row) for row in csv_rows[1:]],
        "leaderboard": [f"{line.row.images}: {line.name}" for line in board(found).lines],
        "report.md": [line for line in leaderboard.splitlines() if line.startswith("| the same")],
        "latex": [line for line in latex(found).splitlines() if line.startswith("the same")],
        "timm": [line.split(",")[0] for line in next(iter(timms)).splitlines()[1:]],
    }
    compared = CliRunner().invoke(cli, ["compare", str(run.folder), str(run.folder)], env={"COLUMNS": "400"})
    assert compared.exit_code == 0, compared.output
    of_cells = compared.output.partition("\nmetric ")[2]  # a heading each, below the table of trials
    lines["compare"] = [line for line in of_cells.splitlines() if line.startswith("the same")]
    lines["compare's limits"] = [cell.name for cell in side_by_side(run, run).cells]
    return lines


def look_alike(run: Run, count: int) -> dict[str, list[str]]:
    """The tables that have not this many rows, or rows that look alike; those of report.md and LaTeX by dataset."""
    one = len({record.dataset for record in collect(run).records}) == 1
    found = {name: lines for name, lines in table_lines(run).items() if one or name not in ("report.md", "latex")}
    return {name: lines for name, lines in found.items() if len(lines) != count or len(set(lines)) != count}


# -- the list


def test_every_field_of_a_trial_is_an_axis_s_or_declared_to_be_no_part_of_its_identity() -> None:
    fields = {path.partition(".")[0] for axis in AXES for path in axis.fields}
    assert fields | {name for name in NO_IDENTITY if "." not in name} == set(Trial.model_fields)


def test_every_axis_is_a_column_of_results_and_summary_but_the_weights_which_its_settings_name() -> None:
    columns = {axis.column for axis in AXES} - {"weights"}
    assert columns <= set(Record.model_fields) and columns - {"seed"} <= set(SummaryRow.model_fields)


def test_every_list_of_a_suite_that_makes_trials_is_an_axis_s() -> None:
    suite = Suite.model_validate({"name": "s", "models": "mixer_s4", "datasets": "digits"})
    keys = {axis.key for axis in AXES if axis.key}
    lists = {(name,) for name in Suite.model_fields if isinstance(getattr(suite, name), tuple)}
    batches = {("throughput", "batch_sizes"), ("throughput", "train_batch_sizes")}
    assert lists - {("measure",), ("plugins",)} | batches == keys
    assert all(len(listed(suite, axis)) == 1 for axis in AXES if axis.key)


# -- the rows


@pytest.mark.parametrize("axis", AXES, ids=lambda axis: axis.name)
def test_trials_are_at_one_point_where_they_differ_in_what_is_left_out_alone(axis: Axis) -> None:
    one = trial()
    other = another(axis, one)
    assert point(one, but=()) != point(other, but=())
    assert point(one, but={axis.name}) == point(other, but={axis.name})
    renamed = one.model_copy(update={"id": "x", "label": "y", "recipe": RECIPE.model_copy(update={"name": "z"})})
    assert point(one) == point(renamed)


@pytest.mark.parametrize("axis", OTHERS, ids=lambda axis: axis.name)
def test_every_table_keeps_the_values_of_an_axis_apart(axis: Axis, tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", [trial(), another(axis, trial())])
    assert len(groups := tables(run).groups) == 2
    assert all(of_seeds_alone(group.records) for group in groups)
    assert len({group.key for group in groups}) == 2
    assert all(of_seeds_alone([pair.a for pair in cell.pairs]) for cell in side_by_side(run, run).cells)
    assert look_alike(run, 2) == {}
    page = html(tables(run), [])
    assert all(f'id="row-{group.key}"' in page for group in groups)


def test_a_row_is_of_its_seeds_alone_wherever_trials_stand_on_all_axes(tmp_path: Path) -> None:
    """Points drawn at random, where several axes differ between rows."""
    drawn, points = random.Random(0), [trial()]
    while len(points) < 40:
        each = trial()
        for axis in OTHERS:
            if axis.name != "dataset" and drawn.random() < 0.5:
                each = another(axis, each)
        points += [each] if point(each) not in map(point, points) else []
    run = run_of(tmp_path / "run", points)
    assert all(of_seeds_alone(group.records) for group in tables(run).groups)
    assert look_alike(run, 40) == {}


def test_recipes_of_one_name_that_differ_in_many_keys_still_look_different(tmp_path: Path) -> None:
    """Three are named beside it; those without which two rows would look alike, too."""
    changes = {"epochs": 3, "label_smoothing": 0.1, "clip_grad_norm": 1.0, "ema": 0.9, "drop_last": False}
    recipes = [RECIPE]
    for key, value in changes.items():
        recipes += [each.model_copy(update={key: value}) for each in recipes]
    run = run_of(tmp_path / "run", [trial(recipe=recipe) for recipe in recipes])
    assert look_alike(run, 32) == {}


def test_models_trained_by_recipes_of_their_own_say_so_in_every_table(tmp_path: Path) -> None:
    """Two epochs and fourteen, a batch of 64 and one of 512, stood on one leaderboard, both by recipe "default"."""
    own = RECIPE.model_copy(update={"epochs": 14, "global_batch_size": 64})
    trials = [trial("mixer_s_4"), trial("convmixer_256_8", recipe=own), trial("resmlp_s12_4")]
    run = write_run(tmp_path / "run", trials, [done(each, 90.0) for each in trials])
    names = {each.row.label: each.name for each in board(tables(run)).lines}
    assert {name.partition(" · ")[2] for name in names.values()} == {
        "recipe default, epochs 25 · training batch 512",
        "recipe default, epochs 14 · training batch 64",
    }
    assert "epochs 14" in names["convmixer_256_8"] and "epochs 14" in markdown(tables(run))
    status = CliRunner().invoke(cli, ["status", str(run.folder)], env={"COLUMNS": "200"}).output
    assert re.findall(r"^(\S+).* (epochs \d+) +(\d+) ", status, re.M) == [
        ("mixer_s_4", "epochs 25", "512"),
        ("convmixer_256_8", "epochs 14", "64"),
        ("resmlp_s12_4", "epochs 25", "512"),
    ]
    alike = write_run(tmp_path / "alike", trials[::2], [done(each, 90.0) for each in trials[::2]])
    assert [each.name for each in board(tables(alike)).lines] == ["mixer_s_4", "resmlp_s12_4"]


def test_a_column_of_a_terminal_is_shown_only_where_it_tells_rows_of_one_model_apart(tmp_path: Path) -> None:
    trials = [trial("mixer_s_4"), trial("convmixer_256_8", precision="bf16")]
    assert settings(rows_of([done(each, 90.0) for each in trials])) == [["fp32"], ["bf16"]]
    run = write_run(tmp_path / "run", trials, [done(each, 90.0) for each in trials])
    heading = CliRunner().invoke(cli, ["status", str(run.folder)]).output.split("convmixer")[0]
    assert "precision" not in heading
    assert [group.row.settings for group in tables(run).groups] == ["", ""]


# -- the conditions of measurements

OTHER = {
    "threads": 1,
    "mixbench_version": "0.2.0",
    "git_commit": "0" * 40,
    "python_version": "3.12.1",
    "torch_version": "2.12.0",
    "deepspeed_version": "0.20.0",
    "torchvision_version": "0.28.0",
    "timm_version": "1.1.0",
    "cuda_version": "13.2",
    "driver": "590.1",
}
KNOWN = {"cuda_version": "12.8", "driver": "550.1", "torchvision_version": "0.26.0", "timm_version": "1.0.20"}
GPU = ENVIRONMENT.model_copy(update=KNOWN)


def measured_in(each: Trial, environment: Environment, **changes: Any) -> Record:
    record = done(each, 90.0 + each.seed, infer_samples_per_sec=1000.0 * (1 + each.seed), **changes)
    places = dict.fromkeys(each.measure, environment)
    return record.model_copy(update={"details": record.details.model_copy(update={"environment": places})})


@pytest.mark.parametrize("field", OTHER)
def test_speeds_measured_under_other_conditions_are_rows_of_their_own(field: str, tmp_path: Path) -> None:
    """Two seeds each: one of 1,000 and 2,000, and one of 3,000 and 4,000 images/s; their means would be of neither."""
    trials = [trial(seed=seed, label="the same") for seed in range(4)]
    other = GPU.model_copy(update={field: OTHER[field]})
    run = write_run(tmp_path / "run", trials, [measured_in(each, GPU if each.seed < 2 else other) for each in trials])
    groups = tables(run).groups
    assert [[record.seed for record in group.records] for group in groups] == [[0, 1], [2, 3]]
    assert [group.row.infer_samples_per_sec for group in groups] == [1500.0, 3500.0]
    assert all(group.row.settings for group in groups) and "seeds measured" not in groups[0].row.flags
    assert look_alike(run, 2) == {}


def test_accuracies_of_other_conditions_are_one_row_and_flagged_in_every_table(tmp_path: Path) -> None:
    trials = [trial(seed=seed, label="the same", measure=("complexity", "accuracy")) for seed in (0, 1)]
    other = ENVIRONMENT.model_copy(update={"threads": 1, "git_commit": "0" * 40})
    places = [ENVIRONMENT, other]
    run = write_run(tmp_path / "run", trials, [measured_in(*each) for each in zip(trials, places, strict=True)])
    said = "seeds measured differently: threads 2 and 1, commit 1f0c2d3e4b5a and 000000000000"
    [group] = tables(run).groups
    assert group.row.n_seeds == 2 and group.row.flags == said
    assert all(str(record.flags[-1]) == said for record in group.records)
    assert "seeds measured differently (2)" in CliRunner().invoke(cli, ["status", str(run.folder)]).output
    found = tables(run)
    assert said in html(found, []) and said in markdown(found) and said in written(found.results)
    page = html(found, [])
    for commit in (ENVIRONMENT.git_commit, "0" * 40):
        assert f"git checkout {commit} &amp;&amp; uv run mixbench run suite.yaml --out again  # 1 trial" in page


def test_seeds_of_models_with_other_sources_are_never_in_one_row(tmp_path: Path) -> None:
    trials = [trial(seed=seed, label="the same", measure=("complexity", "accuracy")) for seed in range(4)]
    codes = ["aaaaaaaabbbbbbbb", "aaaaaaaabbbbbbbb", "cccccccc11111111", "cccccccc11111111"]
    records = [measured_in(each, ENVIRONMENT, model_code=code) for each, code in zip(trials, codes, strict=True)]
    run = write_run(tmp_path / "run", trials, records)
    assert [len(group.records) for group in tables(run).groups] == [2, 2] and look_alike(run, 2) == {}
    assert [group.row.settings for group in tables(run).groups] == ["model source aaaaaaaa", "model source cccccccc"]


def test_runs_are_compared_apart_where_the_seconds_seeds_were_measured_differently(tmp_path: Path) -> None:
    trials = [trial(seed=seed, label="the same") for seed in range(4)]
    other = ENVIRONMENT.model_copy(update={"threads": 1})
    a = write_run(tmp_path / "a", trials, [measured_in(each, ENVIRONMENT) for each in trials])
    b = write_run(
        tmp_path / "b", trials, [measured_in(each, other if each.seed > 1 else ENVIRONMENT) for each in trials]
    )
    found = side_by_side(a, b)
    assert [[pair.a.seed for pair in cell.pairs] for cell in found.cells] == [[0, 1], [2, 3]]
    assert [cell.name for cell in found.cells] == [
        "the same on cifar10, in B 2 threads",
        "the same on cifar10, in B 1 thread",
    ]
    compared = CliRunner().invoke(cli, ["compare", str(a.folder), str(b.folder)], env={"COLUMNS": "400"}).output
    assert "2 threads" in compared and "1 thread" in compared and "measured with: threads 2 → 1" in compared


# -- a real run


def test_two_image_sizes_of_a_dataset_are_two_rows_of_a_real_run(tmp_path: Path) -> None:
    """They were one, of the mean of both."""
    suite = write_suite(
        tmp_path,
        models=[SMALL["mixer"] | {"label": "mixer"}],
        datasets=["digits", {"name": "digits", "image_size": 16}],
        measure=["accuracy"],
    )
    folder = tmp_path / "run"
    ran = CliRunner().invoke(cli, ["run", str(suite), "--out", str(folder)], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    status = CliRunner().invoke(cli, ["status", str(folder)]).output
    with (folder / "summary.csv").open(newline="", encoding="utf-8") as file:
        top1 = {row["settings"]: float(row["top1_mean"]) for row in csv.DictReader(file)}
    assert top1.keys() == {"8 px", "16 px"}
    shown = [(size, round(top1[f"{size} px"])) for size in ("8", "16")]  # no more digits than the interval supports

    def rounded(found: list[tuple[str, str]]) -> list[tuple[str, int]]:
        return [(size, round(float(text))) for size, text in found]

    for out in (ran.output, status):
        assert rounded(re.findall(r"digits +(\d+) +1/1 +([\d.]+) ± [\d.]+ \(1 seed\)", out)) == shown
    text = (folder / "report.md").read_text(encoding="utf-8")
    markdown_rows = rounded(re.findall(r"^\| mixer · (\d+) px +\| +\**([\d.]+)", text, re.M))
    assert markdown_rows == sorted(shown, key=lambda row: -row[1])
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert all(f"mixer · {size} px" in page for size, _ in shown)
    compared = CliRunner().invoke(cli, ["compare", str(folder), str(folder)], env={"COLUMNS": "400"}).output
    assert rounded(re.findall(r"^mixer on digits, (\d+) px\n  top-1 % +1 +([\d.]+)", compared, re.M)) == shown
    with (folder / "results.csv").open(newline="", encoding="utf-8") as file:
        assert rounded([(row["image_size"], row["top1"]) for row in csv.DictReader(file)]) == shown
    planned = CliRunner().invoke(cli, ["run", str(suite), "--dry-run", "--only", "image_size=16", "--json"]).output
    assert [row["image_size"] for row in json.loads(planned)["trials"]] == [16]
