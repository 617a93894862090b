"""Every form of a report: what it says is right, what users write in it is text, and bad records break none."""

import csv as stdlib_csv
import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pandas as pd
import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt
from markdown_it.token import Token
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mixbench.cli.main import cli, report
from mixbench.report import numbers
from mixbench.report.formats import latex, markdown
from mixbench.report.formats.timm import ACCURACIES, SPEEDS
from mixbench.report.write import FORMATS, write
from mixbench.results.tables import tables
from mixbench.run.folder import Run
from mixbench.system.checksum import with_checksums
from tests.fake_runs import MODELS, RECIPE, done, failed, full_run, trial, write_run

HOSTILE = [
    "=1+1", "+x", "-x", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1", "\ufeff=1", "--a---b", "`code` ``", "a|b|c",
    "**bold** _x_", "[x](javascript:alert(1))", "<script>alert(1)</script>", "</script><img src=x onerror=alert(2)>",
    "# heading", "1. item", "- item", "$x^2$ ~~y~~ \\n", "http://x.y www.x.y a@b.c", r"\input{/etc/passwd}",
    "100 % & #1 {a}_b", "[2pt] \\\\ *", "שלום עולם", "مرحبا", "\u202etxt.exe", "m" * 300, "a\nb\x00\x1b[31mc",
    "&amp; &#60;", "''`` \"q\"", "ミキサー",
]  # fmt: skip


def hostile_run(folder: Path) -> Run:
    """A label and a flag of each kind, and of each kind of bad record one."""
    trials = [trial(f"model_{index}", label=label) for index, label in enumerate(HOSTILE)]
    odd = [trial(f"odd_{index}", seed=index) for index in range(5)]
    records = [done(each, 80.0 + index / 7) for index, each in enumerate(trials)]
    records += [done(odd[0], math.nan, flags=HOSTILE), done(odd[1], math.inf, infer_samples_per_sec=math.nan)]
    records += [failed(odd[2], "\n".join(HOSTILE))]
    run = write_run(folder, [*trials, *odd], records, "name: cifar # </script>\n")
    run.record_file(odd[3].id).write_text("{")
    later = json.loads(done(odd[4], 90.0).model_dump_json()) | {"schema_version": 9}
    run.record_file(odd[4].id).write_text(with_checksums(json.dumps(later)), encoding="utf-8")
    shutil.copytree(run.trial_folder(trials[0].id), run.trial_folder("another"))  # its id is there twice
    run.plan_file.write_text(json.dumps([each.id for each in (*trials, *odd, trials[0])]))
    return run


def test_every_module_of_formats_is_a_choice_of_report_and_is_written() -> None:
    [choices] = [option.type for option in report.params if option.name == "forms"]
    assert isinstance(choices, click.Choice) and set(choices.choices) == set(FORMATS)


@pytest.mark.parametrize("form", FORMATS)
def test_every_form_is_made_of_bad_records_and_of_none(form: str, tmp_path: Path) -> None:
    run = hostile_run(tmp_path / "hostile")
    assert tables(run).counts["done"] == len(HOSTILE) + 2
    damaged = "\n".join(tables(run).damaged)
    assert (
        damaged.count("\n") == 3
        and "schema version 9, this mixbench reads 2: written by a newer mixbench, and kept as it is" in damaged
    )
    written = write(run, formats=[form])
    assert written and all(path.stat().st_size > 0 for path in written)
    empty = write_run(tmp_path / "empty", [], [])
    for path in write(empty, formats=[form]):
        text = path.read_text(encoding="utf-8").lower().split("<svg")[0].split("<script>")[0]
        assert "nan" not in text.split(",")


def names(tokens: list[Token]) -> list[str]:
    """The text of each table row's first cell; anything but text in it shows as its kind."""
    starts = [index for index, token in enumerate(tokens) if token.type == "tr_open"]
    return ["".join(_shown(each) for each in tokens[index + 2].children or []) for index in starts]


def _shown(token: Token) -> str:
    return token.content if token.type in ("text", "text_special") else f"!{token.type}!"


