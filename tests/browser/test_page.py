"""The page as a whole: marks and rows tied together, light and dark, wide, narrow, printed, by keyboard and by ear."""

from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, expect

from mixbench.report.formats.html import html
from mixbench.report.write import write
from mixbench.results.tables import tables
from tests.fake_runs import done, failed, trial, write_run
from tests.test_report import EVIL, partial_run

EXAMPLE = Path(__file__).resolve().parents[2] / "reports/examples/fashion_mnist/report.html"
KEY = "splitmixer_i_256_8-cifar10-s0-fp32-b256-25"
MARKS = f'figure a[data-row="{KEY}"]'


def row(page: Page, key: str = KEY) -> str:
    return page.locator(f'#board tr[data-row="{key}"]').get_attribute("class") or ""


def test_a_mark_that_is_pointed_at_says_its_name_and_lights_its_row(page: Page) -> None:
    page.locator("#papers > summary").click()
    page.locator(MARKS).first.hover()
    assert page.locator("#tip").inner_text() == "splitmixer_i_256_8: 93.8 ± 0.8 % (2 seeds), 275,834 parameters"
    assert row(page) == "lit"
    assert page.locator("figure a.lit").count() == 8  # one in each figure
    page.locator("h1").hover()
    assert row(page) == "" and not page.locator("#tip").is_visible()


def test_a_row_that_is_pointed_at_lights_its_marks(page: Page) -> None:
    page.locator("#papers > summary").click()
    page.locator(f'#board tr[data-row="{KEY}"] td').first.hover()
    assert page.locator("figure a.lit").count() == page.locator(MARKS).count() == 8
    faint = page.locator("figure a:not(.lit)").first
    faint.evaluate("mark => Promise.all(mark.getAnimations().map(each => each.finished))")
    assert float(faint.evaluate("mark => getComputedStyle(mark).opacity")) < 0.5


def test_a_mark_of_a_row_that_is_filtered_out_leads_to_its_model(page: Page) -> None:
    page.locator("#papers > summary").click()
    page.get_by_label("Find").fill("convmixer")
    page.locator(MARKS).first.click()
    expect(page.locator("#model-2")).to_have_attribute("open", "")
    assert page.locator("#board tbody tr:visible").count() == 1
    assert page.locator("#shown").inner_text() == "1 of 9 rows" and page.url.endswith("#model-2?text=convmixer")


def test_a_finger_reads_a_mark_before_it_is_led_to_its_row(chromium: Browser, report: Path) -> None:
    with chromium.new_context(viewport={"width": 400, "height": 900}, has_touch=True) as context:
        page = context.new_page()
        page.goto(f"{report.as_uri()}#top?columns=top1,macs")
        page.locator("#papers > summary").click()
        mark = page.locator(MARKS).first
        mark.scroll_into_view_if_needed()
        before = page.evaluate("scrollY")
        mark.tap()
        assert page.locator("#tip").is_visible() and "275,834" in page.locator("#tip").inner_text()
        assert page.evaluate("scrollY") == before
        mark.tap()
        assert page.evaluate("document.activeElement.closest('tr').dataset.row") == KEY
        page.locator(f'#board tr[data-row="{KEY}"] td[tabindex]').tap()
        assert "by the convention “splitmixer”" in page.locator("#tip").inner_text()


def test_a_keyboard_reads_how_the_papers_macs_are_counted(page: Page) -> None:
    page.locator(f'#board tr[data-row="{KEY}"] td[tabindex]').focus()
    assert "published 71.8 M by the convention “splitmixer”" in page.locator("#tip").inner_text()


