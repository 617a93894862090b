"""Exact counts: against golden numbers, closed forms, and models that can be counted by hand."""

import copy
import csv
import json
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import deform_conv2d

from mixbench.errors import TrialError
from mixbench.measure import complexity
from mixbench.report.formats.csv import csv as csv_text
from mixbench.report.formats.markdown import markdown
from mixbench.results.tables import tables
from mixbench.run.parts import Complexity
from mixbench.suite.trial import Trial
from mixbench.zoo.registry import create_model, find, list_models
from tests import fake_runs
from tests.trials import SMALL, plan_trials

ODD = str(Path(__file__).with_name("odd_models.py"))
GOLDEN = Path(__file__).parent / "golden" / "counts.csv"


native = cache(complexity.native)


def count(name: str, **overrides: Any) -> Complexity:
    if not overrides:
        return native(name)
    with torch.device("meta"):
        model = create_model(name, **overrides)
    arguments = find(name).arguments | overrides
    return complexity.count(model, arguments["image_size"], arguments["in_chans"], ptflops=False)


def golden_rows() -> Iterator[Any]:
    with GOLDEN.open(newline="") as file:
        for row in csv.DictReader(file):
            yield pytest.param(row, id=f"{row['model']}[{row['overrides']}]-{row['num_classes']}")


@pytest.mark.parametrize("row", list(golden_rows()))
def test_counts_equal_those_of_the_authors_code(row: dict[str, str]) -> None:
    overrides = {key: int(value) for key, value in (pair.split("=") for pair in row["overrides"].split(",") if pair)}
    shape = {"image_size": int(row["image_size"]), "num_classes": int(row["num_classes"])}
    counted = count(row["model"], **overrides, **shape)
    assert (counted.params, counted.macs) == (int(row["params"]), int(row["macs"]))


