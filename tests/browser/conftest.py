"""Debian's Chromium on pages from disk, driven by Playwright: it needs no other browser, and no network."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from mixbench.report.write import write
from tests.fake_runs import full_run

BINARY = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    if BINARY is None:
        pytest.skip("Chromium is not installed (Debian: apt install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BINARY, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of nine models with two seeds each."""
    run = full_run(tmp_path_factory.mktemp("runs") / "cifar")
    write(run)
    return run.folder / "report.html"


@pytest.fixture
def context(chromium: Browser) -> Iterator[BrowserContext]:
    with chromium.new_context(viewport={"width": 1400, "height": 900}) as opened:
        opened.set_default_timeout(20_000)
        yield opened


@pytest.fixture
def page(context: BrowserContext, report: Path) -> Iterator[Page]:
    """The page, opened.  Whatever a test does with it, nothing is logged and nothing is asked of the network."""
    opened = context.new_page()
    said: list[str] = []
    asked: list[str] = []
    opened.on("console", lambda message: said.append(message.text))
    opened.on("pageerror", lambda error: said.append(str(error)))
    opened.on("request", lambda request: asked.append(request.url))
    opened.goto(report.as_uri())
    yield opened
    assert said == []
    assert {url.partition("#")[0] for url in asked} == {report.as_uri()}
