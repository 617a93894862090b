"""The budget, the search and the answer above the leaderboard, and the verdicts that they quote."""

import json
import math
import re
from itertools import permutations
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from mixbench.report import numbers
from mixbench.report.formats.html import html
from mixbench.results.statistics import plus_minus
from mixbench.results.tables import tables
from tests.fake_runs import MODELS, done, full_run, trial, write_run

ROWS = "#board tbody tr[data-row]:visible"


def names(page: Page) -> list[str]:
    return page.locator(f"{ROWS} .name").all_inner_texts()


def limit(page: Page, metric: str, text: str) -> None:
    page.locator(f"input[data-metric={metric}]").fill(text)


def test_limits_filter_the_rows_and_the_best_of_them_is_named_with_its_verdict(page: Page) -> None:
    limit(page, "params", "300k")
    fits = [name for name, _, params, *_ in MODELS if params <= 300_000]
    assert sorted(names(page)) == sorted(fits)
    limit(page, "throughput", "1.2k")
    assert sorted(names(page)) == sorted(
        name for name, _, params, _, speed in MODELS if params <= 300_000 and speed >= 1200
    )
    assert "max-params=300k" in page.url and "min-throughput=1.2k" in page.url
    said = page.locator("#answer").inner_text()
    assert said.startswith("Best of those shown: " + names(page)[0]) and "to the best of all, " in said
    page.get_by_role("button", name="Clear").click()
    assert len(names(page)) == len(MODELS) and "to the best of all" not in page.locator("#answer").inner_text()


def test_a_limit_is_dragged_and_written_so_that_the_row_keeps_it(page: Page) -> None:
    slider = page.get_by_label("Params, limit")
    slider.focus()
    for _ in range(40):
        page.keyboard.press("ArrowLeft")
    text = page.locator("input[data-metric=params]").input_value()
    assert re.fullmatch(r"[\d.]+[kM]", text) and 0 < len(names(page)) < len(MODELS)
    page.keyboard.press("End")
    assert page.locator("input[data-metric=params]").input_value() == "" and len(names(page)) == len(MODELS)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("params<300k", lambda name, params, macs: params < 300_000),
        ("params>=508394 macs<=200M", lambda name, params, macs: params >= 508_394 and macs <= 200e6),
        ("resmlp | params<275835", lambda name, params, macs: "resmlp" in name or params < 275_835),
        ("params < 300 k", lambda name, params, macs: params < 300_000),
        ('"resmlp_s12" | mixer_s', lambda name, params, macs: "resmlp_s12" in name or "mixer_s" in name),
        ("convmixer|mixer_s", lambda name, params, macs: "convmixer" in name or "mixer_s" in name),
    ],
)
def test_find_knows_numbers_and_alternatives(page: Page, text: str, wanted: object) -> None:
    page.get_by_label("Find").fill(text)
    expected = {name for name, _, params, macs, _ in MODELS if wanted(name, params, macs)}  # type: ignore[operator]
    assert 0 < len(expected) < len(MODELS) and set(names(page)) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [("parms<3M", "Find: “parms” is no metric or argument"), ("params<3X", "Find: “3X” is no number such as 300k")],
)
def test_what_cannot_be_understood_is_said(page: Page, text: str, said: str) -> None:
    page.get_by_label("Find").fill(text)
    expect(page.locator("#shown")).to_contain_text(said)


@pytest.mark.parametrize(
    ("text", "quantity", "value"),
    [
        ("300k", "count", 300_000), ("1.5 M", "count", 1.5e6), ("1e6", "count", 1e6), ("1,200", "rate", 1200),
        ("1.2k images/s", "rate", 1200), ("2 GiB", "bytes", 2**31), ("2gb", "bytes", 2e9), ("92.5 %", "percent", 92.5),
        ("5 min", "seconds", 300), ("1,5M", "count", None), ("92,5", "percent", None), ("-5", "count", None),
        ("5 min", "count", None), ("1.5", "bytes", None), ("3X", "count", None), ("", "count", None),
    ],
)  # fmt: skip
def test_an_amount_has_its_metrics_units_and_a_comma_only_between_thousands(
    page: Page, text: str, quantity: str, value: float | None
) -> None:
    found = page.evaluate("([text, quantity]) => amount(text, quantity)", [text, quantity])
    assert math.isnan(found) if value is None else found == value


def test_a_figure_as_it_is_shown_keeps_its_limit_and_exact_ones_are_exact(page: Page) -> None:
    keeps = "([value, bound, limit]) => keeps(value, bound, limit)"
    assert page.evaluate(keeps, [65_219_072, "max", 65.2e6]) and page.evaluate(keeps, [65_160_000, "min", 65.2e6])
    assert not page.evaluate(keeps, [300_400, "max", 300e3]) and not page.evaluate(keeps, [65_260_000, "max", 65.2e6])


