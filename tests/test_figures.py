"""Figures: the same every time, every mark with a name and a link, one colour a family, whatever the names are."""

import io
import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from PIL import Image

from mixbench.report import sparklines
from mixbench.report.figures.all import figures
from mixbench.report.figures.curves import curves
from mixbench.report.figures.drawing import Drawing, Scene
from mixbench.report.figures.scaling import batches
from mixbench.report.figures.scatter import scatter
from mixbench.report.figures.seeds import strips
from mixbench.report.figures.svg import STYLE
from mixbench.report.row_names import looks, names
from mixbench.results.metrics import PARAMS
from mixbench.results.tables import tables
from mixbench.run.record import Record
from mixbench.suite.trial import Trial
from tests.fake_runs import MODELS, RECIPE, done, full_run, trial, write_run
from tests.test_report import EVIL

SVG = "{http://www.w3.org/2000/svg}"


def test_figures_are_the_same_every_time_and_leave_no_state(tmp_path: Path) -> None:
    found = tables(full_run(tmp_path / "run"))
    before = dict(matplotlib.rcParams)
    first, second = figures(found), figures(found)
    assert [drawing.svg for drawing in first] == [drawing.svg for drawing in second]
    assert dict(matplotlib.rcParams) == before


def test_every_point_of_a_scatter_says_its_name(tmp_path: Path) -> None:
    drawing = figures(tables(full_run(tmp_path / "run")))[0]
    titles = [element.text or "" for element in ET.fromstring(drawing.svg).iter("{http://www.w3.org/2000/svg}title")]
    assert titles[0] == "cifar10: accuracy against parameters"
    assert [title.split(":")[0] for title in titles[1:]] == [name for name, *_ in MODELS]
    assert titles[2] == "splitmixer_i_256_8: 93.8 ± 0.8 % (2 seeds), 275,834 parameters"


def test_a_curve_of_one_epoch_is_a_point(tmp_path: Path) -> None:
    short = trial(recipe=RECIPE.model_copy(update={"epochs": 1}))
    drawing = one(curves, tmp_path, [short], [done(short, 75.0)])
    group = next(g for g in ET.fromstring(drawing.svg).iter() if g.get("id", "").endswith("curve-0"))
    assert [mark.tag.split("}")[1] for mark in group.iter()].count("use") == 1


def test_the_range_of_all_models_runs_through_epochs_that_some_were_not_evaluated_after(tmp_path: Path) -> None:
    trials = [trial(name) for name in ("splitmixer_i_256_8", "splitmixer_ii_256_8")]
    records = [done(each, 90.0) for each in trials]
    every, second = (record.details.curve for record in records)
    assert every and second
    every.epochs[:] = [replace(epoch, top1=80.0) for epoch in every.epochs[:4]]
    second.epochs[:] = [replace(epoch, top1=10.0 * epoch.epoch) for epoch in every.epochs[1::2]]  # 20, 40
    grey = np.asarray(axes_of(tmp_path, "curves", trials, records).collections[0].get_paths()[0].vertices)
    bottom = {x: grey[grey[:, 0] == x, 1].min() for x in grey[:, 0].tolist()}
    assert bottom == {1: 80, 2: 20, 3: 30, 4: 40}


def test_figures_stand_hostile_names(tmp_path: Path) -> None:
    names = [EVIL, "$\\frac{1}$", "_hidden", "نموذج 模型", "x" * 300, "a\x00b\x1b[31m"]
    trials = [trial(f"model_{index}", label=name, family=f"{name}~") for index, name in enumerate(names)]
    records = [done(each, 90.0 + index) for index, each in enumerate(trials)]
    drawings = figures(tables(write_run(tmp_path, trials, records)))
    assert [drawing.name.split("-", 2)[2] for drawing in drawings] == [
        "params", "macs", "throughput", "time", "memory", "curves",
    ]  # fmt: skip
    for drawing in drawings:
        text = "".join(ET.fromstring(drawing.svg).itertext())
        assert EVIL in text and "_hidden" in text and "x" * 60 in text
        assert not re.search(r"[\x00-\x08\x0b-\x1f]", text)
    assert all("_hidden~" in "".join(ET.fromstring(drawing.svg).itertext()) for drawing in drawings[:5])


