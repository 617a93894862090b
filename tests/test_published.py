"""models/published.csv: valid, about models that exist, and found only where all agrees."""

import subprocess
import sys
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mixbench.errors import RequestError
from mixbench.measure import complexity
from mixbench.results import published
from mixbench.results.agreement import Agreement, agreement
from mixbench.results.statistics import Interval, interval
from mixbench.run.parts import Complexity
from mixbench.zoo import registry

HEADER = (
    "model,system,variant,dataset,image_size,num_classes,overrides,"
    "figure,value,unit,qualifier,pretraining,convention,note,source"
)
GOOD = "m,S,M,cifar10,32,10,,top1,94.17,percent,,none,,,somewhere"


def kinds(figures: list[published.PublishedFigure]) -> list[tuple[str, str]]:
    return [(figure.figure, figure.printed) for figure in figures]


def test_a_model_in_its_setting_has_its_figures_the_splitmixer_papers_first() -> None:
    figures = published.find("convmixer_256_8", {}, "cifar10", 32)
    assert kinds(figures) == [
        ("params", "0.60"),
        ("macs", "0.1526"),
        ("top1", "94.17"),
        ("top1", "92.60"),
        ("top1", "94"),
    ]
    assert [figure.system for figure in figures] == ["SplitMixer"] * 3 + ["ConvMixer"] * 2
    assert [figure.qualifier for figure in figures] == [""] * 4 + ["more_than"]
    assert (figures[0].value, figures[0].unit, figures[1].convention) == (0.6, "million", "splitmixer")


def test_a_figure_is_found_only_where_all_agrees() -> None:
    seven = {"kernel_size": 7, "patch_size": 7}
    assert kinds(published.find("splitmixer_i_256_8", seven, "flowers102", 224))[-1] == ("top1", "62.03")
    assert published.find("splitmixer_i_256_8", {}, "flowers102", 224) == []
    assert published.find("splitmixer_i_256_8", seven | {"ratio": "3/5"}, "flowers102", 224) == []
    assert published.find("splitmixer_i_256_8", {"kernel_size": 7}, "flowers102", 224) == []
    assert published.find("splitmixer_i_256_8", seven, "flowers102", 32) == []
    assert published.find("splitmixer_i_256_8", seven, "food101", 224) != published.find(
        "splitmixer_i_256_8", seven, "flowers102", 224
    )
    assert published.find("splitmixer_i", seven, "flowers102", 224) == []


def test_overrides_are_compared_as_numbers_and_without_the_datasets_part() -> None:
    written = {"patch_size": "7", "kernel_size": 7, "num_classes": 102, "image_size": 224, "in_chans": 3}
    assert len(published.find("splitmixer_iv_256_8", written, "flowers102", 224)) == 3
    assert published._comparable({"ratio": Fraction(3, 5)}) == published._comparable({"ratio": "3/5"})
    assert published._comparable({"ratio": 0.6}) == published._comparable({"ratio": "3/5"})
    assert published._comparable({"act": "gelu"}) != published._comparable({"act": "relu"})
    fashion = {"strides": (1, 2, 2, 1)}
    assert kinds(published.find("caterpillar_mi_p1", fashion, "fashion_mnist", 28)) == [("top1", "95.14")]
    assert published.find("caterpillar_mi_p1", {"strides": (1, 2, 2, 2)}, "fashion_mnist", 28) == []


def test_top1_compares_only_with_the_same_pretraining() -> None:
    def top1(model: str, pretraining: published.Pretraining, image_size: int = 224) -> list[str]:
        figures = published.find(model, {}, "imagenet", image_size, pretraining)
        return [figure.printed for figure in figures if figure.figure == "top1"]

    assert [top1("mixer_b16", p) for p in ("none", "in21k", "jft300m")] == [["76.44"], ["80.64"], ["80.00"]]
    assert [top1("resmlp_s24", p) for p in ("none", "distilled")] == [["79.38"], ["80.8"]]
    assert top1("mixer_h14", "jft300m") == ["86.32"] and top1("mixer_h14", "jft300m", 448) == ["87.94"]
    assert kinds(published.find("mixer_h14", {}, "imagenet", 224)) == [("params", "431")]


