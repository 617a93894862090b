"""The figure: marks stand where their numbers say, it follows the board, and mouse, finger and keyboard can use it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from numpy.typing import NDArray
from playwright.sync_api import Browser, BrowserContext, Page, expect

from mixbench.report.formats.html import html
from mixbench.report.tradeoffs import front
from mixbench.results.metrics import MACS
from mixbench.results.tables import Tables, tables
from mixbench.run.flags import Flag, Kind
from mixbench.run.record import Record
from tests.benchmarks.report import large_run
from tests.fake_runs import RECIPE, done, full_run, trial, write_run

FRAME = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
PLACES = """() => Object.fromEntries([...document.querySelectorAll("#plot a.mark:not(.out)")].map((mark) => [
    mark.dataset.key, mark.getAttribute("transform").match(/[-\\d.]+/g).map(Number)]))"""
VALUES = """(column) => Object.fromEntries(data.rows.map((row) => [row.key, row.values[column]]))"""
CONTRAST = """() => {
    const pixel = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
    const light = (colour) => {
        pixel.fillStyle = colour;
        pixel.fillRect(0, 0, 1, 1);
        const linear = (part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = [...pixel.getImageData(0, 0, 1, 1).data].map((part) => linear(part / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const ratio = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const ground = light(getComputedStyle(document.body).backgroundColor);
    const colours = [...data.looks.slice(0, 10).map(({ colour }) => ink(colour)), ...[0, 0.25, 0.5, 0.75, 1].map(shade),
        "var(--muted)", "var(--edge)"];
    const probe = document.body.appendChild(document.createElement("i"));
    return colours.map((colour) => {
        probe.style.color = colour;
        return ratio(light(getComputedStyle(probe).color), ground);
    });
}"""


@pytest.fixture(scope="module")
def nine(tmp_path_factory: pytest.TempPathFactory) -> Tables:
    return tables(full_run(tmp_path_factory.mktemp("runs") / "cifar"))


@pytest.fixture(scope="module")
def report(nine: Tables, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of nine models with two seeds each."""
    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(html(nine, []), encoding="utf-8")
    return path


@pytest.fixture
def plot(page: Page) -> Page:
    page.locator("#plot svg.plot").first.scroll_into_view_if_needed()
    page.evaluate(FRAME)
    return page


def choose(page: Page, **fields: str | bool) -> None:
    for name, value in fields.items():
        field = page.locator(f"#plot [name={name}]")
        if isinstance(value, bool):
            field.set_checked(value)
        else:
            field.select_option(value)
    page.evaluate(FRAME)


def places(page: Page) -> dict[str, tuple[float, float]]:
    """Pixels of the marks that are drawn, by the key of their row."""
    return {key: (x, y) for key, (x, y) in page.evaluate(PLACES).items()}


def misplaced(page: Page, side: int, values: NDArray[np.float64]) -> float:
    """The largest distance in pixels of a mark from a straight line in `values`, in the order of the marks."""
    pixels = np.array([each[side] for each in places(page).values()])
    assert np.ptp(pixels) > 200, "they use the drawing's width"
    return float(np.abs(np.polyval(np.polyfit(values, pixels, 1), values) - pixels).max())


def numbers_of(page: Page, column: str) -> NDArray[np.float64]:
    values = page.evaluate(VALUES, column)
    return np.array([values[key] for key in places(page)], dtype=float)


def test_marks_stand_where_their_numbers_say(plot: Page) -> None:
    choose(plot, x="params", y="top1")
    assert len(places(plot)) == 9
    top1 = numbers_of(plot, "top1")
    assert plot.locator("#plot [name=logx]").is_checked(), "parameters of two orders of magnitude"
    assert misplaced(plot, 0, np.log10(numbers_of(plot, "params"))) < 0.05
    assert misplaced(plot, 1, top1) < 0.05
    pixels = [y for _, y in places(plot).values()]
    assert int(np.argmin(pixels)) == int(np.argmax(top1)), "the best is the highest"
    choose(plot, logx=False)
    assert misplaced(plot, 0, numbers_of(plot, "params")) < 0.05
    choose(plot, x="top1", y="throughput", logy=True)
    assert misplaced(plot, 0, numbers_of(plot, "top1")) < 0.05
    assert misplaced(plot, 1, np.log10(numbers_of(plot, "throughput"))) < 0.05
    choose(plot, y="infer_step_ms_p95")
    assert len(places(plot)) == 9, "also by columns that only results.csv has"


def test_ticks_say_what_stands_there(plot: Page) -> None:
    choose(plot, x="params", y="top1", logx=False)
    ticks = plot.locator("#plot .plotted .grid g.tick").evaluate_all(
        "all => all.map((tick) => [tick.textContent, ...tick.getAttribute('transform').match(/[-\\d.]+/g).map(Number)])"
    )
    vertical = [(float(text), y) for text, x, y in ticks if x == 0]
    millions = [(float(text.rstrip("M")) * 1e6, x) for text, x, y in ticks if y == 0]
    for side, known, name in ((0, millions, "params"), (1, vertical, "top1")):
        assert len(known) >= 3
        written, pixels = np.transpose(known)
        slope, start = np.polyfit(written, pixels, 1)
        at = {key: place[side] for key, place in places(plot).items()}
        for key, value in plot.evaluate(VALUES, name).items():
            assert at[key] == pytest.approx(slope * value + start, abs=1)


def test_zoom_by_buttons_wheel_and_drag_and_back(plot: Page) -> None:
    before = places(plot)
    drawing = plot.locator("#plot svg.plot").first
    box = drawing.bounding_box()
    assert box
    plot.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    plot.get_by_role("button", name="Zoom in").click()
    zoomed = places(plot)
    kept = sorted(set(before) & set(zoomed))
    assert 1 < len(kept) < 9
    a, b = kept[0], kept[-1]
    assert zoomed[a][0] - zoomed[b][0] == pytest.approx(1.6 * (before[a][0] - before[b][0]), abs=0.1)
    expect(plot.locator("#plot output").first).to_contain_text(f"{9 - len(zoomed)} outside this part of the figure")
    plot.mouse.move(box["x"] + 200, box["y"] + 40)
    plot.mouse.down()
    plot.mouse.move(box["x"] + 230, box["y"] + 60, steps=3)
    plot.mouse.up()
    panned = places(plot)
    assert {round(panned[key][0] - zoomed[key][0]) for key in set(panned) & set(zoomed)} == {30}
    plot.get_by_role("button", name="Reset", exact=True).click()
    assert places(plot) == before
    drawing.dispatch_event("wheel", {"deltaY": -200, "clientX": box["x"] + 200, "clientY": box["y"] + 100})
    assert places(plot) == before, "the wheel scrolls the page"
    drawing.dispatch_event(
        "wheel", {"deltaY": -200, "ctrlKey": True, "clientX": box["x"] + 200, "clientY": box["y"] + 100}
    )
    assert places(plot) != before


@pytest.mark.parametrize("way", ["shift", "button"])
def test_a_rectangle_selects_exactly_the_rows_inside(plot: Page, way: str) -> None:
    box = plot.locator("#plot svg.plot").first.bounding_box()
    assert box
    at = places(plot)
    low, high = np.percentile([x for x, _ in at.values()], [20, 70])
    inside = {key for key, (x, y) in at.items() if low <= x <= high and y >= 20}
    assert 2 <= len(inside) < 9
    if way == "button":
        plot.get_by_role("button", name="Select by rectangle").click()
    else:
        plot.keyboard.down("Shift")
    plot.mouse.move(box["x"] + low, box["y"] + 20)
    plot.mouse.down()
    plot.mouse.move(box["x"] + high, box["y"] + box["height"] - 2, steps=4)
    expect(plot.locator("#plot .rectangle")).to_be_visible()
    plot.mouse.up()
    plot.keyboard.up("Shift")
    plot.evaluate(FRAME)
    assert set(plot.evaluate("view.selected")) == inside
    assert plot.locator("#board .select:checked").count() == len(inside)
    assert plot.locator("#plot a.mark.selected").count() == len(inside)
    assert set(plot.locator("#plot .seeds circle").evaluate_all("all => all.map((dot) => dot.dataset.key)")) == inside
    assert places(plot) == at, "it does not move the figure"


def test_the_card_says_all_of_the_row_and_leads_to_it(context: BrowserContext, tmp_path: Path) -> None:
    busy = done(trial("mixer_s_4", arguments={"image_size": 32, "ratio": "2/3"}), 91.0)
    other = done(trial("resmlp_s12_4"), 90.0)
    flagged = busy.model_copy(update={"flags": [Flag(Kind.BUSY_NEIGHBOURS, "2 other processes on the GPU")]})
    page = opened(context, tmp_path, flagged, other)
    choose(page, x="throughput", y="top1")
    mark = page.locator("#plot a.mark").filter(has=page.locator("path")).and_(page.get_by_label("mixer_s_4:"))
    mark.hover()
    card = page.locator("#plot .card")
    facts = dict(zip(card.locator("dt").all_inner_texts(), card.locator("dd").all_inner_texts(), strict=True))
    unsure = page.evaluate("data.rows.find(({ unsure }) => unsure)?.label")
    assert unsure == "mixer_s_4"
    assert facts["ratio"] == "2/3" and facts["Precision"] == "fp32" and facts["Family"] == "MlpMixer"
    assert facts["recipe: optimizer.lr"] == str(RECIPE.optimizer.lr), "that all rows share"
    assert facts["Flags"] and facts["Inference throughput (images/s)"].startswith("≈ 402")
    assert "hollow" in (mark.get_attribute("class") or "")
    assert "hollow" not in (page.get_by_label("resmlp_s12_4:").get_attribute("class") or "")
    expect(page.locator("#plot output").first).to_contain_text("Hollow: a flag casts doubt on the speed.")
    mark.click()
    page.get_by_label("resmlp_s12_4:").hover()
    expect(card.locator("a.ref")).to_have_text("mixer_s_4")  # a click keeps it
    card.locator("a.ref").click()
    assert page.evaluate("document.activeElement.closest('tr').dataset.row") == mark.get_attribute("data-key")


def test_it_shows_what_the_board_shows_and_says_what_it_does_not(context: BrowserContext, tmp_path: Path) -> None:
    untimed = done(trial("resmlp_s12_4"), 90.0, infer_samples_per_sec=None)
    page = opened(context, tmp_path, untimed, *(done(trial(name), 91.0) for name in ("mixer_s_4", "convmixer_256_8")))
    choose(page, x="throughput", y="top1")
    said = page.locator("#plot output").first
    expect(said).to_contain_text("2 of 3 rows: 1 without inference throughput (images/s).")
    page.get_by_label("Find").fill("mixer_s_4")
    expect(page.locator("#plot a.mark")).to_have_count(1)
    expect(said).to_contain_text("1 of 3 rows: 2 hidden by the board's filter.")


def test_a_sweep_of_one_argument_is_a_line_in_order_of_its_values(context: BrowserContext, tmp_path: Path) -> None:
    def swept(ratio: str, top1: float, params: int, **others: Any) -> Record:
        made = {"image_size": 32, "ratio": ratio, "dim": 64} | others
        return done(trial(f"m_{ratio}_{made['dim']}".replace("/", "_"), arguments=made), top1, params=params)

    three = [swept("5/6", 92.0, 300_000), swept("1/2", 91.0, 100_000), swept("2/3", 91.2, 200_000)]
    page = opened(context, tmp_path, *three, swept("1/3", 88.0, 50_000, dim=32))
    choose(page, x="params", y="top1", colour="arguments.ratio")
    assert page.locator("#plot > .plotted .legend li").all_inner_texts() == ["ratio", "1/3", "1/2", "2/3", "5/6"]
    assert page.locator("#plot .sweep").count() == 1, "the one of another width is not joined"
    steps = page.locator("#plot .sweep").get_attribute("d") or ""
    line = [tuple(map(float, step.split())) for step in steps.removeprefix("M").split("L")]
    at = places(page)
    ordered = [next(key for key in at if name in key) for name in ("1_2", "2_3", "5_6")]
    assert line == [pytest.approx(at[key], abs=0.06) for key in ordered]
    colours = page.locator("#plot a.mark").evaluate_all(
        "all => all.map((mark) => mark.style.getPropertyValue('--mark'))"
    )
    assert len(set(colours)) == 4
    choose(page, x="arguments.ratio")
    ticks = page.locator("#plot .grid g").first.locator(".tick").all_text_contents()
    assert ticks == ["1/3", "1/2", "2/3", "5/6"]


def test_the_front_is_that_of_the_tables(plot: Page, nine: Tables) -> None:
    choose(plot, x="macs", y="top1")
    steps = plot.locator("#plot .front").get_attribute("d") or ""
    corners = [tuple(map(float, step.split())) for step in steps.removeprefix("M").split("L")]
    at = places(plot)
    expected = [at[group.key] for group in front(nine.groups, MACS)]
    assert len(expected) > 1
    assert corners[::2] == [pytest.approx(place, abs=0.06) for place in expected]
    assert plot.locator("#plot .interval").count() == len(expected), "intervals of the front alone"
    choose(plot, x="top1")
    assert plot.locator("#plot .front").count() == 0


def test_every_data_set_has_a_front_of_its_own(context: BrowserContext, tmp_path: Path) -> None:
    models = ("mixer_s_4", "convmixer_256_8", "splitmixer_i_256_8")
    records = [
        done(trial(model, dataset=name), top1 - 10 * (name == "other"))
        for name in ("cifar10", "other")
        for model, top1 in zip(models, (93, 92, 91), strict=True)
    ]
    page = opened(context, tmp_path, *records)
    choose(page, x="params", y="top1")
    assert page.locator("#plot .front").count() == 2
    assert page.locator("#plot [name=colour]").input_value() == "images"
    expect(page.locator("#plot output").first).to_contain_text("front of each of cifar10; other")
    page.locator("#controls [name=dataset]").select_option("other")
    expect(page.locator("#plot .front")).to_have_count(1)


def test_a_link_shows_the_same_figure(plot: Page, context: BrowserContext) -> None:
    choose(plot, x="macs", y="params", seeds=True, logy=False)
    plot.locator("#plot-curve").select_option("test loss")
    plot.locator("#plot-over").select_option("step")
    for said in ("x=macs", "y=params", "logy=0", "seeds=1", "curve=test+loss", "over=step"):
        assert said in plot.url
    assert "logx" not in plot.url, "only what differs from the usual"
    again = context.new_page()
    again.goto(plot.url)
    again.evaluate(FRAME)
    assert places(again) == places(plot) and again.locator("#plot [name=seeds]").is_checked()
    assert again.locator("#curves svg.plot").get_attribute("aria-label") == plot.locator(
        "#curves svg.plot"
    ).get_attribute("aria-label")
    again.goto(plot.url.replace("x=macs", "x=nothing"))
    again.reload()
    again.evaluate(FRAME)
    assert again.locator("#plot-x").input_value() == "throughput", "a column that there is not is the usual one"


def test_a_keyboard_goes_from_mark_to_mark(plot: Page) -> None:
    plot.locator("#plot [name=select]").focus()
    plot.keyboard.press("Tab")
    first = plot.evaluate("document.activeElement.dataset.key")
    at = places(plot)
    assert at[first] == min(at.values()), "from left to right"
    plot.keyboard.press("ArrowRight")
    second = plot.evaluate("document.activeElement.dataset.key")
    assert at[second] == sorted(at.values())[1]
    expect(plot.locator("#plot .card .ref")).to_have_text(plot.evaluate("key => rowData.get(key).name", second))
    plot.keyboard.press("Space")
    plot.evaluate(FRAME)
    assert plot.evaluate("view.selected") == [second]
    assert plot.evaluate("document.activeElement.dataset.key") == second, "it stays where it is"
    plot.keyboard.press("Tab")
    assert plot.evaluate("document.activeElement.closest('a.mark')") is None, "one tab stop"
    plot.keyboard.press("Shift+Tab")
    plot.keyboard.press("Enter")
    assert plot.evaluate("document.activeElement.closest('tr').dataset.row") == second


def test_a_finger_scrolls_the_page_and_a_tap_reads_a_mark(chromium: Browser, report: Path) -> None:
    with chromium.new_context(viewport={"width": 390, "height": 844}, has_touch=True) as context:
        page = context.new_page()
        page.goto(report.as_uri())
        drawing = page.locator("#plot svg.plot").first
        drawing.scroll_into_view_if_needed()
        page.evaluate(FRAME)
        assert drawing.evaluate("drawing => getComputedStyle(drawing).touchAction") == "pan-x pan-y"
        box = drawing.bounding_box()
        assert box and box["width"] == 390 - 32, "as wide as the page"
        before = places(page)
        page.locator("#plot a.mark").first.tap()
        assert places(page) == before and page.locator("#plot .card .ref").count() == 1


def test_curves_are_of_the_selection_else_of_the_best_five(plot: Page) -> None:
    said = plot.locator("#curves output")
    expect(said).to_contain_text("No row is selected: the best 5 shown of cifar10.")
    assert plot.locator("#curves .mean").count() == 5 and plot.locator("#curves .seed").count() == 10
    plot.evaluate("set('selected', [data.rows[6].key, data.rows[1].key])")
    plot.evaluate(FRAME)
    expect(said).to_contain_text("The selected rows.")
    assert plot.locator("#curves .legend li").all_inner_texts() == plot.evaluate(
        "[6, 1].map((at) => data.rows[at].name)"
    )
    drawn = plot.locator("#curves .mean").evaluate_all(
        "all => all.map((line) => line.style.getPropertyValue('--mark'))"
    )
    marks = [plot.locator(f'#plot a.mark[data-key="{key}"]') for key in plot.evaluate("view.selected")]
    assert drawn == [mark.evaluate("mark => mark.style.getPropertyValue('--mark')") for mark in marks], "same colours"
    ends = plot.evaluate("[6, 1].map((at) => data.rows[at].curves.map((curve) => curve.top1.at(-1)))")
    label = plot.locator("#curves svg.plot").get_attribute("aria-label") or ""
    assert label.startswith("Top-1 (%) by epoch: ")
    for each in ends:
        assert f"ends at {np.mean(each):.4g}" in label
    plot.locator("#curves svg.plot").scroll_into_view_if_needed()
    box = plot.locator("#curves svg.plot").bounding_box()
    assert box
    path = plot.locator("#curves .mean").first.get_attribute("d") or ""
    x, y = map(float, path.split("L")[-1].split())
    plot.mouse.move(box["x"] + x, box["y"] + y)
    expect(plot.locator("#curves .readout")).to_contain_text(f"epoch 25: Top-1 (%) {np.mean(ends[0]):.4g}")
    plot.locator("#plot-over").select_option("step")
    assert plot.evaluate("data.stepsPerEpoch[0]") == 50_000 // RECIPE.global_batch_size
    expect(plot.locator("#curves svg.plot")).to_have_attribute("aria-label", label.replace("epoch", "step"))


def test_speeds_of_two_devices_are_two_fronts_and_parameters_one(context: BrowserContext, tmp_path: Path) -> None:
    models = ("mixer_s_4", "convmixer_256_8", "splitmixer_i_256_8")
    records = [
        done(trial(model, id=f"{model}-{device}", precision=precision), 90.0 + at, device=device)
        for device, precision in (("GPU", "bf16"), ("CPU", "fp32"))
        for at, model in enumerate(reversed(models))
    ]
    page = opened(context, tmp_path, *records)
    choose(page, x="throughput", y="top1")
    assert page.locator("#plot .front").count() == 2
    choose(page, x="params")
    assert page.locator("#plot .front").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_accessible_and_fits_any_screen(plot: Page, scheme: Literal["light", "dark"]) -> None:
    plot.emulate_media(color_scheme=scheme)
    plot.locator("#plot a.mark").first.hover()
    found = Axe().run(plot, context={"include": [["#plot"]]})
    assert found.violations_count == 0, found.generate_report()
    contrasts: Sequence[float] = plot.evaluate(CONTRAST)
    assert min(contrasts) >= 3, contrasts
    for width in (1400, 900, 390):
        plot.set_viewport_size({"width": width, "height": 900})
        assert plot.evaluate("document.documentElement.scrollWidth") == width


def test_families_differ_in_shape_as_well(plot: Page) -> None:
    shapes = plot.locator("#plot > .plotted .legend path").evaluate_all(
        "all => all.map((each) => each.getAttribute('d'))"
    )
    assert len(set(shapes)) == len(shapes) == 5


def test_hundreds_of_rows_are_no_hairball(context: BrowserContext, tmp_path: Path) -> None:
    page = context.new_page()
    path = tmp_path / "report.html"
    path.write_text(html(tables(large_run(tmp_path / "large", 70, 1)), []), encoding="utf-8")
    page.goto(path.as_uri())
    page.evaluate(FRAME)
    choose(page, x="params", y="top1")
    assert page.locator("#plot svg.many a.mark").count() == 70
    fronts = page.evaluate("document.querySelector('#plot .front').getAttribute('d').split('L').length")
    assert page.locator("#plot .names text").count() <= (fronts + 1) // 2


@pytest.mark.slow
def test_a_page_of_340_rows_is_there_in_a_second_and_a_half(chromium: Browser, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text(html(tables(large_run(tmp_path / "large", 340, 3))), encoding="utf-8")
    with chromium.new_context(viewport={"width": 1400, "height": 900}) as context:
        spent = min(seconds_to_open(context, path) for _ in range(5))  # the first fills the browser's own caches
    assert 0.1 < spent <= 1.5


def seconds_to_open(context: BrowserContext, path: Path) -> float:
    """Seconds that the page's main thread computes until all is drawn; what other processes take is not counted."""
    page = context.new_page()
    meter = context.new_cdp_session(page)
    meter.send("Performance.enable", {"timeDomain": "threadTicks"})
    page.goto(path.as_uri())
    page.wait_for_function("document.querySelectorAll('#plot a.mark').length === 340")
    page.evaluate(FRAME)
    spent: float = {each["name"]: each["value"] for each in meter.send("Performance.getMetrics")["metrics"]}[
        "TaskDuration"
    ]
    page.close()
    return spent


def test_a_page_of_twenty_rows_is_no_larger_than_said(tmp_path: Path) -> None:
    page = html(tables(large_run(tmp_path / "large", 20, 3)))
    assert len(page.encode()) <= 1.5e6


def opened(context: BrowserContext, folder: Path, *records: Record) -> Page:
    """The page of a run of these records, its figure drawn."""
    path, page = folder / "report.html", context.new_page()
    run = write_run(folder / "run", [record.details.trial for record in records], list(records))
    path.write_text(html(tables(run), []), encoding="utf-8")
    page.goto(path.as_uri())
    page.evaluate(FRAME)
    return page