def test_a_family_has_one_colour_in_every_figure(tmp_path: Path) -> None:
    trials = [trial(name) for name, *_ in MODELS]
    found = tables(
        write_run(tmp_path, trials, [done(each, 90.0) for each in trials if each.model != "convmixer_256_8"])
    )
    drawings = figures(found)
    blue = "#0173b2"  # ConvMixer's, which has no point
    assert len(drawings) == 7
    assert not [drawing.name for drawing in drawings if blue in drawing.svg]


def test_the_pareto_front_is_drawn_below_no_row(tmp_path: Path) -> None:
    (drawing,) = [each for each in figures(tables(full_run(tmp_path))) if each.name.endswith("params")]
    [stairs] = [line for line in drawing.figure.axes[0].lines if line.get_linestyle() == "--"]
    xs, ys = np.asarray(stairs.get_xdata()), np.asarray(stairs.get_ydata())
    assert xs.tolist() == [175370, 275834, 594186]
    assert ys.tolist() == sorted(ys)


def axes_of(folder: Path, name: str, trials: list[Trial], records: list[Record]) -> Axes:
    (drawing,) = [each for each in figures(tables(write_run(folder, trials, records))) if each.name.endswith(name)]
    return drawing.figure.axes[0]


def ticks(axes: Axes) -> list[str]:
    low, high = axes.get_xlim()
    places = [place for place in axes.xaxis.get_major_locator()() if low <= place <= high]
    return [axes.xaxis.get_major_formatter()(place) for place in places]


@pytest.mark.parametrize(
    ("name", "changes", "shown"),
    [
        ("memory", [{"peak_memory_bytes": int(gib * 2**30)} for gib in (1.5, 1.6, 1.65)], ["1.4 GiB", "1.6 GiB"]),
        ("memory", [{"peak_memory_bytes": 2**exponent} for exponent in (20, 22, 24)], ["2 MiB", "8 MiB"]),
        ("time", [{"train_seconds": seconds} for seconds in (0.02, 0.2, 0.7)], ["50 ms", "0.2 s", "0.5 s"]),
        ("time", [{"train_seconds": seconds} for seconds in (70.0, 80.0, 100.0)], ["1.2 min", "1.6 min"]),
        ("params", [{"params": n} for n in (175_370, 275_834, 307_466)], ["200 k", "300 k"]),
        ("params", [{"params": 175_370}] * 3, []),
    ],
)
def test_prices_stand_on_a_log_axis_with_round_ticks(
    tmp_path: Path, name: str, changes: list[dict[str, float]], shown: list[str]
) -> None:
    trials = [trial(f"model_{index}") for index in range(3)]
    records = [done(each, 90.0 + i, **change) for i, (each, change) in enumerate(zip(trials, changes, strict=True))]
    axes = axes_of(tmp_path, name, trials, records)
    assert axes.get_xscale() == "log" and axes.get_xlabel().endswith("log scale")
    assert set(shown) <= set(ticks(axes)), ticks(axes)
    assert all(len(text) <= 7 for text in ticks(axes))


def test_bars_are_the_95_percent_interval_and_lie_within_the_figure(tmp_path: Path) -> None:
    trials = [trial(name, seed) for name in ("splitmixer_i_256_8", "splitmixer_ii_256_8") for seed in range(3)]
    records = [done(each, (93.0 if "_ii_" in each.model else 90.0) + 0.3 * each.seed) for each in trials]
    for name in ("published", "params"):
        axes = axes_of(tmp_path / name, name, trials, records)
        (bars,) = [each for each in axes.collections if isinstance(each, LineCollection)]
        ends = sorted({round(float(y), 2) for segment in bars.get_segments() for _, y in segment})
        assert ends == [89.55, 91.05, 92.55, 94.05], "0.3 · 4.303 / √3 = 0.745 about each mean"
        low, high = axes.get_ylim()
        assert low < 89.55 and high > 94.05


def test_rows_of_several_devices_have_no_front_in_speed(tmp_path: Path) -> None:
    trials = [trial(name) for name, *_ in MODELS[:3]]
    records = [done(each, 90.0 + index, device=f"device {index % 2}") for index, each in enumerate(trials)]
    fronts = {name: len(axes_of(tmp_path / name, name, trials, records).lines) for name in ("throughput", "params")}
    assert fronts == {"throughput": 0, "params": 1}