def test_a_keyboard_reaches_marks_rows_and_controls(page: Page) -> None:
    page.locator("#papers").evaluate("part => { part.open = true; }")
    seen = []
    for _ in range(400):
        page.keyboard.press("Tab")
        where = page.evaluate(
            """() => { const at = document.activeElement; const style = getComputedStyle(at);
            return [at.closest("[id]")?.id ?? "", at.dataset?.row ?? "", style.outlineStyle]; }"""
        )
        seen.append(where)
        if where[1] and where[0].startswith("1-cifar10"):
            break
    assert not [where for where in seen if where[2] == "none"], "what has the focus can be seen"
    assert {"controls", "board"} <= {where[0] for where in seen}
    assert page.locator("#tip").is_visible()
    key = seen[-1][1]
    assert row(page, key) == "lit"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.closest('tr').dataset.row") == key


def test_sorting_by_keyboard(page: Page) -> None:
    page.locator("#board th[data-column=params] button").focus()
    page.keyboard.press("Enter")
    assert page.locator("#board th[data-column=params]").get_attribute("aria-sort") == "ascending"


def test_a_row_leads_to_its_model_which_unfolds(page: Page) -> None:
    assert not page.locator("#model-2 .layers").is_visible()
    page.get_by_role("link", name="splitmixer_i_256_8", exact=True).and_(page.locator("#board a")).click()
    assert page.locator("#model-2 .layers").is_visible()
    assert page.locator("#model-2 .histogram").count() == 2


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
def test_the_page_fits(page: Page, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
    page.wait_for_function("width => document.scrollingElement.scrollWidth === width", arg=width)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(253, 253, 251)") == (scheme == "light")


def test_why_a_trial_failed_is_unfolded_by_its_link(context: BrowserContext, tmp_path: Path) -> None:
    trials = [trial(seed=seed) for seed in (0, 1)]
    run = write_run(tmp_path, trials, [failed(each, "boom") for each in trials])
    write(run, formats=["html"])
    page = context.new_page()
    page.goto((run.folder / "report.html").as_uri())
    assert not page.locator("#failure-2 pre").is_visible()
    page.locator("#models summary").first.click()
    page.get_by_role("link", name="Why it failed").nth(1).click()
    expect(page.locator("#failure-2 pre")).to_be_visible()


def test_names_of_any_kind_keep_to_their_place(context: BrowserContext, tmp_path: Path) -> None:
    labels = [
        EVIL,
        "x" * 300,
        "نموذج الخلط متعدد",
        "模型 混合",
        "javascript:alert(1)",
        "</style><img src=x onerror=alert(1)>",
    ]
    trials = [trial(f"model_{index}", label=label, family=label) for index, label in enumerate(labels)]
    write(write_run(tmp_path, trials, [done(each, 90 + index) for index, each in enumerate(trials)]))
    page = context.new_page()
    dialogs: list[str] = []

    def note(dialog: Dialog) -> None:
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", note)
    page.set_viewport_size({"width": 400, "height": 900})
    page.goto((tmp_path / "report.html").as_uri())
    assert page.evaluate("document.scrollingElement.scrollWidth") == 400
    for name in (EVIL, labels[2]):
        page.get_by_label("Family").select_option(name)
        assert page.locator("#board tbody tr:visible .name").all_inner_texts() == [name]
    page.locator("#papers > summary").click()
    page.locator("figure a").first.focus()
    assert page.locator("#tip").inner_text().split(":")[0] in labels
    assert dialogs == []


def test_paper_has_every_column_on_it_and_nothing_to_click(page: Page) -> None:
    page.emulate_media(media="print")
    assert not page.locator("#controls").is_visible() and not page.locator("nav").is_visible()
    page.set_viewport_size({"width": 1030, "height": 720})  # A4 landscape within its margins
    assert page.evaluate("document.scrollingElement.scrollWidth") <= 1030
    assert page.locator(".board").evaluate("table => table.getBoundingClientRect().right") <= 1030
    page.evaluate(
        """() => addEventListener("beforeprint", () => {
        window.printed = document.querySelectorAll("details:not(.menu)[open]").length; })"""
    )
    sheets = page.pdf(prefer_css_page_size=True).count(b"/Type /Page\n")
    assert page.evaluate("printed") == 1 + 1 + 9, "what is folded on the screen, pairs, figures and models, is on paper"
    assert sheets > 9
    assert not page.locator("figcaption .screen").first.is_visible(), "nobody points at paper"
    assert page.locator("details.model[open]").count() == 0, "and is folded again"


@pytest.mark.parametrize(
    ("kind", "width", "scheme"),
    [("full", 1400, "light"), ("full", 400, "dark"), ("partial", 1400, "dark"), ("partial", 400, "light")],
)
def test_axe_finds_no_fault(
    chromium: Browser, report: Path, tmp_path: Path, kind: str, width: int, scheme: str
) -> None:
    if kind == "partial":
        run = partial_run(tmp_path)
        write(run)
        report = run.folder / "report.html"
    with chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, bypass_csp=True  # type: ignore[arg-type]
    ) as context:  # fmt: skip
        page = context.new_page()
        page.goto(report.as_uri())
        page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
        response = Axe().run(page).response
    found = response["violations"]
    assert len(response["passes"]) > 25
    assert [(each["id"], each["impact"], each["nodes"][0]["html"][:200]) for each in found] == []


