"""Flags: whoever reads a number in any table sees what it was measured under."""

import ast
import csv as csv_module
import io
import json
import re
from pathlib import Path
from typing import get_args

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from rich.console import Console

import mixbench
from mixbench.cli.status import print_summary
from mixbench.report.formats.csv import csv
from mixbench.report.formats.latex import latex
from mixbench.report.formats.markdown import markdown
from mixbench.report.models import models
from mixbench.results.collect import collect
from mixbench.results.flag_counts import by_kind
from mixbench.results.tables import tables
from mixbench.run.flags import Flag, Kind, written
from mixbench.run.folder import Run
from mixbench.run.record import Record, read_record
from mixbench.suite.trial import Measure
from tests.fake_runs import done, full_run, trial, write_run

BUSY, BUSIER = (Flag(Kind.BUSY_NEIGHBOURS, f"others kept {cores} of 2 cores busy") for cores in (1.2, 1.9))
DIRTY = Kind.UNCOMMITTED_CHANGES
EVIL = Flag(Kind.THROTTLED_GPU, "</td>|[x](y:z) \\input{z} & 100 % \x1b[31m")


def records() -> list[Record]:
    """Two seeds of three models: the first undisturbed, the second in one seed, the third in both."""
    found = [done(trial(name, seed), 90.0 + seed) for name in ("calm", "once", "twice") for seed in (0, 1)]
    found[3].flags += [Flag(DIRTY)]
    found[4].flags += [BUSY, Flag(DIRTY), EVIL]
    found[5].flags += [BUSIER, Flag(Kind.BUSY_NEIGHBOURS, "2 other processes on the GPU")]
    return found


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return write_run(tmp_path / "run", [each.details.trial for each in records()], records())


def shown(of: list[Record], width: int) -> list[str]:
    stream = io.StringIO()
    print_summary(of, Console(file=stream, width=width, highlight=False, markup=False))
    return stream.getvalue().splitlines()


def test_a_kind_counts_its_trials_not_its_flags_and_says_each_detail_once() -> None:
    kinds = {each.kind: each for each in by_kind([*records(), *records()])}
    assert {kind: each.trials for kind, each in kinds.items()} == {DIRTY: 4, "busy neighbours": 4, "throttled GPU": 2}
    assert kinds["busy neighbours"].details == [
        "others kept 1.2 of 2 cores busy", "others kept 1.9 of 2 cores busy", "2 other processes on the GPU",
    ]  # fmt: skip
    assert kinds[DIRTY].details == []


def test_summary_csv_has_the_flags_of_each_row(run: Run) -> None:
    flags = pd.read_csv(io.StringIO(csv(tables(run).summary)), keep_default_na=False).set_index("model")["flags"]
    assert (flags["calm"], flags["once"]) == ("", DIRTY)
    assert flags["twice"].startswith(f"{BUSY};{DIRTY};throttled GPU: ") and str(BUSIER) in flags["twice"]


def test_markdown_marks_the_rows_and_says_below_what_was_wrong(run: Run) -> None:
    text = markdown(tables(run))
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    last = {line.split("|")[1].strip(): line.split("|")[-2].strip() for line in lines}
    assert (last["Model"], last["calm"], last["once"], last["twice"]) == ("Flags", "", "1", "1, 2, 3")
    assert f"\n1. {DIRTY} (2 trials)\n2. busy neighbours (2 trials): others kept 1.2 of 2 cores busy; " in text
    assert "\n3. throttled GPU (1 trial): \\</td\\>\\|\\[x\\](y:z) \\\\input{z} \\& 100 %\n" in text


def test_latex_marks_the_rows_and_says_in_the_caption_what_was_wrong(run: Run) -> None:
    text = latex(tables(run))
    assert re.findall(r"^(Model|calm|once|twice) .* & (.*) \\\\$", text, re.MULTILINE) == [
        ("Model", "Flags"), ("calm", ""), ("once", "1"), ("twice", "1, 2, 3"),
    ]  # fmt: skip
    [caption] = [line for line in text.splitlines() if line.startswith(r"\caption")]
    assert f"casts doubt): (1) {DIRTY} (2 trials); (2) busy neighbours (2 trials): others" in caption
    assert r"Flags ($\approx$: a speed" in caption
    assert caption.endswith(r"{[}x{]}(y:z) \textbackslash{}input\{z\} \& 100 \%.}")


def test_a_run_without_flags_has_no_column_and_no_word_of_them(tmp_path: Path) -> None:
    found = tables(full_run(tmp_path))
    assert not re.search("flag", markdown(found) + latex(found), re.IGNORECASE)
    assert not any("*" in line for line in shown(found.records, 120))