def test_every_figure_is_a_png_too(tmp_path: Path) -> None:
    for drawing in figures(tables(full_run(tmp_path)))[:1]:
        image = Image.open(io.BytesIO(drawing.png()))
        assert image.size == (704, 572) and image.convert("RGB").getpixel((0, 0)) == (255, 255, 255)


def test_every_seed_is_a_mark_on_its_models_strip(tmp_path: Path) -> None:
    (drawing,) = [each for each in figures(tables(full_run(tmp_path, seeds=3))) if each.name.endswith("seeds")]
    strips = {strip.get_gid(): np.asarray(strip.get_offsets()) for strip in drawing.figure.axes[0].collections}
    assert len(strips) == len(MODELS) and all(len(marks) == 3 for marks in strips.values())
    assert strips["strip-0"][:, 0].round(2).tolist() == [94.17, 94.3, 94.43]


def test_speed_is_drawn_against_the_batch_where_it_varies(tmp_path: Path) -> None:
    trials = [
        trial(model, infer_batch_size=batch)
        for model in ("splitmixer_i_256_8", "convmixer_256_8")
        for batch in (64, 256)
    ]
    records = [done(each, 90.0, infer_samples_per_sec=1000.0 + int(each.infer_batch_size)) for each in trials[:3]]
    (drawing,) = [e for e in figures(tables(write_run(tmp_path, trials, records))) if e.name.endswith("batches")]
    assert said(drawing.svg) == [
        "splitmixer_i_256_8, 64: 1,064 images/s",
        "splitmixer_i_256_8, 256: 1,256 images/s",
    ]  # of the other model one batch size is not there yet


def test_speed_up_and_efficiency_are_against_the_fewest_processes(tmp_path: Path) -> None:
    trials = [trial(id=f"t{n}", processes_per_node=n) for n in (1, 2, 4)]
    speeds = {1: 100.0, 2: 190.0, 4: 300.0}
    records = [done(each, 90.0, train_samples_per_sec=speeds[each.world_size]) for each in trials]
    (drawing,) = [e for e in figures(tables(write_run(tmp_path, trials, records))) if e.name.endswith("speed-up")]
    assert said(drawing.svg) == [
        "splitmixer_i_256_8, 1: 1.00 times as fast", "splitmixer_i_256_8, 2: 1.90 times as fast",
        "splitmixer_i_256_8, 4: 3.00 times as fast", "splitmixer_i_256_8, 1: 100 % efficient",
        "splitmixer_i_256_8, 2: 95 % efficient", "splitmixer_i_256_8, 4: 75 % efficient",
    ]  # fmt: skip


def test_marks_lead_to_their_rows(tmp_path: Path) -> None:
    found = tables(full_run(tmp_path))
    keys = {f"#row-{group.records[0].trial_id}" for group in found.groups}
    for drawing in figures(found):
        links = [link.get("href") for link in ET.fromstring(drawing.svg).iter(f"{SVG}a")]
        assert links and set(links) <= keys, drawing.name


@given(st.lists(st.floats(allow_nan=True, allow_infinity=True) | st.floats(0.1, 100), max_size=60))
@example([0.0, 1.1125369292536007e-308])
def test_small_drawings_stand_any_numbers(values: list[float]) -> None:
    for text in (sparklines.curve(list(enumerate(values)), "top-1"), sparklines.histogram(values, "top-1")):
        if text:
            root = ET.fromstring(text)
            assert not re.search(r"nan|inf", text) and len(root.get("aria-label", "")) > 10


def test_a_small_curve_has_its_points_where_their_epochs_are() -> None:
    [line] = ET.fromstring(sparklines.curve([(10, 50.0), (20, 80.0), (25, 90.0)], "top-1"))
    assert line.get("points") == "2.0,26.0 79.3,8.0 118.0,2.0"


def test_a_histogram_counts_every_sample() -> None:
    root = ET.fromstring(sparklines.histogram([1.0] * 9 + [2.0] * 3 + [3.0], "step"))
    path = root[0].get("d", "")
    heights = [64 - int(top) for top in re.findall(r"V(\d+)H", path)]
    assert heights == [64, 21, 7] and root.get("aria-label") == "step: 13 samples from 1.00 ms to 3.00 ms"