def one_line(label: str) -> str:
    """As every form shows it: no colours, no control characters, nothing that turns the line's direction."""
    plain = re.sub(r"[\x00\u202e\ufeff]", "\ufffd", label.replace("\x1b[31m", ""))
    return " ".join(plain.split())


def test_markdown_shows_what_users_wrote_as_text(tmp_path: Path) -> None:
    text = markdown.markdown(tables(hostile_run(tmp_path)))
    parser = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    tokens = parser.parse(text)
    items = [tokens[index + 2] for index, each in enumerate(tokens) if each.type == "list_item_open"]
    flags = ["".join(map(_shown, each.children or [])) for each in items]
    for label in HOSTILE:
        assert one_line(label) in names(tokens), label
        assert len(label) > 200 or f"{one_line(label)} (1 trial)" in flags, label
    kinds = {token.type for token in tokens} | {kid.type for token in tokens for kid in token.children or []}
    assert not kinds & {
        "html_block",
        "html_inline",
        "link_open",
        "image",
        "code_inline",
        "em_open",
        "fence",
    }
    bold = [kids[at + 1].content for kids in (each.children or [] for each in tokens) for at, kid in enumerate(kids)
            if kid.type == "strong_open"]  # fmt: skip
    assert bold and all(re.fullmatch(r"[\d., ±MG]+", figure) for figure in bold)
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h1", "h2", "h2"]
    assert not re.search(r"(?<!\\)(?:www\.|://)", text), "GitHub makes links of bare addresses"


def test_markdown_says_the_figures_with_their_intervals_and_what_is_missing(tmp_path: Path) -> None:
    run = full_run(tmp_path, seeds=3)
    run.record_file(run.planned()[0]).unlink()
    text = markdown.markdown(tables(run))
    assert "26 of 27 trials done" in text and "- 1 trial not run yet." in text
    parts, counts = (
        [part.strip() for part in line.split("|")[1:-1]]
        for line in text.splitlines()
        if line.startswith("| splitmixer_i_256_8 ")
    )
    as_published = {group.row.model: group.row.macs_as_published for group in tables(run).groups}["splitmixer_i_256_8"]
    ours = [numbers.count(275834), numbers.count(as_published)]
    assert counts == ["splitmixer_i_256_8", "280,000", ours[0], "71.8 M", ours[1], "splitmixer"]
    ours = ["275,834", "65.2 M", "1,430", "477"]
    assert parts == ["splitmixer_i_256_8", "93.90 ± 0.32", "3", "−0.5 ± 0.7 n.s.", "93.91", "−0.01", *ours]
    assert text.index("splitmixer_i_256_8") < text.index("splitmixer_ii_256_8") < text.index("resmlp_s12_4")


COMMANDS = {
    "textbackslash", "textasciicircum", "textasciitilde", "textless", "textgreater", "textbar", "textquotedbl",
    "textasciigrave", "textquotesingle", "pm", "approx", "cdot", "times", "dots", "begin", "end", "centering",
    "caption", "textbf", "resizebox", "linewidth", "toprule", "midrule", "bottomrule",
}  # fmt: skip


def test_latex_holds_no_command_special_or_row_of_a_users(tmp_path: Path) -> None:
    text = latex.latex(tables(hostile_run(tmp_path)))
    body = "\n".join(line for line in text.splitlines() if not line.startswith("%"))
    assert set(re.findall(r"\\([a-zA-Z]+)", body)) <= COMMANDS
    rows = body.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert len(rows) == len(HOSTILE) + 5
    for row in rows:
        assert row.endswith(r" \\") and len(re.findall(r"(?<!\\)&", row)) == 8, row
        assert unescaped(row.split(" & ")[0]) is None, row
    [caption] = re.findall(r"\\caption\{(.*)\}\n", body)
    assert "casts doubt): (1) =1+1 (1 trial); (2) +x" in caption and unescaped(caption) is None


def unescaped(name: str) -> re.Match[str] | None:
    """What LaTeX would not print as it stands."""
    escapes = r"\\(?:[a-zA-Z]+\{\}|[{}$&#%_])|\$\\(?:pm|approx|times|cdot)\$|\$-\$|\{[\[\*\]]\}|-\{\}"
    return re.search(r"[\\{}$#%_^~<>|\"`\[\]*&]|--", re.sub(escapes, "", name))


