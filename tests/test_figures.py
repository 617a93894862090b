"""Figures: the same every time, every mark with a name and a link, one colour a family, whatever the names are."""

import re
import xml.etree.ElementTree as ET
from pathlib import Path

import matplotlib

from mixbench.report.figures import figures
from mixbench.results import tables
from tests.fake_runs import MODELS, RECIPE, done, full_run, trial, write_run
from tests.test_report import EVIL


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
    assert titles[2] == "splitmixer_i_256_8: 93.83 ± 0.09 % (2 seeds), 275,834 parameters"


def test_a_curve_of_one_epoch_is_a_point(tmp_path: Path) -> None:
    short = trial(recipe=RECIPE.model_copy(update={"epochs": 1}))
    drawing = figures(tables(write_run(tmp_path, [short], [done(short, 75.0)])))[0]
    group = next(g for g in ET.fromstring(drawing.svg).iter() if g.get("id", "").endswith("curve-0"))
    assert [mark.tag.split("}")[1] for mark in group.iter()].count("use") == 1


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