def conv_family(
    mixers: list[list[tuple[int, int, int, int]]],
    *,
    dim: int = 256,
    kernel_size: int = 5,
    patch_size: int = 2,
    image_size: int = 32,
    num_classes: int = 10,
    spatial: str = "split",
) -> tuple[int, int]:
    """Params and MACs of SplitMixer's relatives; a block's mixer: maps (inputs, outputs, weight sets, uses)."""
    positions = (image_size // patch_size) ** 2
    norm = 2 * dim
    taps = [kernel_size, kernel_size] if spatial == "split" else [kernel_size**2]
    params = 3 * patch_size**2 * dim + dim + norm + num_classes * (dim + 1)
    macs = positions * 3 * patch_size**2 * dim + num_classes * dim
    for mixer in mixers:
        params += sum(dim * tap + dim + norm for tap in taps) + norm
        params += sum(sets * (inputs + 1) * outputs for inputs, outputs, sets, _ in mixer)
        macs += positions * sum(dim * tap for tap in taps)
        macs += positions * sum(uses * inputs * outputs for inputs, outputs, _, uses in mixer)
    return params, macs


def one(width: int, uses: int = 1) -> tuple[int, int, int, int]:
    return width, width, 1, uses


def mlp_mixer(dim: int, depth: int, patch: int, token_dim: int, channel_dim: int, image: int) -> tuple[int, int]:
    tokens, patch_inputs = (image // patch) ** 2, 3 * patch**2
    mlp_weights = 2 * tokens * token_dim, 2 * dim * channel_dim
    biases = tokens + token_dim + dim + channel_dim
    params = patch_inputs * dim + dim + depth * (sum(mlp_weights) + biases + 4 * dim) + 2 * dim + 1000 * (dim + 1)
    macs = tokens * patch_inputs * dim + depth * (dim * mlp_weights[0] + tokens * mlp_weights[1]) + 1000 * dim
    return params, macs


def resmlp(dim: int, depth: int, patch: int) -> tuple[int, int]:
    tokens, patch_inputs = (224 // patch) ** 2, 3 * patch**2
    block = tokens * (tokens + 1) + 8 * dim**2 + 5 * dim + 6 * dim
    params = patch_inputs * dim + dim + depth * block + 2 * dim + 1000 * (dim + 1)
    macs = tokens * patch_inputs * dim + depth * (dim * tokens**2 + tokens * 8 * dim**2) + 1000 * dim
    return params, macs


BIG = {"kernel_size": 9, "patch_size": 14, "image_size": 224, "num_classes": 1000}
CLOSED_FORMS: list[tuple[str, dict[str, Any], tuple[int, int]]] = [
    ("splitmixer_i_256_8", {"ratio": Fraction(3, 5)}, conv_family([[one(153)]] * 8)),
    ("splitmixer_i_256_8", {"ratio": Fraction(4, 7), "depth": 3}, conv_family([[one(146)]] * 3)),
    ("splitmixer_i_256_8", {"ratio": Fraction(1, 2)}, conv_family([[one(128)]] * 8)),
    ("splitmixer_v_256_8", {"ratio": Fraction(5, 9)}, conv_family([[one(142), one(142)]] * 8)),
    ("splitmixer_ii_256_8", {"num_segments": 6}, conv_family([[one(42 + 4 * (i % 6 == 5))] for i in range(8)])),
    ("splitmixer_ii_256_8", {"num_segments": 5}, conv_family([[one(51 + (i % 5 == 4))] for i in range(8)])),
    ("splitmixer_iii_256_8", {"num_segments": 8}, conv_family([[one(32, uses=8)]] * 8)),
    ("splitmixer_iv_256_8", {"num_segments": 5}, conv_family([[one(51)] * 4 + [one(52)]] * 8)),
    ("splitmixer_i_256_8", {"channel_mixing": "full"}, conv_family([[one(256)]] * 8)),
    ("splitmixer_i_256_8", {"spatial_mixing": "full"}, conv_family([[one(170)]] * 8, spatial="full")),
    ("splitmixer_iii_256_8", {"spatial_mixing": "full"}, conv_family([[one(128, uses=2)]] * 8, spatial="full")),
    (
        "splitmixer_v_256_8",
        {"channel_mixing": "full", "spatial_mixing": "full"},
        conv_family([[one(256)]] * 8, spatial="full"),
    ),
    ("stridemixer_i_256_8", {}, conv_family([[(170, 128, 1, 2)]] * 8)),
    ("stridemixer_i_256_8", {"ratio": Fraction(3, 4)}, conv_family([[(192, 128, 1, 2)]] * 8)),
    ("stridemixer_iii_256_8", {"num_segments": 16}, conv_family([[one(16, uses=16)]] * 8)),
    ("convmixer_256_8", {"depth": 5, "dim": 60}, conv_family([[one(60)]] * 5, dim=60, spatial="full")),
    ("convmixer_1024_20_ks9_p14", {}, conv_family([[one(1024)]] * 20, dim=1024, spatial="full", **BIG)),
    ("mixer_l32", {}, mlp_mixer(1024, 24, 32, 512, 4096, 224)),
    ("mixer_h14", {}, mlp_mixer(1280, 32, 14, 640, 5120, 224)),
    ("mixer_h14", {"image_size": 448}, mlp_mixer(1280, 32, 14, 640, 5120, 448)),
    ("resmlp_s36", {}, resmlp(384, 36, 16)),
    ("resmlp_b24", {}, resmlp(768, 24, 16)),
]


@pytest.mark.parametrize(("name", "overrides", "expected"), CLOSED_FORMS, ids=lambda value: str(value).replace(" ", ""))
def test_counts_equal_the_closed_form(name: str, overrides: dict[str, Any], expected: tuple[int, int]) -> None:
    counted = count(name, **overrides)
    assert (counted.params, counted.macs) == expected


@pytest.mark.parametrize("name", list_models())
def test_the_rows_sum_to_the_totals(name: str) -> None:
    counted = count(name)
    assert sum(layer.params for layer in counted.layers) == counted.params
    assert sum(layer.macs for layer in counted.layers) == counted.macs
    assert counted.macs
    assert len({layer.name for layer in counted.layers}) == len(counted.layers)
    assert counted.uncounted == (["aten._fft_c2r", "aten._fft_r2c"] if find(name).family in ("GFNet", "CCS") else [])


def test_the_shipped_table_is_a_fresh_count_of_every_model() -> None:
    shipped = complexity.complexity_file().read_text()
    assert shipped == complexity.zoo_table(native), "run python -m mixbench.measure.complexity"
    table = json.loads(shipped)
    assert set(list_models("*_256_8")) <= set(table)
    assert table["splitmixer_i_256_8"] == {
        "family": "SplitMixer",
        "image_size": 32,
        "num_classes": 10,
        "paper": "arXiv:2207.10255",
        "params": 275834,
        "macs": 65219072,
        "reconstruction": False,
    }


@pytest.mark.parametrize(
    ("name", "millions"),
    [
        ("convmixer_256_8", 152.636),
        ("splitmixer_i_256_8", 71.838),
        ("splitmixer_ii_256_8", 46.205),
        ("splitmixer_iii_256_8", 79.760),
        ("splitmixer_iv_256_8", 79.760),
    ],
)
def test_the_rows_suffice_for_the_splitmixer_authors_convention(name: str, millions: float) -> None:
    """They add 1 per output element of a convolution or channel mixer, 1 of a GELU, 2 of a BatchNorm, the pool's
    inputs and the head's bias; a BatchNorm follows each mixer and GELU."""
    counted = count(name)
    elements = sum(prod(layer.output_shape) for layer in counted.layers if layer.type == "BatchNorm2d")
    assert counted.macs is not None
    pooled = sum(prod(layer.input_shape) for layer in counted.layers if layer.type == "AdaptiveAvgPool2d")
    assert round((counted.macs + 4 * elements + pooled + 10) / 1e6, 3) == millions


def prod(shape: list[int]) -> int:
    return int(torch.Size(shape).numel())


class Hand(nn.Module):
    """A shared layer, a parameter of its own, a product of activations, a layer that is never used."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, padding=1, groups=2)
        self.twice = nn.Linear(4, 4, bias=False)
        self.same = self.twice
        self.weight = nn.Parameter(torch.ones(3, 4))
        self.idle = nn.Linear(2, 3)

    def forward(self, x: Tensor) -> Tensor:  # 1 2 4 4
        x = self.conv(x).flatten(2).mT  # 1 16 4
        x = self.same(self.twice(x)) @ x.mT  # 1 16 16
        return (x.mean(2)[:, :4] @ self.weight.T).relu()  # 1 3


def test_a_model_is_counted_as_by_hand() -> None:
    counted = complexity.count(Hand(), image_size=4, in_chans=2)
    conv, linear, own = 16 * 4 * 9, 2 * 16 * 4 * 4, 16 * 16 * 4 + 4 * 3
    rows = {layer.name: (layer.type, layer.params, layer.macs) for layer in counted.layers}
    assert rows == {
        "": ("Hand", 12, own),
        "conv": ("Conv2d", 40, conv),
        "twice": ("Linear", 16, linear),
        "idle": ("Linear", 9, 0),
    }
    assert (counted.params, counted.macs) == (77, conv + linear + own)
    assert counted.activations == 4 * 16 + 2 * 16 * 4 + 16 * 16 + 3
    shapes = {layer.name: (layer.input_shape, layer.output_shape) for layer in counted.layers}
    assert shapes["conv"] == ([2, 4, 4], [4, 4, 4]) and shapes["twice"] == ([16, 4], [16, 4])
    assert shapes[""] == ([2, 4, 4], [3]) and shapes["idle"] == ([], [])


class Attends(nn.Module):
    """No parameters of its own, a child, and a product of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.project(x.flatten(2).mT)  # 1 N 3
        return (tokens @ tokens.mT).mean(2)


def test_a_product_between_layers_belongs_to_the_module_that_computes_it() -> None:
    counted = complexity.count(nn.Sequential(Attends()), image_size=2, in_chans=3)
    assert [(layer.name, layer.macs) for layer in counted.layers] == [("0", 4 * 4 * 3), ("0.project", 4 * 9)]


class Exotic(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3, 3, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = deform_conv2d(x, torch.zeros(1, 18, *x.shape[2:], device=x.device), self.weight, padding=1)
        x = torch.fft.irfft(torch.fft.rfft(x))
        return nn.functional.interpolate(x, scale_factor=2, mode="bilinear").sigmoid().mean((2, 3))


def test_an_operator_that_no_counter_knows_is_named() -> None:
    counted = complexity.count(Exotic(), image_size=8, in_chans=3)
    assert counted.macs == 0
    assert counted.uncounted == ["aten._fft_c2r", "aten._fft_r2c", "torchvision.deform_conv2d"]


@pytest.mark.parametrize(
    ("transform", "flops"),
    [
        (lambda x: torch.fft.rfft(x), 12 * 2.5 * 4 * 2),  # 3 × 4 rows of 4 real values, log₂ 4 = 2
        (lambda x: torch.fft.rfft2(x), 3 * 2.5 * 16 * 4),
        (lambda x: torch.fft.fft2(x), 3 * 5 * 16 * 4),
        (lambda x: torch.fft.irfft2(torch.fft.rfft2(x)), 2 * 3 * 2.5 * 16 * 4),
    ],
)  # fmt: skip
def test_fourier_transforms_cost_what_fftw_says_and_no_macs(
    transform: Callable[[Tensor], Tensor], flops: float
) -> None:
    counted = computed(lambda m, x: transform(x))
    assert (counted.fft_flops, counted.macs) == (flops, 0)


def test_the_fourier_transforms_of_gfnet() -> None:
    """12 blocks of 384 channels on 14 × 14 tokens, to and fro."""
    assert count("gfnet_xs").fft_flops == 12 * 2 * round(384 * 2.5 * 196 * math.log2(196))


class Computes(nn.Module):
    """A function of the images and of its own modules and weights."""

    def __init__(self, function: Callable[..., Tensor], **parts: Any):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part if isinstance(part, nn.Module) else nn.Parameter(torch.zeros(part)))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


@torch.library.custom_op("mixbench_test::product", mutates_args=())
def product(x: Tensor) -> Tensor:
    return x @ x


@product.register_fake
def _(x: Tensor) -> Tensor:
    return torch.empty_like(x)


def computed(function: Callable[..., Tensor], **parts: Any) -> Complexity:
    return complexity.count(Computes(function, **parts), image_size=4, in_chans=3, ptflops=False)


@pytest.mark.parametrize(
    ("function", "parts", "macs"),
    [
        (lambda m, x: torch.addbmm(m.b, x[0], m.w), {"b": (4, 5), "w": (3, 4, 5)}, 3 * 4 * 4 * 5),
        (lambda m, x: torch.empty_like(m.b).addbmm_(x[0], m.w), {"b": (4, 5), "w": (3, 4, 5)}, 3 * 4 * 4 * 5),
        (lambda m, x: torch.empty_like(m.b).baddbmm_(x[0], m.w), {"b": (3, 4, 5), "w": (3, 4, 5)}, 3 * 4 * 4 * 5),
        (lambda m, x: torch.empty_like(m.b).addmm_(x[0, 0], m.w), {"b": (4, 5), "w": (4, 5)}, 4 * 4 * 5),
        (lambda m, x: x[0, 0].mv(m.w), {"w": (4,)}, 4 * 4),
        (lambda m, x: torch.addmv(m.w, x[0, 0], m.w), {"w": (4,)}, 4 * 4),
        (lambda m, x: x[0, 0, 0] @ m.w, {"w": (4,)}, 4),
        (lambda m, x: torch.addr(m.b, x[0, 0, 0], m.w), {"b": (4, 5), "w": (5,)}, 4 * 5),
        (lambda m, x: torch.conv_tbc(x[0], m.w, m.b), {"w": (2, 4, 6), "b": (6,)}, 2 * 4 * 2 * 4 * 6),
        (lambda m, x: m.b(x[0, 0, 0, :3], x[0, 0, 0]), {"b": nn.Bilinear(3, 4, 5)}, 5 * 3 * 4 + 5 * 4),
        (lambda m, x: m.b(x[..., :3], x), {"b": nn.Bilinear(3, 4, 5)}, 3 * 4 * (5 * 3 * 4 + 5 * 4)),
        (lambda m, x: torch.einsum("bi,kij,bj->bk", x[0, 0, :, :3], m.w, x[0, 0]), {"w": (5, 3, 4)}, 4 * 5 * (12 + 4)),
        (lambda m, x: m.l(x[0])[0], {"l": nn.LSTM(4, 5, batch_first=True)}, 3 * 4 * 4 * 5 * (4 + 5)),
    ],
)
def test_products_of_all_kinds_are_counted(function: Callable[..., Tensor], parts: dict[str, Any], macs: int) -> None:
    counted = computed(function, **parts)
    assert (counted.macs, counted.uncounted) == (macs, [])
    assert counted.activations


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda m, x: torch.cdist(x[0], x[0]), "aten._cdist_forward"),
        (lambda m, x: torch.linalg.inv(x), "aten.linalg_inv_ex"),
        (lambda m, x: torch.matrix_exp(x), "aten.linalg_matrix_exp"),
        (lambda m, x: product(x), "mixbench_test.product"),
    ],
)
def test_whatever_is_not_known_to_be_cheap_is_named(function: Callable[..., Tensor], operator: str) -> None:
    assert computed(function).uncounted == [operator]