@pytest.mark.parametrize("width", [24, 60, 80, 160])
def test_a_terminal_of_any_width_marks_the_rows_and_counts_the_kinds(run: Run, width: int) -> None:
    lines = shown(collect(run).records, width)
    assert max(map(len, lines)) <= width
    assert [line.split("  ")[0] for line in lines if re.match("(calm|once|twice)", line)] == [
        "calm",
        "once *",
        "twice *",
    ]
    end = next(index for index, line in enumerate(lines) if line.startswith("* "))
    said = " ".join(line.strip() for line in lines[end:])
    assert said == f"* 3 of 6 trials flagged: {DIRTY} (2), busy neighbours (2), throttled GPU (1)"


def test_trials_that_are_no_longer_planned_do_not_count(run: Run) -> None:
    run.write_plan("name: cifar\n", [each.details.trial for each in records()[:4]])
    assert shown(collect(run).records, 120)[-1] == f"* 1 of 4 trials flagged: {DIRTY} (1)"


OLD = [
    "validation split",
    "out of memory: inference at batch 4,096",
    "not measured: energy: RuntimeError: the meter, is out",
    "speed still moved: 20 rounds of warm-up",
    "busy neighbours: 2 other processes on the GPU",
    "throttled GPU: power cap, heat",
    "no TF32 on a CPU: plain fp32",
    "uncommitted changes",
    "checkpoint step-00000025 set aside: shared.pt is damaged",
    "begun with mixbench 0.1.0 1f0c2d3e4b5a and changes, torch 2.11.0, deepspeed 0.19.2, a CPU (2 cores), threads: 2",
    "speed still moved after 6 steps of warm-up",  # of an earlier mixbench
]
"""The flags of a record as they stood before they were values."""


def test_the_flags_of_an_old_record_are_read_and_written_again_as_they_were(tmp_path: Path) -> None:
    run = write_run(tmp_path, [trial()], [done(trial(), 90.0, flags=OLD)])
    file = run.record_file(trial().id)
    assert json.loads(file.read_bytes())["flags"] == OLD
    record = read_record(file)
    details = {flag.kind: flag.detail for flag in record.flags}
    assert details[Kind.DAMAGED_CHECKPOINT] == "step-00000025 set aside: shared.pt is damaged"
    assert details[Kind.OTHER_ENVIRONMENT] == OLD[-2].removeprefix("begun with ")
    assert details[Kind.UNCOMMITTED_CHANGES] == details[OLD[-1]] == ""
    before = file.read_bytes()
    run.write_record(record)
    assert file.read_bytes() == before
    [row] = csv_module.DictReader(io.StringIO(csv(tables(run).results)))
    assert row["flags"] == ";".join(OLD)


@given(st.text() | st.sampled_from(OLD) | st.builds("{}: {}".format, st.sampled_from(Kind), st.text()))
def test_any_text_is_a_flag_and_is_written_again_as_it_was(text: str) -> None:
    assert str(Flag.read(text)) == text


@given(st.sampled_from(Kind), st.text(min_size=1))
def test_a_flag_of_any_kind_is_read_as_it_was_written(kind: Kind, detail: str) -> None:
    assert Flag.read(str(Flag(kind, detail))) == Flag(kind, detail)
    assert Flag.read(str(Flag(kind))) == Flag(kind)


def test_what_is_no_text_is_no_flag() -> None:
    for wrong in (1, None, ["odd"]):
        facts = json.loads(done(trial(), 90.0).model_dump_json()) | {"flags": [wrong]}
        with pytest.raises(ValidationError, match="a flag is text"):
            Record.model_validate(facts)


def test_all_code_makes_flags_of_kinds_in_the_table() -> None:
    made = 0
    for path in sorted(Path(mixbench.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Flag":
                made += 1
                assert re.match(r"Kind[.(]", ast.unparse(node.args[0])), f"{path}:{node.lineno}"
    assert made > 10
    assert {f"no {part} yet" for part in get_args(Measure)} <= set(Kind)


def test_a_trial_no_longer_planned_is_marked_and_in_no_row(run: Run) -> None:
    run.write_plan("name: cifar\n", [each.details.trial for each in records()[:-1]])
    found, last = tables(run), records()[-1]
    assert [record.planned for record in found.records] == [True] * 5 + [False]
    assert Kind.NOT_IN_PLAN not in {flag.kind for record in found.records for flag in record.flags}
    assert found.results["flags"].tolist()[-2:] == [f"{BUSY};{DIRTY};{EVIL}", f"{written(last.flags)};not in plan"]
    assert [len(group.records) for group in found.groups] == [2, 2, 1]
    trials = [model.trials for model in models(found, {}) if model.record.model == "twice"]
    assert [[Flag(Kind.NOT_IN_PLAN) in ran.flags for ran in each] for each in trials] == [[False, True]]
    assert not any(Kind.NOT_IN_PLAN in text for text in (markdown(found), latex(found)))
    run.write_record(found.records[-1])
    assert "planned" not in json.loads(run.record_file(last.trial_id).read_bytes())


def test_every_part_of_a_record_has_a_flag_for_its_absence() -> None:
    assert [Kind(f"no {part} yet") for part in get_args(Measure)]