def test_text_in_figures_is_legible_and_whole(context: BrowserContext, tmp_path: Path) -> None:
    names = [f"model {number} {'x' * 30}" for number in range(33)]
    trials = [trial(f"model_{n}", label=name, family=f"Family {n:02d}") for n, name in enumerate(names)]
    trials += [trial(f"model_{n}", dataset=name) for name in ("cifar100", "svhn") for n in range(4)]
    trials += [each.model_copy(update={"processes_per_node": 2, "id": f"{each.id}-two"}) for each in trials[:2]]
    records = [done(each, 60.0 + number, params=1000 + number) for number, each in enumerate(trials)]
    for record in records[6:33]:
        record.details.curve = None  # a panel for each row takes long
    path = tmp_path / "report.html"
    path.write_text(html(tables(write_run(tmp_path / "run", trials, records))), encoding="utf-8")
    page = context.new_page()
    for width in (1400, 900):
        page.set_viewport_size({"width": width, "height": 900})
        page.goto(path.as_uri())
        page.locator("details").evaluate_all("all => all.forEach(each => each.open = true)")
        found = page.locator("#papers figure svg").evaluate_all(
            """all => all.map((svg) => {
              const frame = svg.getBoundingClientRect();
              const texts = [...svg.querySelectorAll("text")];
              const scale = frame.width / svg.viewBox.baseVal.width;
              const outside = texts.filter((text) => {
                const box = text.getBoundingClientRect();
                return box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1;
              });
              const sizes = texts.map((text) => scale * parseFloat(getComputedStyle(text).fontSize));
              return [svg.textContent.slice(0, 60), Math.min(...sizes), outside.map((text) => text.textContent)];
            })"""
        )
        assert len(found) == 3 * 6 + 1
        assert [each for each in found if each[1] < 9 or each[2]] == []


def test_a_caption_leads_to_the_files_of_its_figure(page: Page, report: Path) -> None:
    links = page.locator("figcaption a").evaluate_all("all => all.map((link) => link.getAttribute('href'))")
    assert sorted(report.parent / link for link in links) == sorted((report.parent / "figures").iterdir())
    assert len(links) == 2 * page.locator("#papers figure").count() > 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_fault_in_the_example(context: BrowserContext, scheme: str) -> None:
    """The page of a real run that the repository shows, with two of its rows compared."""
    page = context.new_page()
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    page.goto(EXAMPLE.as_uri())
    page.evaluate("set('selected', data.rows.slice(0, 2).map(row => row.key))")
    page.locator("details").evaluate_all("all => all.slice(0, 12).forEach(each => each.open = true)")
    found = Axe().run(page).response["violations"]
    assert [(each["id"], [node["html"] for node in each["nodes"]][:3]) for each in found] == []