def test_cheap_operators_are_not_named() -> None:
    layers: list[nn.Module] = [
        nn.BatchNorm2d(3), nn.GroupNorm(1, 3), nn.LayerNorm(4), nn.InstanceNorm2d(3), nn.RMSNorm(4), nn.Dropout(),
        nn.LocalResponseNorm(2), nn.PReLU(), nn.GELU(), nn.RReLU(), nn.LogSigmoid(), nn.Hardswish(), nn.Softmax2d(),
        nn.ReflectionPad2d(2), nn.MaxPool2d(2), nn.PixelShuffle(1), nn.Upsample(scale_factor=2, mode="bilinear"),
        nn.LPPool2d(2, 2), nn.AdaptiveMaxPool2d(4), nn.AdaptiveAvgPool2d(4), nn.Unfold(2), nn.GLU(1),
    ]  # fmt: skip
    counted = complexity.count(nn.Sequential(*layers), image_size=4, in_chans=3, ptflops=False)
    assert (counted.macs, counted.uncounted) == (0, [])


def test_what_is_not_counted_is_a_flag_of_the_trial(tmp_path: Path) -> None:
    counts: dict[str, Any] = dict(params=5, macs_ptflops=None, activations=1, layers=[])
    exotic = Complexity(**counts, macs=7, uncounted=["aten._fft_c2c", "mine.mix"])
    depends = Complexity(**counts, macs=None, not_counted="RuntimeError: it depends")
    records = [fake_runs.done(fake_runs.trial(name), 90.0) for name in ("exotic", "depends")]
    for record, part in zip(records, (exotic, depends), strict=True):
        record.add_complexity(part)
    assert (records[1].macs, records[1].flops) == (None, None)
    run = fake_runs.write_run(tmp_path, [record.details.trial for record in records], records)
    shown = [[str(flag) for flag in record.flags] for record in tables(run).records]
    assert shown == [
        ["operators not counted: aten._fft_c2c, mine.mix"],
        ["MACs not counted: RuntimeError: it depends"],
    ]
    assert "operators not counted" in markdown(tables(run)) and "MACs not counted" in csv_text(tables(run).summary)
    assert all("not_counted" in run.record_file(record.trial_id).read_text() for record in records)