def test_every_row_is_about_a_model_of_the_zoo_with_arguments_that_it_takes() -> None:
    rows = {(f.model, tuple(f.overrides.items()), f.image_size, f.num_classes): f for f in published.load()}
    for figure in rows.values():
        given = arguments(figure)
        with torch.device("meta"):
            registry.create_model(figure.model, image_size=figure.image_size, num_classes=figure.num_classes, **given)
        native = registry.find(figure.model).arguments
        assert all(native[key] != value for key, value in given.items())


def arguments(figure: published.PublishedFigure) -> dict[str, Any]:
    values = {key: yaml.safe_load(value) for key, value in figure.overrides.items()}
    return {key: tuple(value) if isinstance(value, list) else value for key, value in values.items()}


def test_no_figure_stands_twice() -> None:
    keys = Counter(
        (f.model, tuple(f.overrides.items()), f.dataset, f.image_size, f.figure, f.pretraining, f.note, f.source)
        for f in published.load()
    )
    assert max(keys.values()) == 1 and len(keys) == 383


# -- ours beside them

CIFAR, LARGE = {"image_size": 32}, {"image_size": 224, "kernel_size": 7, "patch_size": 7}
AUTHORS = [  # dataset, model: our exact parameters, "FLOPS" counted as the authors count, and what their tables print
    ("cifar10", "convmixer_256_8", 594_186, 152.636, "0.60", "152.6"),
    ("cifar10", "splitmixer_i_256_8", 275_834, 71.838, "0.28", "71.8"),
    ("cifar10", "splitmixer_ii_256_8", 175_370, 46.205, "0.17", "46.2"),
    ("cifar10", "splitmixer_iii_256_8", 175_370, 79.760, "0.17", "79.8"),
    ("cifar10", "splitmixer_iv_256_8", 307_466, 79.760, "0.31", "79.8"),
    ("cifar100", "convmixer_256_8", 617_316, 152.659, "0.62", "152.6"),
    ("cifar100", "splitmixer_i_256_8", 298_964, 71.861, "0.30", "71.9"),
    ("cifar100", "splitmixer_ii_256_8", 198_500, 46.229, "0.19", "46.2"),
    ("cifar100", "splitmixer_iii_256_8", 198_500, 79.783, "0.19", "79.8"),
    ("cifar100", "splitmixer_iv_256_8", 330_596, 79.783, "0.32", "79.8"),
    ("flowers102", "convmixer_256_8", 701_542, 696.281, "0.70", "696"),
    ("flowers102", "splitmixer_i_256_8", 342_230, 331.147, "0.34", "331"),
    ("flowers102", "splitmixer_ii_256_8", 241_766, 228.616, "0.24", "229"),
    ("flowers102", "splitmixer_iii_256_8", 241_766, 362.834, "0.24", "363"),
    ("flowers102", "splitmixer_iv_256_8", 373_862, 362.834, "0.37", "363"),
    ("food101", "convmixer_256_8", 701_285, 696.280, "0.70", "696"),
    ("food101", "splitmixer_i_256_8", 341_973, 331.147, "0.34", "331"),
    ("food101", "splitmixer_ii_256_8", 241_509, 228.616, "0.24", "229"),
    ("food101", "splitmixer_iii_256_8", 241_509, 362.833, "0.24", "363"),
    ("food101", "splitmixer_iv_256_8", 373_605, 362.833, "0.37", "363"),
]
LEFT_OVER = "left over in the source from an earlier model with one 1-D convolution fewer a block"
CUT_OFF = "the source cuts digits off where others round"
SLIPS = {
    ("cifar10", "convmixer_256_8", "params"): ("0.59", "the source is one off in its last digit"),
    ("cifar10", "splitmixer_ii_256_8", "params"): ("0.18", CUT_OFF),
    ("cifar10", "splitmixer_iii_256_8", "params"): ("0.18", CUT_OFF),
    ("cifar100", "convmixer_256_8", "macs"): ("0.1527", CUT_OFF),
    ("cifar100", "splitmixer_ii_256_8", "params"): ("0.20", LEFT_OVER),
    ("cifar100", "splitmixer_iii_256_8", "params"): ("0.20", LEFT_OVER),
    ("cifar100", "splitmixer_iv_256_8", "params"): ("0.33", LEFT_OVER),
}