def said(svg: str) -> list[str]:
    return [link[0].text or "" for link in ET.fromstring(svg).iter(f"{SVG}a")]


def one(draw: Callable[[Scene], Drawing | None], folder: Path, trials: list[Trial], records: list[Record]) -> Drawing:
    """One figure alone: all of many rows take long."""
    found = tables(write_run(folder, trials, records))
    keys = [group.key for group in found.groups]
    with matplotlib.rc_context(STYLE):
        drawing = draw(Scene("1", found.groups, names(found.groups), keys, looks(found.records)))
    assert drawing
    return drawing


def against_params(scene: Scene) -> Drawing | None:
    return scatter(scene, PARAMS)


def test_what_a_figure_leaves_out_stands_in_its_caption(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mixbench.report.figures.curves.MOST_CURVES", 3)  # a panel takes long
    trials = [trial(f"model_{number}", seed) for number in range(42) for seed in (0, 1)]
    records = [done(each, 50.0 + int(each.model[6:])) for each in trials]
    assert "Most accurate 3 of 42 rows shown." in one(curves, tmp_path / "curves", trials, records).caption
    assert "Most accurate 40 of 42 rows shown." in one(strips, tmp_path / "seeds", trials, records).caption
    records = [done(each, 50.0, params=1000 if each.model != "model_0" else None) for each in trials[:6]]
    said = one(against_params, tmp_path / "params", trials[:6], records).caption
    assert "Left out: 1 of 3 rows, without accuracy or parameters." in said


def test_a_caption_counts_the_marks_that_have_labels(tmp_path: Path) -> None:
    trials = [trial(f"model_{number}") for number in range(30)]
    records = [done(each, 50.0 + number, params=1000 * 2**number) for number, each in enumerate(trials)]
    drawing = one(against_params, tmp_path / "many", trials, records)
    labels = [text for text in drawing.figure.axes[0].texts if text.get_text().startswith("model_")]
    assert 0 < len(labels) <= 16 and f"Labelled: {len(labels)} of 30 marks." in drawing.caption
    few = one(against_params, tmp_path / "few", trials[::10], records[::10])
    assert not re.search("Labelled|Left out|only|shown", few.caption)


def test_of_very_many_marks_those_on_the_front_have_bars(tmp_path: Path) -> None:
    trials = [trial(f"model_{number}", seed) for number in range(61) for seed in (0, 1)]
    numbers = [int(each.model[6:]) for each in trials]
    records = [
        done(each, 90 + 0.1 * each.seed - abs(30 - n), params=1000 + n) for each, n in zip(trials, numbers, strict=True)
    ]
    drawing = one(against_params, tmp_path, trials, records)
    (bars,) = [each for each in drawing.figure.axes[0].collections if isinstance(each, LineCollection)]
    assert len(bars.get_segments()) == 31 and "Bars only on the front: 31 of 61 marks." in drawing.caption


def test_the_fastest_lines_are_drawn_and_the_others_counted(tmp_path: Path) -> None:
    trials = [trial(f"model_{number}", infer_batch_size=batch) for number in range(26) for batch in (64, 256)][1:]
    records = [done(each, 90.0, infer_samples_per_sec=100.0 + int(each.model[6:])) for each in trials]
    drawing = one(batches, tmp_path, trials, records)
    assert len(drawing.figure.axes[0].lines) == 24 and "Fastest 24 of 25 models shown." in drawing.caption
    left = "Left out: 1 of 51 rows, on no line: it joins rows that differ in the batch size alone."
    assert left in drawing.caption


def test_a_legend_of_many_families_takes_nothing_from_the_plot(tmp_path: Path) -> None:
    heights = {}
    for count in (2, 33):
        trials = [trial(f"model_{n}", family=f"A family with a long name {n}") for n in range(count)]
        records = [done(each, 60.0 + number, params=1000 + number) for number, each in enumerate(trials)]
        figure = one(against_params, tmp_path / str(count), trials, records).figure
        box = figure.legends[0].get_window_extent()
        assert box.x0 >= -1 and box.x1 <= figure.bbox.width + 1
        heights[count] = figure.axes[0].get_window_extent().height
    assert heights[33] > 0.95 * heights[2]
