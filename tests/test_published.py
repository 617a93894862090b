"""models/published.csv: valid, about models that exist, and found only where all agrees."""

import subprocess
import sys
from collections import Counter
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import pytest
import torch

from mixbench import published, registry
from mixbench.errors import RequestError
from mixbench.measure import complexity

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


def test_top1_compares_only_with_the_same_pretraining() -> None:
    def top1(model: str, pretraining: published.Pretraining, image_size: int = 224) -> list[str]:
        figures = published.find(model, {}, "imagenet", image_size, pretraining)
        return [figure.printed for figure in figures if figure.figure == "top1"]

    assert [top1("mixer_b16", p) for p in ("none", "in21k", "jft300m")] == [["76.44"], ["80.64"], ["80.00"]]
    assert [top1("resmlp_s24", p) for p in ("none", "distilled")] == [["79.38"], ["80.8"]]
    assert top1("mixer_h14", "jft300m") == ["86.32"] and top1("mixer_h14", "jft300m", 448) == ["87.94"]
    assert kinds(published.find("mixer_h14", {}, "imagenet", 224)) == [("params", "431")]


def test_every_row_is_about_a_model_of_the_zoo_with_arguments_that_it_takes() -> None:
    for figure in published.load():
        shape = {"image_size": figure.image_size, "num_classes": figure.num_classes}
        with torch.device("meta"):
            registry.create_model(figure.model, **shape, **{k: int(v) for k, v in figure.overrides.items()})
        native = registry.find(figure.model).arguments
        assert all(str(native[key]) != value for key, value in figure.overrides.items())


def test_no_figure_stands_twice() -> None:
    keys = Counter(
        (f.model, tuple(f.overrides.items()), f.dataset, f.image_size, f.figure, f.pretraining, f.note, f.source)
        for f in published.load()
    )
    assert max(keys.values()) == 1 and len(keys) == 116


def test_published_params_are_ours_to_the_printed_digit_but_for_two_that_are_wrong() -> None:
    """Some sources cut digits off where others round, so either is right."""
    wrong = set()
    for figure in published.load():
        if figure.figure != "params":
            continue
        shape = {"image_size": figure.image_size, "num_classes": figure.num_classes}
        with torch.device("meta"):
            model = registry.create_model(figure.model, **shape, **{k: int(v) for k, v in figure.overrides.items()})
        params = sum(parameter.numel() for parameter in model.parameters())
        if figure.note == "without the classifier":
            params -= sum(parameter.numel() for parameter in model.get_submodule("head").parameters())
        last_digit = Decimal(1).scaleb(int(Decimal(figure.printed).as_tuple().exponent))
        if abs(Decimal(params) / 10**6 - Decimal(figure.printed)) > last_digit:
            wrong.add((figure.model, figure.dataset))
            assert figure.note
    assert wrong == {("mixer_nano4", "cifar10"), ("splitmixer_iv_256_8", "cifar100")}


def test_published_macs_are_ours_in_their_convention() -> None:
    """The macs to the printed digit; those without depthwise convolutions have some elementwise work in them."""
    compared = set()
    for figure in published.load():
        if figure.convention not in ("macs", "macs_no_depthwise"):
            continue
        with torch.device("meta"):
            model = registry.create_model(figure.model)
        ours = complexity.count(model, figure.image_size, 3, ptflops=False)
        depthwise = sum(layer.macs for layer in ours.layers if ".spatial." in layer.name)
        if figure.convention == "macs":
            last_digit = Decimal(1).scaleb(int(Decimal(figure.printed).as_tuple().exponent))
            assert abs(Decimal(ours.macs) / 10**9 - Decimal(figure.printed)) < last_digit
        else:
            assert figure.value == pytest.approx((ours.macs - depthwise) / 1e9, rel=0.01)
        compared.add(figure.model)
    assert len(compared) == 8


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
    code = "import sys; from mixbench import published; published.load(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
