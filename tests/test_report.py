"""CSV, figures and page: exact, escaped, self-contained, and never silent about what is missing."""

import base64
import csv as stdlib_csv
import hashlib
import io
import re
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from mixbench.cli.main import cli
from mixbench.errors import RequestError
from mixbench.report import numbers
from mixbench.report.failures import failures
from mixbench.report.formats.csv import csv
from mixbench.report.formats.html import html
from mixbench.report.formats.markdown import markdown
from mixbench.report.leaderboard import board
from mixbench.report.write import write
from mixbench.results.tables import tables
from mixbench.run.commands import note
from mixbench.run.folder import Run
from mixbench.run.progress import Progress
from mixbench.run.record import Details
from mixbench.run.timings import ThroughputSamples
from tests.fake_runs import ENVIRONMENT, MODELS, RECIPE, done, failed, full_run, trial, write_run

FIGURES = ("params", "macs", "throughput", "time", "memory", "seeds", "published", "curves")
EVIL = "<script>alert(1)</script>"


class Page(HTMLParser):
    """The page's tags, its text, and the cells of every table by the table's caption."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[tuple[str, list[list[str]]]] = []
        self._open: list[str] = []
        self._rows: list[list[str]] = []
        self._caption = ""
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._open.append(tag)
        if tag == "table":
            self._rows, self._caption = [], ""
        if tag == "tr":
            self._rows.append([])
        if tag in ("td", "th"):
            self._rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass
        if tag == "table":
            rows = [[" ".join(cell.split()) for cell in row] for row in self._rows]
            self.tables.append((" ".join(self._caption.split()), rows))

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self._open):
            self.text += data
        if "caption" in self._open:
            self._caption += data
        elif "table" in self._open and self._rows and self._rows[-1]:
            self._rows[-1][-1] += data

    def board(self) -> list[dict[str, str]]:
        """The leaderboard's rows, their cells by the columns' titles."""
        head, *rows = self.table("cifar10")
        return [dict(zip(head, row, strict=True)) for row in rows]

    def table(self, caption: str) -> list[list[str]]:
        return next(rows for name, rows in self.tables if name.startswith(caption))

    def rows(self, caption: str) -> list[list[str]]:
        """Of every table whose caption begins so, without the heads."""
        return [row for name, rows in self.tables if name.startswith(caption) for row in rows[1:]]


def page(run: Run) -> Page:
    return Page(html(tables(run)))


def partial_run(folder: Path) -> Run:
    """Done, failed, running, pending and damaged trials, and names meant to break a page."""
    trials = [trial(seed=seed, label=EVIL, family="$x_1$ <b>") for seed in range(5)] + [
        trial("mixer_s_4", label="_hidden")
    ]
    error = "RuntimeError: </script><img src=x onerror=alert(2)>\n\x1b[31mred\x1b[0m \x00"
    traceback = Details(
        trial=trials[1], traceback="Traceback <most recent>" + "\n  File x, line 1" * 200 + "\nlast words"
    )
    records = [done(trials[0], 93.0), failed(trials[1], error, details=traceback), done(trials[5], 91.0)]
    run = write_run(folder, trials, records, suite_text="name: x # </pre><script>alert(3)</script>\n")
    run.write_progress(trials[2].id, Progress(part="accuracy", updated_at=4e9))
    run.record_file(trials[4].id).write_text("{")
    return run


def test_write_leaves_the_advertised_files(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run")
    names = [path.relative_to(run.folder).as_posix() for path in write(run)]
    assert names == [
        "results.csv",
        "summary.csv",
        "report.html",
        *(f"figures/1-cifar10-{name}.{kind}" for name in FIGURES for kind in ("svg", "png")),
        "report.md",
    ]
    assert all((run.folder / name).stat().st_size > 500 for name in names)
    assert len(pd.read_csv(run.folder / "results.csv")) == 18


def test_csv_text_is_no_formula_and_numbers_stay_numbers(tmp_path: Path) -> None:
    labels = ["=1+1", "+x", "-x", "@SUM(A1)", "a=b", "\t=1"]
    trials = [trial(f"model_{index}", label=label) for index, label in enumerate(labels)]
    records = [done(each, 90.0, test_loss=-0.25) for each in trials]
    results = csv(tables(write_run(tmp_path, trials, records)).results)
    cells = list(stdlib_csv.DictReader(io.StringIO(results)))
    assert [row["label"] for row in cells] == ["'=1+1", "'+x", "'-x", "'@SUM(A1)", "a=b", "'\t=1"]
    assert {row["test_loss"] for row in cells} == {"-0.25"}
    assert {row["macs"] for row in cells} == {"148113920"}


def test_csv_is_empty_where_nothing_was_measured(tmp_path: Path) -> None:
    found = tables(write_run(tmp_path, [trial()], []))
    (result,) = stdlib_csv.DictReader(io.StringIO(csv(found.results)))
    assert {result[name] for name in ("params", "top1", "device", "error", "infer_samples_per_sec")} == {""}
    (row,) = stdlib_csv.DictReader(io.StringIO(csv(found.summary)))
    assert (row["n_seeds"], row["top1_mean"], row["pareto"]) == ("0", "", "")


def test_leaderboard_is_sorted_and_shows_interval_and_published(tmp_path: Path) -> None:
    trials = [trial(name, seed) for seed in (0, 1) for name in ("splitmixer_ii_256_8", "splitmixer_i_256_8")]
    top1 = {("splitmixer_ii_256_8", 0): 92.0, ("splitmixer_ii_256_8", 1): 92.2}
    top1 |= {("splitmixer_i_256_8", 0): 97.0, ("splitmixer_i_256_8", 1): 98.0}
    found = page(write_run(tmp_path, trials, [done(each, top1[each.model, each.seed]) for each in trials]))
    first, second = found.board()
    assert first.pop("Model").startswith("splitmixer_i_256_8")
    assert first == {
        "Top-1%, ± 95 %": "98 ± 6",  # 6.35: no more digits than the interval supports
        "Seedsn": "2",
        "Stdpoints": "0.71",
        "◆Pareto-optimal": "◆",
        "Params": "275,834",
        "MACsper image": "65.2 M",
        "Inferenceimages/s": "1,430",
        "Trainingimages/s": "477",
        "Trainingtime": "43 min 41 s",
        "Memorypeak": "1.50 GiB",
        "Publishedtop-1, ours − theirs": "93.91 +4 ✗ MACs",
        "Differenceours − published": "+4",
        "Stepms, p5 to p95": "10.0 (10.0 to 12.0)",
        "Agreeswith the paper": "not MACs",  # the record's one invented layer does not add up to them
        "Source": "[1]",
        "Publishedparams": "280,000",
        "PublishedMACs": "71.8 M",
        "Registry name": "splitmixer_i_256_8",
    }
    assert second["Model"].startswith("splitmixer_ii_256_8")
    assert second["Top-1%, ± 95 %"] == "92.1 ± 1.3"
    said = [attributes["title"] or "" for _, attributes in found.tags if "title" in attributes]
    assert (
        "mean 97.5000, standard deviation 0.7071, 2 seeds: 97.00, 98.00; ± counts the seeds, not the test images"
        in said
    )
    convention = "65,219,072: multiply–accumulates of convolutions and matrix products, for one image; "
    assert convention + "published 71.8 M by the convention “splitmixer”, ours 65.2 M by it" in said


def test_how_far_the_timed_steps_lie_apart_stands_at_a_row_its_timings_and_each_trial(tmp_path: Path) -> None:
    trials = [trial(seed=seed) for seed in (0, 1)]
    records = [
        done(each, 93.0, infer_step_cv=cv, infer_joules_per_image=joules)
        for each, cv, joules in zip(trials, (0.0312, 0.25), (0.0041, 0.0045), strict=True)
    ]
    found = page(write_run(tmp_path, trials, records))
    said = [attributes["title"] or "" for tag, attributes in found.tags if tag == "td" and "title" in attributes]
    row = "40 timed steps, p5 to p95: 10.0 ms to 12.0 ms, CV at most 25.00 %, 0.00430 J/image, "
    row += "95 % interval of the median 1,430 to 1,430 images/s"
    assert f"1,430.5 images/s; {row}" in said
    training = "40 timed steps, p5 to p95: 30.0 ms to 30.0 ms, CV at most 4.30 %"
    assert f"476.8333333333333 images/s; {training}, 95 % interval of the median 477 to 477 images/s" in said
    assert f"Raw timings of the inference step. {row}" in found.text
    for cv, joules in (("3.12", "0.00410"), ("25.00", "0.00450")):
        assert f"20 timed steps, p5 to p95: 10.0 ms to 12.0 ms, CV {cv} %, {joules} J/image" in said
    first, *_ = found.rows("Trials")
    assert first[10] == "175.38, 178.96, 193.28"


def test_a_speed_without_timed_steps_says_nothing_of_them(tmp_path: Path) -> None:
    record = done(trial(), 93.0)
    record.details.throughput = ThroughputSamples(
        infer_step_ms=[10.0], train_step_ms=[], warmup=3, interleaved_with=0, out_of_memory=["training at batch 512"]
    )
    found = page(write_run(tmp_path, [trial()], [record.model_copy(update={"infer_step_cv": None})]))
    said = [
        attributes["title"] or "" for tag, attributes in found.tags if tag == "td" and "timed step" in str(attributes)
    ]
    step = "1 timed step, p5 to p95: 10.0 ms to 10.0 ms"
    assert said == [f"1,430.5 images/s; {step}", step, step]  # the speed, the step's time, the trial


def test_equal_seeds_have_no_interval_of_nothing(tmp_path: Path) -> None:
    trials = [trial(seed=seed) for seed in (0, 1)]
    run = write_run(tmp_path, trials, [done(each, 98.61) for each in trials])
    found = page(run)
    assert "98.61 equal seeds" in " ".join(found.text.split()) and "± 0.00" not in found.text
    assert "± 0.00" not in markdown(tables(run))


def test_a_single_seed_is_shown_as_one(tmp_path: Path) -> None:
    found = page(write_run(tmp_path, [trial()], [done(trial(), 93.5)]))
    (line,) = found.board()
    assert (line["Top-1%, ± 95 %"], line["Seedsn"]) == ("93.50 one seed", "1")
    assert "1 row with a single seed: no spread can be given." in found.text


def test_published_figures_are_cited_with_convention_and_source(tmp_path: Path) -> None:
    found = page(write_run(tmp_path, [trial()], [done(trial(), 93.5)]))
    _, line = found.table("Published figures")
    assert line == [
        "splitmixer_i_256_8", "SplitMixer-I 256/8", "93.9193.50 ✓", "0.280.28 ✓", "0.07180.0652 ✗", "splitmixer", "–",
        "[1]",
    ]  # fmt: skip
    assert "arXiv:2207.10255" in found.text


def test_everything_from_users_is_escaped(tmp_path: Path) -> None:
    found = page(partial_run(tmp_path))
    assert [tag for tag, _ in found.tags if tag in ("script", "img", "b")] == ["script"] * 2  # data, code
    for text in (EVIL, "</script><img src=x onerror=alert(2)>", "red", "Traceback <most recent>", "</pre><script>"):
        assert text in found.text
    assert not re.search(r"[\x00-\x08\x0b-\x1f]", found.text)


def test_the_page_needs_nothing_from_outside(tmp_path: Path) -> None:
    text = html(tables(full_run(tmp_path / "run")))
    found = Page(text)
    assert not [tag for tag, _ in found.tags if tag in ("link", "iframe", "img")]
    references = [
        value
        for _, attributes in found.tags
        for name, value in attributes.items()
        if name in ("href", "src", "xlink:href")
    ]
    links = [value or "" for value in references if not (value or "").startswith("#")]
    assert links and all(link.startswith("https://arxiv.org/abs/") for link in links)  # followed, never loaded
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)
    assert "default-src 'none'" in text
    (script,) = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in text  # and no other script would run


def test_a_link_from_a_user_leads_nowhere(tmp_path: Path) -> None:
    trials = [trial("model_1", label="javascript:alert(1)", family="javascript:alert(2)")]
    text = html(tables(write_run(tmp_path, trials, [done(trials[0], 93.0)], suite_text="javascript:alert(4)")))
    found = Page(text)
    assert all(f"javascript:alert({number})" in found.text for number in (1, 2, 4))
    links = [attributes["href"] or "" for _, attributes in found.tags if "href" in attributes]
    assert links and all(link.startswith("#") for link in links)


def test_ids_are_unique_and_references_lead_somewhere(tmp_path: Path) -> None:
    trials = [trial(name, dataset=dataset) for dataset in ("cifar10", "cifar100") for name, *_ in MODELS]
    found = page(
        write_run(
            tmp_path,
            trials,
            [done(each, 90.0 + index) for index, each in enumerate(trials[:9])]
            + [done(each, 70.0) for each in trials[9:]],
        )
    )
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) > 100
    targets = {
        (value or "")[1:]
        for _, attributes in found.tags
        for name, value in attributes.items()
        if name.endswith("href") and not (value or "").startswith("https://arxiv.org/abs/")
    }
    assert targets <= set(ids)


def test_tables_are_semantic(tmp_path: Path) -> None:
    found = page(full_run(tmp_path / "run"))
    count = [tag for tag, _ in found.tags].count
    assert count("table") == count("caption") == 5 + 3 * len(MODELS)
    assert all(attributes.get("scope") in ("col", "row") for tag, attributes in found.tags if tag == "th")


def test_what_is_missing_is_said_and_failures_come_after_the_answer(tmp_path: Path) -> None:
    text = page(partial_run(tmp_path)).text
    for sentence in ("2 of 6 trials done", "1 trial failed.", "1 trial still running.", "2 trials not run yet."):
        assert sentence in " ".join(text.split())
    assert "1 file cannot be read" in text
    assert text.index("Best accuracy") < text.index("best mean accuracy first") < text.index("RuntimeError")


def test_failures_of_one_reason_are_one_whatever_the_numbers_in_it(tmp_path: Path) -> None:
    trials = [trial(name, seed) for name in ("mixer_s_4", "convmixer_256_8") for seed in range(3)]
    records = [
        failed(each, f"CUDA out of memory: {seed + 1}.5 GiB of 80 GiB\nat step {seed}")
        for seed, each in enumerate(trials)
    ]
    found = failures(records)
    assert [(each.reason, each.label, len(each.records)) for each in found] == [
        ("CUDA out of memory: 1.5 GiB of 80 GiB", "mixer_s_4", 3),
        ("CUDA out of memory: 4.5 GiB of 80 GiB", "convmixer_256_8", 3),
    ]
    text = " ".join(page(write_run(tmp_path, trials, records)).text.split())
    assert "3 × CUDA out of memory: 1.5 GiB of 80 GiB mixer_s_4 on cifar10" in text and "at step 2" in text


def test_every_trial_is_listed_with_its_status(tmp_path: Path) -> None:
    listed = [line for line in page(partial_run(tmp_path)).rows("Trials") if len(line) > 1]
    assert [line[1] for line in listed] == ["done", "failed", "running", "pending", "pending", "done"]
    assert listed[4][-1] == "damaged record"
    assert listed[0][12:16] == ["bench-01", "2026-11-20 09:00 UTC", "2026-11-20 11:00 UTC", "2 h 00 min"]


def test_recipes_of_one_name_are_told_apart_by_what_differs_in_them(tmp_path: Path) -> None:
    longer = RECIPE.model_copy(update={"epochs": 50})
    runs = []
    for name, recipe in (("one", RECIPE), ("two", longer)):
        trials = [trial(recipe=recipe), trial("mixer_s_4", recipe=RECIPE, id="same")]
        runs.append(write_run(tmp_path / name, trials, [done(each, 93.0) for each in trials]))
    names_ = [line.name for line in board(tables(*runs)).lines]
    assert [name.count("epochs 50") for name in names_] == [0, 0, 1, 0], names_
    assert "splitmixer_i_256_8 · recipe default, epochs 50 · two" in names_


def test_a_report_leaves_no_figure_that_it_does_not_have_and_nothing_else_is_touched(tmp_path: Path) -> None:
    run = full_run(tmp_path)
    folder = run.folder / "figures"
    folder.mkdir()
    for name in ("2-digits-params.svg", "2-digits-params.png", "my-own.svg", "3-notes.txt"):
        (folder / name).write_text("old")
    write(run, formats=["csv"])
    assert len(list(folder.iterdir())) == 4
    write(run)
    assert {path.name for path in folder.iterdir() if path.read_bytes() == b"old"} == {"my-own.svg", "3-notes.txt"}


def test_of_several_folders_one_that_is_no_run_is_refused_before_any_is_written(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run", seeds=1)
    refused = CliRunner().invoke(cli, ["report", str(run.folder), str(tmp_path / "nope")])
    assert isinstance(refused.exception, RequestError) and not (run.folder / "report.html").exists()


def test_a_form_of_nothing_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path, [trial()], [])
    said = CliRunner().invoke(cli, ["report", str(run.folder), "--format", "tensorboard"])
    assert said.exit_code == 0 and "no trial is done yet" in said.output


def test_a_failed_trial_shows_how_long_it_took(tmp_path: Path) -> None:
    times = {"started_at": "2026-11-20T09:00:00+00:00", "finished_at": "2026-11-20T09:02:05+00:00"}
    (line, why) = page(write_run(tmp_path, [trial()], [failed(trial(), "no", **times)])).rows("Trials")
    assert line[15] == "2 min 05 s" and why == ["Why it failed: no"]


def test_long_tracebacks_stand_once_and_leave_the_page_small(tmp_path: Path) -> None:
    trials = [trial(seed=seed) for seed in range(100)]
    trace = "Traceback\n" + "  frame\n" * 2500 + "the last line"
    records = [failed(each, "boom", details=Details(trial=each, traceback=trace)) for each in trials]
    text = html(tables(write_run(tmp_path, trials, records)))
    assert len(text.encode()) < 1_500_000 and text.count("the last line") == 100
    assert "16,023 characters left out" in text


def test_the_commands_that_were_given_stand_in_the_provenance(tmp_path: Path) -> None:
    run = write_run(tmp_path, [trial()], [done(trial(), 93.5)])
    note(run, ["run", "cifar", "--only", "model=<b>*"], "2026-11-20T09:00:00+00:00")
    (run.folder / "commands.jsonl").write_text((run.folder / "commands.jsonl").read_text() + "{damaged\n")
    note(run, ["run", "cifar"], "2026-11-20T10:00:00+00:00")
    first, second = page(run).rows("As it was run")
    assert first[0] == "2026-11-20 09:00 UTC" and first[2] == "mixbench run cifar --only 'model=<b>*'"
    assert second[2] == "mixbench run cifar"


@pytest.mark.parametrize("trials", [[], [trial()]])
def test_a_run_without_records_has_a_page(tmp_path: Path, trials: list) -> None:
    run = write_run(tmp_path, trials, [])
    found = page(run)
    assert f"0 of {len(trials)} trial" in " ".join(found.text.split())
    assert ("no trials yet" in found.text) == (not trials)
    assert [path.name for path in write(run)] == ["results.csv", "summary.csv", "report.html", "report.md"]


def test_counters_that_differ_by_more_than_five_percent_are_marked(tmp_path: Path) -> None:
    trials = [trial(name) for name in ("splitmixer_i_256_8", "splitmixer_ii_256_8")]
    records = [
        done(trials[0], 93.0, macs_ptflops=65219072 * 106 // 100),
        done(trials[1], 93.0, macs_ptflops=39586304 * 104 // 100),
    ]
    large, small = page(write_run(tmp_path, trials, records)).rows("Counts for one image")
    assert (small[3], small[-1]) == ("+4.00", "none")
    assert (large[3], large[-1]) == ("+6.00 check", "none")


def test_uncommitted_changes_are_pointed_out(tmp_path: Path) -> None:
    each = trial()
    record = done(each, 93.0)
    dirty = ENVIRONMENT.model_copy(update={"git_dirty": True})
    details = record.details.model_copy(update={"environment": {"accuracy": dirty}})
    rows = page(write_run(tmp_path, [each], [record.model_copy(update={"details": details})])).table(
        "Where it was measured"
    )
    assert rows[-1] == ["Uncommitted changes", "yes: the commit alone does not reproduce these results"]


def test_what_is_true_of_every_trial_is_said_once(tmp_path: Path) -> None:
    trials = [trial(name) for name in ("splitmixer_i_256_8", "splitmixer_ii_256_8")]
    records = [
        done(trials[0], 93.0, flags=["uncommitted changes"]),
        done(trials[1], 92.0, flags=["uncommitted changes", "odd"]),
    ]
    found = page(write_run(tmp_path, trials, records))
    assert "Every trial that ran: uncommitted changes." in found.text
    assert [line["Model"].split(" SplitMixer ")[-1] for line in found.board()[1:]] == ["odd"]
    assert "uncommitted" not in str(found.table("cifar10"))


def test_of_several_runs_each_is_shown_with_its_suite_and_the_command_that_runs_it_again(tmp_path: Path) -> None:
    runs = [
        write_run(tmp_path / name, [trial()], [done(trial(), top1)], suite_text=f"name: suite_of_{name}\n")
        for name, top1 in (("one", 93.0), ("two", 94.0))
    ]
    found = Page(html(tables(*runs)))
    assert [row["Run"] for row in found.board()] == ["two", "one"]
    ids = [attributes["id"] for _, attributes in found.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for text in ("suite_of_one", "suite_of_two", "Run one", "Run two"):
        assert text in found.text
    command = "git checkout 1f0c2d3e4b5a69788796a5b4c3d2e1f00f1e2d3c && uv run mixbench run suite.yaml --out again"
    assert found.text.count(command) == 2


def test_settings_that_vary_are_named_beside_the_model(tmp_path: Path) -> None:
    trials = [trial(precision="fp32"), trial(precision="bf16")]
    lines = page(write_run(tmp_path, trials, [done(each, 93.0) for each in trials])).board()
    assert [line["Model"].split()[-1] for line in lines] == [line["Precision"] for line in lines] == ["fp32", "bf16"]


def test_a_page_of_a_hundred_trials_is_small(tmp_path: Path) -> None:
    trials = [trial(f"model_{index}", seed, family=f"Family {index % 12}") for seed in range(3) for index in range(34)]
    records = [done(each, 90.0 + index * 7 % 50 / 10) for index, each in enumerate(trials)]
    assert len(html(tables(write_run(tmp_path, trials, records)))) < 3_000_000


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (numbers.count(275834), "275,834"),
        (numbers.count(65219072), "65.2 M"),
        (numbers.count(22273814528), "22.3 G"),
        (numbers.count(999_999_999), "1.00 G"),
        (numbers.count(None), "–"),
        (numbers.exact(65219072), "65,219,072"),
        (numbers.signed(-0.444), "−0.44"),
        (numbers.signed(0.5), "+0.50"),
        (numbers.signed(-0.001), "0.00"),
        (numbers.rate(1430.5), "1,430"),
        (numbers.rate(99.96), "100"),
        (numbers.rate(3.14159), "3.14"),
        (numbers.tick(5_000_000), "5 M"),
        (numbers.size(1_610_612_736), "1.50 GiB"),
        (numbers.duration(59.96), "60.0 s"),
        (numbers.duration(3725), "1 h 02 min"),
        (numbers.moment("2026-11-20T09:00:00+00:00"), "2026-11-20 09:00 UTC"),
        (numbers.moment("yesterday"), "yesterday"),
        (numbers.span("2026-11-20T09:00:00Z", "2026-11-20T11:30:00Z"), "2026-11-20, 09:00 to 11:30 UTC"),
        (numbers.span("2026-11-20T09:00:00Z", "2026-11-21T11:30:00Z"), "2026-11-20 09:00 UTC to 2026-11-21 11:30 UTC"),
        (numbers.span("2026-11-20T09:00:00Z", ""), "2026-11-20 09:00 UTC to now"),
        (numbers.fixed(float("nan")), "nan"),
        (numbers.short("a\n b" * 9, 7), "a ba b…"),
    ],
)
def test_numbers_read_as_a_person_writes_them(shown: str, expected: str) -> None:
    assert shown == expected
