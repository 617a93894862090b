"""Flags: whoever reads a number in any table sees what it was measured under."""

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from mixbench.cli.status import print_summary
from mixbench.report.formats.csv import csv
from mixbench.report.formats.latex import latex
from mixbench.report.formats.markdown import markdown
from mixbench.results.collect import collect
from mixbench.results.flags import by_kind
from mixbench.results.tables import tables
from mixbench.run.folder import Run
from mixbench.run.record import Record
from tests.fake_runs import done, full_run, trial, write_run

BUSY, BUSIER = (f"busy neighbours: others kept {cores} of 2 cores busy" for cores in (1.2, 1.9))
DIRTY = "uncommitted changes"
EVIL = "throttled GPU: </td>|[x](y:z) \\input{z} & 100 % \x1b[31m"


def records() -> list[Record]:
    """Two seeds of three models: the first undisturbed, the second in one seed, the third in both."""
    found = [done(trial(name, seed), 90.0 + seed) for name in ("calm", "once", "twice") for seed in (0, 1)]
    found[3].flags += [DIRTY]
    found[4].flags += [BUSY, DIRTY, EVIL]
    found[5].flags += [BUSIER, "busy neighbours: 2 other processes on the GPU"]
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
    assert flags["twice"].startswith(f"{BUSY};{DIRTY};throttled GPU: ") and BUSIER in flags["twice"]


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
    assert f"medians. Flags: (1) {DIRTY} (2 trials); (2) busy neighbours (2 trials): others" in caption
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
