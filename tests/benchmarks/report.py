"""The page of a large run: how long tables and page take and how much memory, how long a sort takes in a browser.

Run with: python tests/benchmarks/report.py [ROWS [SEEDS]], 1000 rows of 3 seeds unless told.  Prints seconds and MiB
for reading, drawing and writing the page, its size, and the milliseconds from a click on a column's head until the
table is laid out anew, and until it is on the screen: the median and the slowest of five, as the page opens and after
"Show all rows".
"""

import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

sys.path.insert(0, str(Path(__file__).parents[2]))

from mixbench.report.figures.all import figures
from mixbench.report.formats.html import html
from mixbench.results.tables import tables
from mixbench.run.folder import Run
from mixbench.run.parts import Layer
from mixbench.run.timings import ThroughputSamples
from mixbench.system.checksum import with_checksums
from mixbench.system.files import to_json
from tests.browser.conftest import BINARY
from tests.fake_runs import done, trial

SORT = """async (column) => {
    const button = document.querySelector(`#board th[data-column="${column}"] button`);
    const started = performance.now();
    button.click();
    document.body.offsetHeight;
    const laidOut = performance.now();
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    return [laidOut - started, performance.now() - started];
}"""


def large_run(folder: Path, rows: int, seeds: int) -> Run:
    """Invented records with as many layers and timings as real ones."""
    run = Run(folder)
    trials = [
        trial(f"model_{row}", seed, family=f"Family {row % 12}", label=f"Model {row}")
        for row in range(rows)
        for seed in range(seeds)
    ]
    run.write_plan("name: large\n", trials)
    shape = [256, 16, 16]
    layers = [
        Layer(
            name=f"blocks.{n // 6}.{n % 6}",
            type="Conv2d",
            params=n % 6,
            macs=n % 6,
            input_shape=shape,
            output_shape=shape,
        )
        for n in range(48)
    ]
    for index, each in enumerate(trials):
        record = done(each, 90.0 + index * 7919 % 997 / 200, params=100_000 + index * 104_729 % 900_001)
        assert record.details.complexity is not None
        samples = [10 + index * k * 31 % 17 / 10 for k in range(30)]
        record.details.complexity = record.details.complexity.model_copy(update={"layers": layers})
        record.details.throughput = ThroughputSamples(
            infer_step_ms=samples, train_step_ms=samples, warmup=3, interleaved_with=8
        )
        path = run.record_file(each.id)
        path.write_text(with_checksums(to_json(record)))  # without fsync: ten thousand of them take a minute else
    return run


def sorting(page: Path) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BINARY, args=["--no-sandbox"])
        tab = browser.new_page(viewport={"width": 1400, "height": 900})
        started = time.perf_counter()
        tab.goto(page.as_uri())
        print(f"opened in {time.perf_counter() - started:.2f} s")
        for shown in ("as opened", "all shown"):
            for column in ("name", "top1", "params", "throughput", "time"):
                times = zip(*(tab.evaluate(SORT, column) for _ in range(5)), strict=True)
                laid_out, seen = (f"{statistics.median(each):.0f} ms (slowest {max(each):.0f})" for each in times)
                print(f"{shown}, sort by {column}: laid out after {laid_out}, on the screen after {seen}")
            if tab.locator(".more").is_visible():
                tab.locator(".more").click()
        browser.close()


def main(rows: int = 1000, seeds: int = 3) -> None:
    with tempfile.TemporaryDirectory() as folder:
        run = large_run(Path(folder) / "large", rows, seeds)
        started = time.perf_counter()
        found = tables(run)
        read = time.perf_counter()
        drawings = figures(found)
        drawn = time.perf_counter()
        text = html(found, drawings)
        written = time.perf_counter()
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(
            f"{rows} rows, {rows * seeds} records: tables {read - started:.1f} s, figures {drawn - read:.1f} s, "
            f"page {written - drawn:.1f} s, {memory:.0f} MiB, {len(text.encode()) / 2**20:.1f} MiB of page"
        )
        page = Path(folder) / "report.html"
        page.write_text(text, encoding="utf-8")
        sorting(page)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