@cache
def counted(model: str, image_size: int, num_classes: int, **overrides: Any) -> Complexity:
    with torch.device("meta"):
        built = registry.create_model(model, image_size=image_size, num_classes=num_classes, **overrides)
    return complexity.count(built, image_size, 3, ptflops=False)


def of(figure: published.PublishedFigure, ours: Complexity | None = None, top1: Interval | None = None) -> Agreement:
    if ours is None:
        ours = counted(figure.model, figure.image_size, figure.num_classes, **arguments(figure))
    return agreement(figure, ours, top1 or interval([]))


@pytest.mark.parametrize(("dataset", "model", "params", "flops", "params_printed", "flops_printed"), AUTHORS)
def test_the_authors_20_rows_come_out_to_the_printed_digit_or_it_is_said_why_not(
    dataset: str, model: str, params: int, flops: float, params_printed: str, flops_printed: str
) -> None:
    setting = CIFAR if dataset.startswith("cifar") else LARGE
    overrides = {key: value for key, value in setting.items() if key != "image_size"}
    figures = {f.figure: f for f in published.find(model, overrides, dataset, setting["image_size"])[:3]}
    ours = counted(model, num_classes=figures["macs"].num_classes, **setting)
    found = {kind: of(figure, ours) for kind, figure in figures.items() if kind != "top1"}
    assert found["params"].ours == ours.params == params
    assert found["macs"].ours is not None and f"{found['macs'].ours / 1e6:.3f}" == f"{flops:.3f}"
    assert figures["params"].printed == params_printed
    assert Decimal(figures["macs"].printed) * 1000 == Decimal(flops_printed)
    for kind, each in found.items():
        rounded, why = SLIPS.get((dataset, model, kind), (each.figure.printed, ""))
        assert (each.agrees, each.ours_as_printed, each.why) == (not why, rounded, why)


def test_the_authors_tables_slip_in_seven_cells_of_which_all_are_checked() -> None:
    theirs = [figure for figure in published.load() if figure.source.startswith("SplitMixer, arXiv:2207.10255 (README")]
    assert len(theirs) == 3 * len(AUTHORS) == 60 and len(SLIPS) == 7
    assert {(figure.dataset, figure.model) for figure in theirs} == {row[:2] for row in AUTHORS}


def test_every_other_count_is_ours_to_the_printed_digit_or_it_is_said_why_not() -> None:
    """Those without depthwise convolutions, and without the classifier, among them."""
    others = [f for f in published.load() if f.figure != "top1" and "aliborji" not in f.source]
    others = [f for f in others if f.convention != "unknown" and not f.note.startswith("recalled")]
    found = {(f.model, f.figure, f.convention or f.note): of(f) for f in others}
    wrong = {key[:2]: each for key, each in found.items() if each.agrees is not True}
    last_digit = {
        key for key, each in wrong.items() if each.why in (CUT_OFF, "the source is one off in its last digit")
    }
    assert wrong.keys() - last_digit == {
        ("mixer_nano4", "params"),
        ("s2mlp_deep", "params"),
        ("spach_mlp_ms_s", "macs"),
    }
    for key in wrong.keys() - last_digit:
        ours, unit = wrong[key].ours, wrong[key].figure.unit
        assert ours is not None
        stated = f"{ours / {'million': 1e6, 'giga': 1e9}[unit]:.2f} {unit}"
        assert wrong[key].why == f"disagrees with the architecture stated beside it, which has {stated}"
    assert sum(convention == "macs_no_depthwise" for _, _, convention in found) == 3
    assert sum(note == "without the classifier" for _, _, note in found) == 7