@pytest.mark.parametrize("name", ["depends", "depends_more"])
def test_a_model_whose_work_depends_on_its_images_has_parameters_and_no_macs(name: str, tmp_path: Path) -> None:
    [trial] = plan_trials(tmp_path, models=[name], plugins=[ODD])
    assert complexity.macs_of(trial) is None
    if name == "depends_more":
        with pytest.raises(TrialError, match=r"forward must return B × num_classes \(1 × 10\); it returned 1 × 1000"):
            complexity.profile_of(trial)
        return
    counted = complexity.profile_of(trial)
    assert (counted.params, counted.macs, counted.activations, counted.macs_ptflops) == (650, None, None, None)
    assert [(layer.name, layer.params) for layer in counted.layers] == [("head", 650)]
    assert "meta" in counted.not_counted


def test_an_error_of_the_model_is_none_of_counting(tmp_path: Path) -> None:
    [trial] = plan_trials(tmp_path, models=["mismatched"], plugins=[ODD])
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        complexity.profile_of(trial)


@pytest.mark.parametrize("name", ["mixer_nano4", "splitmixer_iii_256_8"])
def test_counting_does_not_change_the_model(name: str) -> None:
    torch.manual_seed(0)
    model = create_model(name).train()
    model.get_submodule("blocks.0").eval()
    modes = [module.training for module in model.modules()]
    before = copy.deepcopy(model.state_dict())
    complexity.count(model, 32, 3)
    assert [module.training for module in model.modules()] == modes
    assert all(not tensor.is_meta and torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_counting_copies_no_weights() -> None:
    model = create_model("mixer_nano4")
    twin = complexity._zeroed_copy(model, torch.device("meta"))
    assert all(tensor.is_meta for tensor in twin.state_dict().values())
    assert [tensor.shape for tensor in twin.state_dict().values()] == [t.shape for t in model.state_dict().values()]


@pytest.mark.parametrize("name", [*list_models("*_256_8"), "mixer_nano4", "resmlp_s12", "convmixer_768_32"])
def test_ptflops_agrees_within_five_percent(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    counted = complexity.profile(name)
    assert counted.macs_ptflops is not None and counted.macs_ptflops != counted.macs
    assert counted.macs_ptflops == pytest.approx(counted.macs, rel=0.05)
    assert capsys.readouterr() == ("", "")


def test_ptflops_is_left_out_of_a_model_beyond_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(complexity, "PTFLOPS_MACS_LIMIT", 75891967)
    counted = complexity.profile("mixer_nano4")
    assert (counted.macs, counted.macs_ptflops) == (75891968, None)


class OnMetaOnly(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta:
            raise RuntimeError("not here")
        out: Tensor = self.linear(x.mean((2, 3)))
        return out


def test_if_ptflops_fails_its_figure_is_empty_and_nothing_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    counted = complexity.count(OnMetaOnly(), image_size=4, in_chans=3)
    assert (counted.macs, counted.macs_ptflops) == (6, None)
    assert capsys.readouterr() == ("", "")


def test_profile_takes_what_create_model_takes() -> None:
    counted = complexity.profile("splitmixer_i_256_8", ratio="3/5", num_classes=7, in_chans=1, image_size=16)
    model = create_model("splitmixer_i_256_8", ratio="3/5", num_classes=7, in_chans=1, image_size=16)
    assert counted.params == sum(parameter.numel() for parameter in model.parameters())
    assert counted.layers[0].input_shape == [1, 16, 16] and counted.layers[-1].output_shape == [7]


@pytest.mark.parametrize(("name", "of_two"), [("posmlp_t", 5_116_236_160), ("posmlp_b", 18_466_466_944)])
def test_maps_made_of_weights_alone_are_counted_for_one_image(name: str, of_two: int) -> None:
    """PosMLP's maps are made once a batch; the authors' code, run on two images, gives an image half of their cost."""
    with torch.device("meta"):
        model = create_model(name).eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model(torch.empty(2, 3, 224, 224))
    assert counter.get_total_flops() // 4 == of_two
    maps = 2 * 8 + 2 * 16 + 18 * 32, 2 * 64  # in windows of 14 × 14 and of 7 × 7
    once = sum(maps) * 2**3 + 5 * (maps[0] * 14**4 + maps[1] * 7**4)
    assert complexity.profile(name).macs == of_two + once // 2


def test_trials_of_one_network_are_counted_once(tmp_path: Path) -> None:
    trials = plan_trials(tmp_path, seeds=[0, 1], models=[SMALL["mixer"], SMALL["convmixer"]])
    counted = []

    def count_one(trial: Trial) -> int | None:
        counted.append(trial.label)
        return complexity.macs_of(trial)

    macs = complexity.once_each(count_one)
    assert [macs(trial) for trial in trials] == [complexity.profile_of(trial).macs for trial in trials]
    assert len(trials) == 4 and len(counted) == len(set(counted)) == 2
    assert complexity.params_of(trials[0]) == complexity.profile_of(trials[0]).params
