"""Model names, overrides and their types, plugins, and the messages for wrong ones."""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from mixbench.errors import RequestError
from mixbench.zoo import registry

PLUGIN = """
from torch import Tensor, nn
from mixbench.zoo.registry import register_model

@register_model(variants={"plugged_in": dict(dim=4), "plugged_wide": dict(dim=8, num_classes=3)})
class Plugged(nn.Module):
    def __init__(self, dim: int, image_size: int = 32, in_chans: int = 3, num_classes: int = 10) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, num_classes)
"""


@pytest.fixture(autouse=True)
def same_models_afterwards() -> Iterator[None]:
    registry.list_models()
    before = dict(registry._entries)
    yield
    registry._entries.clear()
    registry._entries.update(before)


class Shaped(nn.Module):
    def __init__(self, dim: int = 2, image_size: int = 32, in_chans: int = 3, num_classes: int = 10) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("name", "overrides", "complaint"),
    [
        ("splitmixer_i_256_8", {"ratio": 0.4}, "ratio is 2/5, it must be at least 1/2 and below 1"),
        ("splitmixer_i_256_8", {"ratio": 1}, "ratio is 1, it must be at least 1/2 and below 1"),
        ("splitmixer_iii_256_8", {"ratio": "0.4999"}, "it must be at least 1/2 and below 1"),
        ("splitmixer_i_256_8", {"ratio": "x"}, 'ratio: "x" does not fit (a fraction is a number such as 2/3 or 0.6)'),
        ("splitmixer_i_256_8", {"ratio": "1/0"}, 'ratio: "1/0" does not fit (a fraction is a number'),
        ("splitmixer_i_256_8", {"ratio": True}, "ratio: true does not fit (a fraction is a number"),
        ("splitmixer_i_256_8", {"ratio": float("nan")}, "ratio: NaN does not fit (a fraction is a number"),
        ("splitmixer_i_256_8", {"ratio": None}, "ratio: null does not fit (a fraction is a number"),
        ("splitmixer_i_256_8", {"dim": 1}, "dim is 1, two parts need at least 2 channels"),
        (
            "splitmixer_iii_256_8",
            {"num_segments": 3},
            "num_segments 3 does not divide dim 256; the nearest that do: 1, 2, 4",
        ),
        ("splitmixer_ii_256_8", {"num_segments": 0}, "num_segments is 0, it must be at least 1"),
        ("splitmixer_ii_256_8", {"num_segments": 257}, "num_segments 257 is more than there are channels: dim is 256"),
        ("splitmixer_iv_256_8", {"num_segments": 9, "dim": 8}, "num_segments 9 is more than there are channels"),
        ("splitmixer_ii_256_8", {"num_segments": "2"}, 'num_segments: "2" does not fit (a whole number is wanted'),
        (
            "splitmixer_i_256_8",
            {"channel_mixing": "VI"},
            "channel_mixing: \"VI\" does not fit (it must be 'I', 'II', 'III', 'IV', 'V' or 'full')",
        ),
        (
            "splitmixer_i_256_8",
            {"patch_size": 5},
            "patch_size 5 does not divide image_size 32; the nearest that do: 2, 4, 8",
        ),
        ("mixer_s16", {"image_size": 230}, "patch_size 16 does not divide image_size 230; the nearest"),
        ("resmlp_s12", {"patch_size": 0}, "patch_size is 0, it must be at least 1"),
        ("resmlp_s12", {"drop_path": 1.0}, "drop_path is 1.0, it must be at least 0 and below 1"),
        ("resmlp_s12", {"layer_scale": float("inf")}, "layer_scale is inf, it must be a finite number"),
        ("stridemixer_iii_256_8", {"num_segments": 5}, "num_segments 5 does not divide dim 256; the nearest"),
        ("stridemixer_i_256_8", {"dim": 9}, "dim is 9, windows I needs an even one"),
        ("stridemixer_i_256_8", {"ratio": "1/3"}, "ratio is 1/3, it must be at least 1/2 and below 1"),
        ("convmixer_256_8", {"kernel_size": 0}, "kernel_size is 0, it must be at least 1"),
        ("convmixer_256_8", {"depth": -1}, "depth is -1, it must be at least 1"),
        ("convmixer_256_8", {"dim": 2.5}, "dim: 2.5 does not fit"),
        ("convmixer_256_8", {"dim": True}, "dim: true does not fit"),
        ("convmixer_256_8", {"num_classes": 0}, "num_classes is 0, it must be at least 1"),
        ("convmixer_256_8", {"kernel": 3}, "convmixer_256_8 has no argument 'kernel' (did you mean kernel_size?)"),
        ("mixer_b16", {"ratio": "2/3"}, "mixer_b16 has no argument 'ratio' (choose from dim, depth, patch_size"),
        ("splitmixer_256_8", {}, "no model is called 'splitmixer_256_8' (did you mean splitmixer_"),
    ],
)
def test_a_wrong_request_is_refused_and_says_what_would_be_right(
    name: str, overrides: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(RequestError) as refused:
        registry.create_model(name, **overrides)
    assert complaint in str(refused.value)
    assert name in str(refused.value)


@pytest.mark.parametrize("written", [0.6, "0.6", "3/5", Fraction(3, 5)])
def test_a_ratio_may_be_written_as_a_fraction_or_a_decimal(written: Any) -> None:
    assert registry.resolve("splitmixer_i_256_8", {"ratio": written})["ratio"] == Fraction(3, 5)


def test_arguments_are_complete_and_in_the_classes_order() -> None:
    arguments = registry.resolve("splitmixer_i_768_32", {"depth": 2})
    assert list(arguments)[:4] == ["dim", "depth", "kernel_size", "patch_size"]
    assert (arguments["depth"], arguments["act"], arguments["ratio"]) == (2, "relu", Fraction(2, 3))
    assert (arguments["image_size"], arguments["in_chans"], arguments["num_classes"]) == (224, 3, 1000)


def test_names_are_listed_by_pattern_in_order() -> None:
    roman = ["splitmixer_i_256_8", "splitmixer_ii_256_8", "splitmixer_iii_256_8"]
    assert registry.list_models("splitmixer_*_256_8") == [*roman, "splitmixer_iv_256_8", "splitmixer_v_256_8"]
    assert registry.list_models("nothing*") == []
    assert registry.list_models() == sorted(registry.list_models()) and len(registry.list_models()) >= 28
    assert registry.is_model("mixer_b16") and not registry.is_model("mixer_b17")


def test_families_have_the_names_that_users_read() -> None:
    families = {registry.find(name).family for name in registry.list_models()}
    assert {"SplitMixer", "StrideMixer", "ConvMixer", "MLP-Mixer", "ResMLP"} <= families


def test_a_name_is_registered_once_only() -> None:
    registry.register_model(variants={"shaped": {}})(Shaped)
    with pytest.raises(ValueError, match="'shaped' is registered twice"):
        registry.register_model(variants={"shaped": {}})(Shaped)


def test_a_variant_with_an_argument_that_its_class_lacks_is_refused() -> None:
    with pytest.raises(ValueError, match="model 'shaped': Shaped has no argument 'width'"):
        registry.register_model(variants={"shaped": {"width": 3}})(Shaped)
    assert not registry.is_model("shaped")


def test_a_class_without_the_datasets_arguments_is_refused() -> None:
    class Bare(nn.Module):
        def __init__(self, image_size: int = 32, num_classes: int = 10) -> None:
            super().__init__()

    with pytest.raises(ValueError, match="Bare has no argument 'in_chans', which every model takes"):
        registry.register_model(variants={"bare": {}})(Bare)


def test_a_plugin_registers_its_models_once(tmp_path: Path) -> None:
    path = tmp_path / "it's a plugin.py"
    path.write_text(PLUGIN)
    registry.load_plugin(path)
    registry.load_plugin(tmp_path / "." / path.name)
    assert registry.list_models("plugged_*") == ["plugged_in", "plugged_wide"]
    assert registry.find("plugged_in").family == "Plugged"
    assert registry.create_model("plugged_in", num_classes=7).get_submodule("linear").out_features == 7


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        (PLUGIN + "\nraise KeyError('x')", "raises KeyError: 'x'"),
        (PLUGIN.replace("plugged_wide", "mixer_b16"), "raises ValueError: model 'mixer_b16' is registered twice"),
        ("def (", "raises SyntaxError"),
    ],
)
def test_a_plugin_that_raises_leaves_nothing_behind(tmp_path: Path, code: str, complaint: str) -> None:
    path = tmp_path / "plugin.py"
    path.write_text(code)
    for _ in range(2):
        with pytest.raises(RequestError) as refused:
            registry.load_plugin(path)
        assert f"plugin {path} {complaint}" in str(refused.value)
        assert not registry.is_model("plugged_in")


def test_a_plugin_that_is_missing_or_not_a_python_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no plugin file at"):
        registry.load_plugin(tmp_path / "none.py")
    (tmp_path / "plugin.txt").write_text("")
    with pytest.raises(RequestError, match=r"is not a Python file"):
        registry.load_plugin(tmp_path / "plugin.txt")