def test_latex_has_the_rows_of_markdown(tmp_path: Path) -> None:
    text = latex.latex(tables(full_run(tmp_path, seeds=3)))
    row = next(line for line in text.splitlines() if line.startswith(r"splitmixer\_i\_256\_8 &"))
    assert row.startswith(r"splitmixer\_i\_256\_8 & 93.90 $\pm$ 0.32 & 3 & $-$0.")
    assert row.endswith(r"n.s. & 93.91 & $-$0.01 & 275,834 & 65.2 M & 1,430 & 477 \\")
    assert text.count(r"\\") == 1 + len(MODELS) and r"\usepackage{booktabs}" in text


def test_timms_files_have_timms_columns_units_order_and_one_name_in_both(tmp_path: Path) -> None:
    run = full_run(tmp_path, seeds=3)
    speeds, accuracies = (pd.read_csv(path) for path in write(run, formats=["timm"]))
    assert list(speeds) == SPEEDS and list(accuracies) == ACCURACIES
    assert ",".join(SPEEDS) == (
        "model,infer_img_size,infer_samples_per_sec,infer_step_time,infer_batch_size,param_count,infer_gmacs,infer_macts"
    )
    assert ",".join(ACCURACIES) == "model,img_size,top1,top1_err,top5,top5_err,param_count"
    both = speeds.merge(accuracies, on="model")
    assert len(both) == len(MODELS) == len(speeds)
    mixer = both.set_index("model").loc["mixer_s_4"]
    assert (mixer.param_count_x, mixer.infer_gmacs, mixer.infer_macts) == (17.6, 1.12, 4.0), "two decimals, as timm's"
    assert mixer.infer_step_time == round(1000 * 256 / 402, 3) and mixer.infer_img_size == 32
    small = both.set_index("model").loc["splitmixer_i_256_8"]
    assert (small.param_count_y, small.infer_gmacs) == (0.276, 0.0652), "where two decimals would lose a model"
    assert small.top1 + small.top1_err == pytest.approx(100) and (small.top5, small.top5_err) == (99.8, 0.2)
    assert speeds.infer_samples_per_sec.is_monotonic_decreasing and accuracies.top1.is_monotonic_decreasing


def test_timms_rows_that_share_a_model_are_told_apart_by_a_tag(tmp_path: Path) -> None:
    trials = [trial(dataset=name, precision=kind) for name in ("cifar10", "cifar100") for kind in ("fp32", "bf16")]
    run = write_run(tmp_path, trials, [done(each, 90.0) for each in trials])
    speeds, accuracies = (pd.read_csv(path) for path in write(run, formats=["timm"]))
    tags = ("cifar10_fp32", "cifar10_bf16", "cifar100_fp32", "cifar100_bf16")
    assert set(speeds.model) == set(accuracies.model) == {f"splitmixer_i_256_8.{tag}" for tag in tags}


def test_timms_step_is_that_of_all_processes_and_bad_values_have_no_row(tmp_path: Path) -> None:
    trials = [trial(processes_per_node=4), trial("mixer_s_4"), trial("resmlp_s12_4")]
    bad = done(trials[1], math.nan, infer_samples_per_sec=math.inf, top5=math.nan)
    records = [done(trials[0], 90.0, infer_samples_per_sec=2048.0), bad, done(trials[2], 80.0, top5=math.nan)]
    speeds, accuracies = (pd.read_csv(path) for path in write(write_run(tmp_path, trials, records), formats=["timm"]))
    assert dict(zip(speeds.model, speeds.infer_step_time, strict=True))["splitmixer_i_256_8"] == 500.0
    assert list(accuracies.model) == ["splitmixer_i_256_8", "resmlp_s12_4"] and math.isnan(accuracies.top5[1])
    assert "mixer_s_4" not in set(speeds.model)


