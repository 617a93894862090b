"""The static page in a real browser: nothing logged, nothing fetched, readable wide, narrow, light and dark."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mixbench.report import write
from tests.browser.chromium import BINARY, Browser, browser
from tests.fake_runs import full_run

pytestmark = pytest.mark.skipif(BINARY is None, reason="Chromium is not installed (Debian: apt install chromium)")


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = full_run(tmp_path_factory.mktemp("runs") / "cifar")
    write(run)
    return run.folder / "report.html"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1400, 400])
def test_the_page_opens_cleanly(tab: Browser, report: Path, width: int, scheme: str) -> None:
    tab.resize(width)
    tab.prefer(scheme)
    tab.open(report)
    assert [event["request"]["url"] for event in tab.of("Network.requestWillBeSent")] == [report.as_uri()]
    assert tab.of("Log.entryAdded") == tab.of("Runtime.consoleAPICalled") == tab.of("Runtime.exceptionThrown") == []
    assert tab.value("document.scrollingElement.scrollWidth") == width
    assert tab.value("document.querySelectorAll('figure svg').length") == 4


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_contrasts_with_its_ground(tab: Browser, report: Path, scheme: str) -> None:
    tab.prefer(scheme)
    tab.open(report)
    colours = tab.value(
        """[...document.querySelectorAll('p, td, th, dd, dt, a, small, .unit, .status, figcaption, svg text')].map(
            element => getComputedStyle(element)[element.closest('svg') ? 'fill' : 'color'])"""
    )
    ground = tab.value("getComputedStyle(document.body).backgroundColor")
    assert len(colours) > 300
    assert min(contrast(colour, ground) for colour in set(colours)) >= 4.5


def contrast(one: str, other: str) -> float:
    """WCAG's contrast ratio of two CSS colours written rgb(…)."""

    def luminance(colour: str) -> float:
        channels = [int(value) / 255 for value in colour.removeprefix("rgb(").removesuffix(")").split(",")]
        linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)
