"""The report of several numbers of processes: strong and weak told apart, spread, what is predicted and from what."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixbench.report.figures.all import figures
from mixbench.report.figures.drawing import Drawing
from mixbench.report.formats.html import html
from mixbench.report.scaling_model import fit, predict
from mixbench.results.tables import Tables, tables
from mixbench.run.record import Record
from mixbench.run.timings import Communication, ThroughputSamples
from mixbench.suite.trial import Trial
from tests.fake_runs import ENVIRONMENT, RECIPE, done, trial, write_run
from tests.test_figures import said

LATENCY, PER_BYTE = 0.25, 2e-6  # ms, ms a byte: 500 MB/s
GRADIENTS = 400_000
COMPUTE = 80.0  # ms for 64 images by one process


def ring(processes: int, size: int) -> float:
    return 2 * (processes - 1) * (LATENCY + size / processes * PER_BYTE)


def sized(processes: int, batch: int, name: str = "default", **changes: Any) -> Trial:
    recipe = RECIPE.model_copy(update={"name": name, "global_batch_size": batch})
    return trial(id=f"{name}-{processes}", processes_per_node=processes, recipe=recipe, **changes)


def measured(trial: Trial, spread: float = 0.0, speaks: bool = True) -> Record:
    """Images cost the same everywhere, and the all-reduce is a perfect ring's; steps vary by `spread`."""
    processes, batch = trial.world_size, trial.recipe.global_batch_size
    step = COMPUTE * batch / 64 / processes + ring(processes, GRADIENTS)
    sent = Communication(
        gradient_bytes=GRADIENTS,
        step_bytes={"all_reduce": GRADIENTS, "all_gather_into_tensor": GRADIENTS // 2},
        single_bytes=4,
        allreduce_ms=[ring(processes, GRADIENTS) * factor for factor in (0.9, 1.0, 1.1)],
        latency_ms=[ring(processes, 4)] * 3,
    )
    samples = ThroughputSamples(
        infer_step_ms=[10.0] * 5,
        train_step_ms=[step * (1 + spread * factor) for factor in (-2, -1, 0, 1, 2)],
        warmup=3,
        interleaved_with=0,
        communication=sent if processes > 1 and speaks else None,
    )
    record = done(trial, 90.0, train_samples_per_sec=1000 * batch / step, train_batch_size=batch)
    record.details.throughput = samples
    return record


def of(folder: Path, records: Sequence[Record]) -> Tables:
    return tables(write_run(folder, [record.details.trial for record in records], list(records)))


def drawn(found: Tables, name: str) -> list[Drawing]:
    return [drawing for drawing in figures(found) if drawing.name.endswith(name)]


def test_the_ring_is_found_from_what_a_ring_took(tmp_path: Path) -> None:
    for sizes in ((1, 2), (1, 2, 4, 8)):
        groups = of(tmp_path / str(sizes), [measured(sized(size, 64)) for size in sizes]).groups
        found = fit(groups)
        assert found and (found.latency_ms, found.ms_per_byte) == pytest.approx((LATENCY, PER_BYTE), rel=1e-6)
        assert found.milliseconds(16, GRADIENTS) == pytest.approx(ring(16, GRADIENTS))


def test_more_processes_are_predicted_where_the_batch_stays_and_where_it_grows(tmp_path: Path) -> None:
    strong = of(tmp_path / "strong", [measured(sized(size, 64)) for size in (1, 2)]).groups
    weak = of(tmp_path / "weak", [measured(sized(size, 64 * size)) for size in (1, 2)]).groups
    shared = [64_000 / (COMPUTE / size + ring(size, GRADIENTS)) for size in (4, 8, 16)]
    assert predict(strong, fit(strong), weak=False) == [
        (4 << at, pytest.approx(each)) for at, each in enumerate(shared)
    ]
    grown = [64_000 * size / (COMPUTE + ring(size, GRADIENTS)) for size in (4, 8, 16)]
    assert predict(weak, fit(weak), weak=True) == [(4 << at, pytest.approx(each)) for at, each in enumerate(grown)]


def test_no_process_is_predicted_without_an_image(tmp_path: Path) -> None:
    groups = of(tmp_path, [measured(sized(size, 8)) for size in (1, 2)]).groups
    assert [size for size, _ in predict(groups, fit(groups), weak=False)] == [4, 8]


def test_nothing_is_predicted_where_no_communication_was_measured(tmp_path: Path) -> None:
    found = of(tmp_path, [measured(sized(size, 64), speaks=False) for size in (1, 2)])
    assert fit(found.groups) is None and predict(found.groups, None, weak=False) == []
    (drawing,) = drawn(found, "speed-up")
    assert len(said(drawing.svg)) == 4 and "prediction" not in drawing.svg + drawing.caption
    assert 'id="communication"' not in html(found, [])


def test_strong_and_weak_are_two_figures_with_the_trial_that_they_share_in_both(tmp_path: Path) -> None:
    records = [measured(sized(size, 64, "strong"), speaks=False) for size in (1, 2)]
    records += [measured(sized(size, 64 * size, "weak"), speaks=False) for size in (2, 4)]
    found = of(tmp_path, records)
    (strong,), (weak,) = drawn(found, "speed-up"), drawn(found, "weak-scaling")
    name, times = "splitmixer_i_256_8", [COMPUTE, COMPUTE / 2 + ring(2, GRADIENTS)]
    faster = times[0] / times[1]
    assert said(strong.svg) == [
        f"{name}, 1: 1.00 times as fast", f"{name}, 2: {faster:.2f} times as fast",
        f"{name}, 1: 100 % efficient", f"{name}, 2: {50 * faster:.0f} % efficient",
    ]  # fmt: skip
    each = {size: COMPUTE / (COMPUTE + ring(size, GRADIENTS)) for size in (1, 2, 4)}
    assert said(weak.svg)[3:] == [f"{name}, {size}: {100 * e:.0f} % efficient" for size, e in each.items()]
    assert "(strong scaling)" in strong.caption and "(weak scaling)" in weak.caption


def test_a_prediction_is_called_one_and_its_model_stated(tmp_path: Path) -> None:
    (drawing,) = drawn(of(tmp_path, [measured(sized(size, 64)) for size in (1, 2)]), "speed-up")
    marks = said(drawing.svg)
    speed_up = COMPUTE / (COMPUTE / 16 + ring(16, GRADIENTS))
    assert f"splitmixer_i_256_8, 16: {speed_up:.2f} times as fast, a prediction" in marks
    assert [mark.endswith("a prediction") for mark in marks] == [False] * 2 + [True] * 3 + [False] * 2 + [True] * 3
    assert "2 (P − 1) (a + g / (P B))" in drawing.caption
    assert "(a = 0.250 ms, B = 500 MB/s)" in drawing.caption
    left = drawing.figure.axes[0]
    legend = left.get_legend()
    assert legend and [text.get_text() for text in legend.get_texts()] == ["measured", "prediction", "perfect"]
    hollow = [mark for mark in left.collections if len(mark.get_facecolor()) == 0]
    assert [np.asarray(mark.get_offsets())[0, 0] for mark in hollow] == [4, 8, 16]


def test_the_perfect_speed_up_is_a_straight_line_where_both_axes_double(tmp_path: Path) -> None:
    left = drawn(of(tmp_path, [measured(sized(size, 64)) for size in (1, 2)]), "speed-up")[0].figure.axes[0]
    assert left.get_xscale() == left.get_yscale() == "log"


def test_a_bar_is_as_wide_as_the_steps_of_both_sizes_make_it_and_the_fewest_processes_have_none(tmp_path: Path) -> None:
    records = [measured(sized(size, 64), spread=0.1 * size, speaks=False) for size in (1, 2)]
    (drawing,) = drawn(of(tmp_path, records), "speed-up")
    name, (first, second, *efficient) = "splitmixer_i_256_8", said(drawing.svg)
    assert first == f"{name}, 1: 1.00 times as fast"
    # quartiles of one process's steps: 72, 80, 88 ms; of two processes': 33.04, 41.3, 49.56
    # 80 / 41.3 = 1.937; slow over fast: 72 / 49.56 = 1.453; fast over slow: 88 / 33.04 = 2.663; of 2: 97, 73, 133 %
    assert second == f"{name}, 2: 1.94 times as fast; quartiles 1.45 times as fast, 2.66 times as fast"
    assert efficient == [
        f"{name}, 1: 100 % efficient", f"{name}, 2: 97 % efficient; quartiles 73 % efficient, 133 % efficient"
    ]  # fmt: skip
    assert [len(axes.containers) for axes in drawing.figure.axes] == [1, 1]
    assert "Bars: from the slow quartile" in drawing.caption and "1 by definition" in drawing.caption


def test_steps_that_do_not_vary_have_no_bars(tmp_path: Path) -> None:
    (drawing,) = drawn(of(tmp_path, [measured(sized(size, 64), speaks=False) for size in (1, 2)]), "speed-up")
    assert "Bars" not in drawing.caption and "quartiles" not in drawing.svg


def test_other_numbers_of_threads_are_said(tmp_path: Path) -> None:
    records = [measured(sized(size, 64)) for size in (1, 2)]
    (same,) = drawn(of(tmp_path / "same", records), "speed-up")
    assert "Threads" not in same.caption
    records[1].details.environment = {"throughput": ENVIRONMENT.model_copy(update={"threads": 1})}
    (other,) = drawn(of(tmp_path / "other", records), "speed-up")
    assert "Threads of a process differ (2 at 1, 1 at 2)" in other.caption


def test_the_page_has_a_table_of_communication(tmp_path: Path) -> None:
    page = html(of(tmp_path, [measured(sized(size, 64)) for size in (1, 2)]), [])
    table = page[page.index('id="communication"') :]
    table = table[: table.index("</section>")]
    reduced, step = ring(2, GRADIENTS), COMPUTE / 2 + ring(2, GRADIENTS)
    assert table.count("<tr>") == 2, "the heading, and two processes; one says nothing"
    for cell in (
        "400,000", "600,000", "(1.50 ×)", f"{reduced:.3f}", f"{reduced * 0.95:.3f} to {reduced * 1.05:.3f}",
        f"{100 * reduced / step:.1f}",
    ):  # fmt: skip
        assert cell in table, cell
