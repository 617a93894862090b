"""Two selected rows side by side: the panel's numbers are Python's, and it is there for a keyboard and a phone."""

from pathlib import Path
from typing import Any, Literal

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, Page, expect

from mixbench.report import numbers
from mixbench.report.compare_data import compare_data
from mixbench.report.evidence import MOST_PAIRED, evidence
from mixbench.report.formats.html import html
from mixbench.report.leaderboard import Board, board
from mixbench.results.tables import Tables, tables
from mixbench.run.record import Record
from tests.fake_runs import done, predicting_run, trial, write_run


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return tables(predicting_run(tmp_path_factory.mktemp("runs") / "cifar"))


@pytest.fixture(scope="module")
def rows(nine: Tables) -> Board:
    return board(nine)


@pytest.fixture(scope="module")
def report(nine: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of nine models with three seeds each, and their predictions."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html(nine, []), encoding="utf-8")
    return path


def select(page: Page, *places: int) -> None:
    page.evaluate("places => set('selected', places.map((at) => data.rows[at].key))", list(places))


def cells(page: Page, table: str) -> list[list[str]]:
    rows = page.get_by_role("region", name=table, exact=True).locator("tbody tr")
    return [row.locator("th, td").all_inner_texts() for row in rows.all()]


def test_two_rows_open_the_panel_and_other_numbers_say_what_to_do(page: Page) -> None:
    panel, link = page.locator("#compare"), page.locator('nav a[href="#compare"]')
    expect(panel).to_be_hidden()
    select(page, 4)
    expect(panel).to_be_hidden()
    expect(link).to_be_hidden()
    select(page, 4, 1)
    expect(panel).to_be_visible()
    expect(link).to_be_visible()
    names = page.locator("#compare .sides dd").all_inner_texts()
    assert names == page.evaluate("[data.rows[1].name, data.rows[4].name]"), "in the board's order"
    expect(page.get_by_role("status").filter(has_text="Comparing")).to_have_text(
        f"Comparing {names[0]} with {names[1]}."
    )
    select(page, 4, 1, 0)
    expect(panel).to_contain_text("3 rows are selected: select two to compare them.")
    assert page.locator("#compare table").count() == 0
    select(page)
    expect(panel).to_be_hidden()


def test_the_panels_numbers_are_pythons(page: Page, nine: Tables, rows: Board) -> None:
    select(page, 2, 6)
    a, b = rows.lines[2], rows.lines[6]
    found: Any = compare_data(rows, nine.comparisons, evidence(nine))
    pair, sides = found["pairs"]["2 6"], [found["sides"][at] for at in (2, 6)]
    verdict = nine.comparisons.of(a.group, b.group).verdict
    text = numbers.against(verdict.value, verdict.half_width, verdict.outcome)
    said = page.locator("#compare .verdict")
    expect(said).to_contain_text(f"A − B in points: {text}.")
    expect(said).to_contain_text(
        {"better": "A is better than B", "worse": "A is worse than B"}.get(
            verdict.outcome, "A and B are not distinguishable"
        )
    )
    metrics = {name: rest for name, *rest in cells(page, "Metrics")}
    assert metrics["Top-1"][2] == text
    assert a.row.params and b.row.params
    assert metrics["Parameters"] == [f"{a.row.params:,}", f"{b.row.params:,}", f"× {a.row.params / b.row.params:#.3g}"]
    assert metrics["ECE"][:2] == [f"{side['ece']:.2f} %" for side in sides]
    by_class = [
        [str(number), f"{x:.1f}", f"{y:.1f}"]
        for number, (x, y) in enumerate(zip(sides[0]["byClass"], sides[1]["byClass"], strict=True))
    ]
    shown = cells(page, "Top-1 by class")
    assert sorted(line[:3] for line in shown) == by_class
    apart = [abs(sides[0]["byClass"][int(line[0])] - sides[1]["byClass"][int(line[0])]) for line in shown]
    assert apart == sorted(apart, reverse=True)
    overlap, images = pair["overlap"], 10_000
    assert cells(page, "Where they disagree") == [
        [name, *(f"{round(count):,} ({100 * count / images:.1f} %)" for count in counts)]
        for name, *counts in (
            ("A right", overlap["both_right"], overlap["only_a"]),
            ("A wrong", overlap["only_b"], overlap["both_wrong"]),
        )
    ]
    expect(page.locator("#compare")).to_contain_text("mean over all 9 pairs of a seed of A and one of B")
    expect(page.locator("#compare")).to_contain_text(f"same class for {100 * overlap['same'] / images:.1f} %")
    assert [line[:2] for line in cells(page, "Furthest apart")] == [[str(at), str(k)] for at, k, *_ in pair["images"]]


def test_curves_and_step_times_of_both_lie_over_each_other(page: Page) -> None:
    select(page, 0, 3)
    captions = page.locator("#compare figcaption").all_inner_texts()
    assert captions == [
        "Top-1 by epoch, %",
        "Test loss by epoch",
        "Training loss by epoch",
        "Inference steps: % of those timed, by duration",
        "Training steps: % of those timed, by duration",
    ]
    curves, steps = page.locator("#compare figure").first, page.locator("#compare figure").nth(3)
    assert [curves.locator(f"path.side-{side}").count() for side in "ab"] == [3, 3], "a line for each seed"
    assert [steps.locator(f"path.side-{side}").count() for side in "ab"] == [1, 1]
    last = page.evaluate("[0, 3].map((at) => data.rows[at].curves.map((curve) => curve.top1.at(-1)))")
    texts = [", ".join(f"{value:.3g}" for value in side) for side in last]
    expect(curves.locator("svg")).to_have_attribute(
        "aria-label", f"Top-1 by epoch, %: A ends at {texts[0]}, B at {texts[1]}"
    )
    assert page.evaluate(
        "histograms([1, 1, 2, 3], [2, 3], 2).map(([line]) => line.slice(1, -1).map(([, y]) => y))"
    ) == [
        [50, 50, 50, 50],
        [0, 0, 100, 100],
    ]


def test_only_what_differs_is_listed(context: BrowserContext, tmp_path: Path) -> None:
    one = trial(arguments={"dim": 8, "depth": 2, "image_size": 32})
    recipe = one.recipe.model_copy(update={"clip_grad_norm": 0.5})
    other = trial(recipe=recipe, arguments={"dim": 16, "depth": 2, "image_size": 32}, precision="bf16", id="other")
    page = opened(context, tmp_path, done(one, 90.5), done(other, 90.0, device="GPU"))
    select(page, 0, 1)
    differs = {name: values for name, *values in cells(page, "What differs")}
    assert differs["dim"] == ["8", "16"] and differs["Precision"] == ["fp32", "bf16"]
    assert differs["recipe: clip_grad_norm"] == ["0.0", "0.5"] and "depth" not in differs and "Family" not in differs
    metrics = {name: rest for name, *rest in cells(page, "Metrics")}
    assert metrics["Inference throughput"][2] == "–" and metrics["Parameters"][2] == "× 1.00"
    expect(page.locator("#compare")).to_contain_text("of different devices, speeds are not compared")
    expect(page.locator("#compare")).to_contain_text("Not testable (a single seed of")
    expect(page.locator("#compare")).to_contain_text("No predictions were kept of")


def test_rows_of_different_datasets_have_no_verdict(context: BrowserContext, tmp_path: Path) -> None:
    page = opened(context, tmp_path, done(trial(), 90.0), done(trial(dataset="other"), 90.0))
    select(page, 0, 1)
    expect(page.locator("#compare")).to_contain_text("Accuracies on cifar10 and on other are not compared.")
    assert page.locator("#compare .verdict").count() == 0
    assert {name: rest for name, *rest in cells(page, "Metrics")}["Top-1"][2] == "–"


def test_check_boxes_select_and_the_address_opens_the_same(page: Page, rows: Board) -> None:
    for line in (rows.lines[1], rows.lines[3]):
        page.get_by_label(f"Select {line.name}", exact=True).check()
    said = page.locator("#compare .verdict").inner_text()
    address = page.url
    page.goto("about:blank")
    page.goto(address)
    expect(page.locator("#compare .verdict")).to_have_text(said)
    page.get_by_label(f"Select {rows.lines[1].name}", exact=True).uncheck()
    expect(page.locator("#compare")).to_be_hidden()


def test_of_very_many_rows_it_says_what_is_left_out(context: BrowserContext, tmp_path: Path) -> None:
    records = [done(trial(f"model_{number}"), 60.0 + number / 2) for number in range(MOST_PAIRED + 1)]
    page = opened(context, tmp_path, *records)
    select(page, 0, 40)
    expect(page.locator("#compare")).to_contain_text("the page leaves out their images, classes and step times")
    expect(page.locator("#compare .verdict")).to_contain_text("A − B in points: +20.00 untested. Not testable.")
    assert page.locator("#compare table").count() == 2 and page.locator("#compare figure").count() == 3


def test_a_keyboard_reaches_it(page: Page) -> None:
    select(page, 0, 8)
    page.locator('nav a[href="#compare"]').focus()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('section').id") == "compare"
    page.locator("#compare-title").focus()
    expect(page.locator("#compare-title")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_and_fits_any_screen(page: Page, scheme: Literal["light", "dark"]) -> None:
    page.emulate_media(color_scheme=scheme)
    select(page, 0, 8)
    page.locator("#model-1").evaluate("model => { model.open = true; }")
    found = Axe().run(page, context={"include": [["#compare"], ["#model-1 .evidence"]]})
    assert found.violations_count == 0, found.generate_report()
    for width in (1400, 900, 390):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") == width


def opened(context: BrowserContext, folder: Path, *records: Record) -> Page:
    """The page of a run of these records."""
    path, page = folder / "report.html", context.new_page()
    run = write_run(folder / "run", [record.details.trial for record in records], list(records))
    path.write_text(html(tables(run), []), encoding="utf-8")
    page.goto(path.as_uri())
    return page