def test_speeds_of_two_devices_are_not_set_against_each_other(context: BrowserContext, tmp_path: Path) -> None:
    trials = [trial(name) for name in ("convmixer_256_8", "splitmixer_i_256_8")]
    records = [done(trials[0], 91.0, device="H100"), done(trials[1], 90.0, device="EPYC")]
    path = tmp_path / "report.html"
    path.write_text(html(tables(write_run(tmp_path / "run", trials, records)), drawings=[]), encoding="utf-8")
    page = context.new_page()
    page.goto(path.as_uri())
    page.get_by_label("Relative to").select_option(index=1)
    heads = page.locator("#board thead th").evaluate_all("heads => heads.map(head => head.dataset.column)")
    cells = page.locator("#board tr[data-row]").nth(1).locator("th, td").all_inner_texts()
    shown = dict(zip(heads, cells, strict=True))
    assert shown["throughput"] == shown["time"] == shown["memory"] == "–" and shown["params"].startswith("× ")


def test_a_limit_that_is_no_number_is_said_and_limits_nothing(page: Page) -> None:
    limit(page, "macs", "few")
    expect(page.locator("#shown")).to_contain_text("Budget: “few” is no number such as 300k")
    assert page.locator("input[data-metric=macs]").get_attribute("aria-invalid") == "true"
    assert len(names(page)) == len(MODELS)


def test_the_pages_verdict_on_every_pair_is_that_of_the_tables(context: BrowserContext, tmp_path: Path) -> None:
    of = tables(full_run(tmp_path / "run"))
    path = tmp_path / "report.html"
    path.write_text(html(of, drawings=[]), encoding="utf-8")
    page = context.new_page()
    page.goto(path.as_uri())
    ranked = [group for group in of.groups if group.row.quality is not None]
    pairs = list(permutations(ranked, 2))
    shown = page.evaluate(
        "pairs => pairs.map(([a, b]) => verdict(rowData.get(a), rowData.get(b)).text)",
        [[one.key, other.key] for one, other in pairs],
    )
    verdicts = [of.comparisons.of(one, other).verdict for one, other in pairs]
    assert shown == [numbers.against(each.value, each.half_width, each.outcome) for each in verdicts]
    assert len({each.outcome for each in verdicts}) > 1


def test_a_difference_is_written_as_python_writes_it(page: Page) -> None:
    cases = [
        (sign * value, width)
        for sign in (-1, 1)
        for value in (0.0, 0.004, 0.3151, 1.26, 17.349, 63.7)
        for width in (None, 0.0, 0.0004, 0.0351, 0.36, 0.949, 0.951, 1.31, 9.4, 9.6, 35.6, 127.4)
    ]
    written = page.evaluate(
        "cases => cases.map(([value, width]) => plusMinus(value, width))", json.loads(json.dumps(cases))
    )
    assert written == [numbers.signs(plus_minus(value, width, sign="+")) for value, width in cases]
    assert all(width is None or math.isfinite(width) for _, width in cases)


def test_rows_are_sorted_within_their_dataset(context: BrowserContext, tmp_path: Path) -> None:
    trials = [trial(name, dataset=dataset) for dataset in ("cifar10", "cifar100") for name, *_ in MODELS[:3]]
    records = [done(each, 90.0 + at, params=1000 * (7 - at)) for at, each in enumerate(trials)]
    path = tmp_path / "report.html"
    path.write_text(html(tables(write_run(tmp_path / "run", trials, records)), drawings=[]), encoding="utf-8")
    page = context.new_page()
    page.goto(path.as_uri())
    page.click("#board th[data-column=params] button")
    by_dataset = page.locator("#board tbody").evaluate_all(
        "bodies => bodies.map(body => [body.dataset.images, body.querySelectorAll('tr[data-row]').length])"
    )
    assert by_dataset == [["cifar10", 3], ["cifar100", 3]]
    values = page.evaluate("view.shown.map(key => rowData.get(key).values.params)")
    assert values == [5000, 6000, 7000, 2000, 3000, 4000]
    assert page.locator("#answer p").count() == 2


def test_rows_are_selected_by_box_and_by_key_and_the_address_keeps_it(page: Page, context: BrowserContext) -> None:
    page.locator(".select").nth(1).check()
    page.locator(f"{ROWS} .name").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press(" ")
    assert page.evaluate("view.selected.length") == 2
    other = context.new_page()
    other.goto(page.url)
    assert other.evaluate("view.selected") == page.evaluate("view.selected")
    assert other.locator("tr.selected").count() == 2


def test_a_link_to_a_row_that_is_filtered_out_says_so(context: BrowserContext, report: Path) -> None:
    page = context.new_page()
    page.goto(f"{report.as_uri()}#row-splitmixer_i_256_8-cifar10-s0-fp32-b256-25?text=resmlp")
    expect(page.locator("#shown")).to_have_text("splitmixer_i_256_8 does not fit what is chosen here.")


def test_the_board_is_one_tab_stop(page: Page) -> None:
    reachable = page.locator("#board tbody").evaluate(
        'body => body.querySelectorAll(\'a:not([tabindex="-1"]), [tabindex="0"]\').length'
    )
    assert reachable == 1


def test_the_theme_goes_round_and_is_kept(page: Page) -> None:
    button = page.locator("#theme")
    colours = []
    for _ in range(3):
        button.click()
        colours.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert colours[0] == colours[2] != colours[1] and "as the system" in button.inner_text()
    button.click()
    button.click()
    page.reload()
    assert (
        "dark" in button.inner_text() and page.evaluate("getComputedStyle(document.body).backgroundColor") == colours[1]
    )