def test_a_convention_that_is_not_known_is_not_guessed() -> None:
    figure = published.find("convmixer_256_8", {}, "cifar10", 32)[1].model_copy(update={"convention": "unknown"})
    found = of(figure)
    assert (found.ours, found.agrees, found.why) == (None, None, "the convention 'unknown' cannot be recomputed")
    assert agreement(figure, None, interval([])).why == "not counted"


def test_an_accuracy_agrees_within_half_a_point_or_within_our_own_interval() -> None:
    figure = published.find("splitmixer_i_256_8", {}, "cifar10", 32)[2]
    assert figure.printed == "93.91"

    def verdict(*values: float) -> tuple[bool | None, float | None]:
        found = of(figure, top1=interval(values))
        return found.agrees, found.difference

    assert verdict(94.41) == (True, pytest.approx(0.5)) and verdict(94.42)[0] is False
    assert verdict(93.40)[0] is False and verdict() == (None, None)
    assert verdict(92.9, 93.9) == (True, pytest.approx(-0.51)), "two seeds a point apart say little"
    assert verdict(93.30, 93.31, 93.32)[0] is False


def test_more_than_is_no_figure_to_compare_with() -> None:
    figure = published.find("convmixer_256_8", {}, "cifar10", 32)[-1]
    found = of(figure, top1=interval([93.0]))
    assert (found.agrees, found.comparable, found.why) == (None, False, "the source says more than 94")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (GOOD.replace("94.17", "94 %"), "value: Input should be a valid number"),
        (GOOD.replace("94.17", ""), "value: Input should be a valid number"),
        (GOOD.replace("94.17", "nan"), "value: Input should be a finite number"),
        (GOOD.replace("none", "laion"), "pretraining: Input should be 'none', 'in21k', 'jft300m'"),
        (GOOD.replace(",none,", ",,"), "pretraining: top1 has one, other figures have none"),
        (GOOD.replace("percent", "million"), "unit: top1 is in percent, not in million"),
        (GOOD.replace(",top1,94.17,percent,,none,,", ",macs,1,giga,,,,"), "convention: macs has one"),
        (GOOD.replace(",10,,", ",10,kernel_size,"), "overrides: 'kernel_size' is not written key=value"),
        (GOOD.replace(",32,", ",big,"), "image_size: Input should be a valid integer"),
        (GOOD.replace(",,none", ",roughly,none"), "qualifier: Input should be '', 'more_than' or 'about'"),
        (GOOD.replace("somewhere", ""), "source: String should have at least 1 character"),
        (GOOD + ",more", "Extra inputs are not permitted"),
    ],
)
def test_a_wrong_row_is_refused_with_its_line(tmp_path: Path, row: str, complaint: str) -> None:
    path = tmp_path / "published.csv"
    path.write_text(f"{HEADER}\n{GOOD}\n{row}\n")
    with pytest.raises(RequestError) as refused:
        published.read(path)
    assert str(refused.value).startswith(f"{path}:3: ") and complaint in str(refused.value)


def test_a_right_row_is_read(tmp_path: Path) -> None:
    path = tmp_path / "published.csv"
    row = GOOD.replace(",10,,", ',10,"ratio=3/5,act=relu",')
    path.write_text(f"{HEADER}\n{row}\n")
    (figure,) = published.read(path)
    assert figure.overrides == {"ratio": "3/5", "act": "relu"} and figure.printed == "94.17"


def test_reading_them_needs_no_torch() -> None:
    imports = "import sys; from mixbench.results import agreement, published"
    code = f"{imports}; published.load(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