def test_no_text_is_a_formula_in_any_csv(tmp_path: Path) -> None:
    run = hostile_run(tmp_path)
    for path in write(run, formats=["csv", "timm"]):
        with path.open(encoding="utf-8", newline="") as file:
            rows = list(stdlib_csv.reader(file))
        for cell in (cell for row in rows for cell in row):
            assert not re.match(r"[\t\r\n]|[\s\ufeff]*[=+@＝]", cell), cell
            assert not cell.strip().startswith("-") or re.fullmatch(r"-[\d.e+-]+", cell), cell
    labels = set(pd.read_csv(run.folder / "results.csv").label)
    assert {"'=1+1", "'  =1", "'＝1", "'\t=1", "a|b|c", "m" * 300} <= labels


def test_tensorboard_reads_each_trials_curve_settings_and_results(tmp_path: Path) -> None:
    trials = [trial(seed=seed) for seed in range(2)] + [trial("mixer_s_4")]
    run = write_run(tmp_path, trials, [done(trials[0], 93.0), done(trials[1], math.nan)])
    written = write(run, formats=["tensorboard"])
    assert written == write(run, formats=["tensorboard"]), "the same files, not more"
    assert [path.parent.name for path in written] == [trials[0].id, trials[1].id]
    seen = EventAccumulator(str(written[0].parent)).Reload()
    curve = seen.Scalars("test/top1")
    record = run.record(trials[0].id)
    assert record is not None and record.details.curve is not None
    assert [(point.step, point.value) for point in curve] == [
        (epoch.epoch, pytest.approx(epoch.top1)) for epoch in record.details.curve.epochs
    ]
    assert curve[1].wall_time - curve[0].wall_time == pytest.approx(60.0), "dated by the time of training"
    assert seen.Scalars("result/params")[0].value == 275834
    assert "hparams" in seen.summary_metadata["_hparams_/session_start_info"].plugin_data.plugin_name
    assert math.isnan(EventAccumulator(str(written[1].parent)).Reload().Scalars("result/top1")[0].value)


def test_a_form_whose_library_is_missing_is_refused_with_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = full_run(tmp_path, seeds=1)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    result = CliRunner().invoke(cli, ["report", str(run.folder), "--format", "tensorboard"])
    assert "pip install 'mixbench[tensorboard]'" in str(result.exception) and not (run.folder / "tensorboard").exists()


def test_the_verb_writes_the_forms_asked_for_and_no_other_without_torch(tmp_path: Path) -> None:
    run = full_run(tmp_path, seeds=1)
    forms = ["latex", "timm", "tensorboard", "markdown", "latex"]
    arguments = ["report", str(run.folder), "--json", *(word for form in forms for word in ("--format", form))]
    code = (
        f"import sys; from mixbench.cli.main import cli; cli({arguments!r}, standalone_mode=False); "
        "sys.exit(int('torch' in sys.modules or 'seaborn' in sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    names = [Path(path).relative_to(run.folder).parts[0] for path in json.loads(result.stdout)]
    assert list(dict.fromkeys(names)) == [
        "summary.tex", "timm-benchmark-infer.csv", "timm-results.csv", "tensorboard", "report.md",
    ]  # fmt: skip
    assert not (run.folder / "report.html").exists()
    assert CliRunner().invoke(cli, ["report", str(run.folder), "--format", "word"]).exit_code == 2


def test_one_damaged_record_among_hundreds_costs_its_own_row_alone(tmp_path: Path) -> None:
    short = RECIPE.model_copy(update={"epochs": 1})
    trials = [trial("mixer_s_4", seed, recipe=short) for seed in range(300)]
    run = write_run(tmp_path, trials, [done(each, 90.0) for each in trials])
    text = run.record_file(trials[150].id).read_text(encoding="utf-8")
    run.record_file(trials[150].id).write_text(text.replace('"top1": 90.0', '"top1": 99.0', 1), encoding="utf-8")
    found = tables(run)
    assert found.groups[0].row.n_seeds == 299 and found.groups[0].row.top1_mean == pytest.approx(90.0)
    assert len(found.damaged) == 1 and trials[150].id in markdown.markdown(found)


def test_several_runs_in_one_report_keep_their_events_apart(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, [trial()], [done(trial(), 90.0)]) for name in "ab"]
    written = write(*runs, out=tmp_path / "both", formats=["tensorboard", "markdown"])
    folders = [path.relative_to(tmp_path / "both").parts[:2] for path in written[:2]]
    assert folders == [("tensorboard", "a"), ("tensorboard", "b")]
