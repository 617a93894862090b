"""A second, literal formulation of what is easily wrong in each family: index by index, as the paper writes it."""

import importlib
from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from scipy.interpolate import BSpline
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from mixbench.zoo.layers import Reweight, RowColumnMLP, shift
from mixbench.zoo.registry import create_model


def part(family: str, name: str) -> Any:
    """A class or function of a family's file, which is not importable by mypy."""
    return getattr(importlib.import_module(f"mixbench.zoo.{family}"), name)


def close(a: Tensor, b: Tensor) -> bool:
    return torch.allclose(a, b, rtol=1e-9, atol=1e-11)


@pytest.fixture(autouse=True)
def float64() -> Any:
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def moved(x: Tensor, source: Callable[[int, int, int], tuple[int, int] | None]) -> Tensor:
    """x, B H W C, with each channel's position (h, w) read at `source(c, h, w)`; 0 for None."""
    out = torch.zeros_like(x)
    for h, w, c in product(*map(range, x.shape[1:])):
        at = source(c, h, w)
        if at is not None:
            out[:, h, w, c] = x[:, at[0], at[1], c]
    return out


@pytest.mark.parametrize(("first", "second"), [(1, 2), (2, 1)])
def test_the_spatial_shift_keeps_the_border_and_reads_what_was_there_before(first: int, second: int) -> None:
    x = torch.randn(2, 4, 5, 8)

    def source(c: int, h: int, w: int) -> tuple[int, int]:
        axis, by = ((first, 1), (first, -1), (second, 1), (second, -1))[c * 4 // 8]
        at = [h, w]
        at[axis - 1] = min(max(at[axis - 1] - by, 0), x.shape[axis] - 1)
        return at[0], at[1]

    assert close(part("s2mlp", "spatial_shift")(x, first, second), moved(x, source))


@pytest.mark.parametrize("by", [-9, -2, -1, 0, 1, 2, 9])
@pytest.mark.parametrize("axis", [1, 2])
def test_a_shift_leaves_zeros(by: int, axis: int) -> None:
    x = torch.randn(1, 4, 5, 3)

    def source(c: int, h: int, w: int) -> tuple[int, int] | None:
        at = [h, w]
        at[axis - 1] -= by
        return (at[0], at[1]) if 0 <= at[0] < 4 and 0 <= at[1] < 5 else None

    assert close(shift(x, by, axis), moved(x, source))


@pytest.mark.parametrize("axis", [1, 2])
def test_cycle_fc_is_a_deformable_convolution(axis: int) -> None:
    x, linear = torch.randn(2, 5, 4, 7), nn.Linear(7, 6)
    offset = torch.zeros(2, 14, 5, 4)
    for channel in range(7):
        offset[:, 2 * channel + (axis - 1)] = (channel + 1) % 3 - 1
    expected = deform_conv2d(x.permute(0, 3, 1, 2), offset, linear.weight[:, :, None, None], linear.bias)
    assert close(linear(part("cyclemlp", "cycled")(x, axis)), expected.permute(0, 2, 3, 1))


def test_permute_mlp_mixes_height_or_width_with_the_channels_of_a_segment() -> None:
    mixer = part("vip", "PermuteMLP")(12, 4)  # segments of 3 channels; maps of 4 × 4
    x = torch.randn(2, 4, 4, 12)
    parts = x.unflatten(3, (4, 3))
    by_h = torch.einsum("hspt,bpwnt->bhwns", mixer.mlp_h.weight.view(4, 3, 4, 3), parts).flatten(3)
    by_w = torch.einsum("wspt,bhpnt->bhwns", mixer.mlp_w.weight.view(4, 3, 4, 3), parts).flatten(3)
    assert close(mixer(x), mixer.merge(mixer.reweight(by_h, by_w, mixer.mlp_c(x))))


def test_the_branches_weights_are_stored_channel_by_channel() -> None:
    layer, branches = Reweight(8, (1, 2)), torch.randn(3, 2, 5, 4, 8)
    logits = layer.expand(layer.act(layer.reduce(branches.sum(0).mean((1, 2)))))  # B 24
    expected = torch.zeros(2, 5, 4, 8)
    for image, channel in product(range(2), range(8)):
        share = logits[image, 3 * channel : 3 * channel + 3].softmax(0)
        expected[image, ..., channel] = (share[:, None, None] * branches[:, image, ..., channel]).sum(0)
    assert close(layer(*branches), expected)


def test_hire_mlp_fills_up_its_regions_after_the_map_has_moved() -> None:
    mixer = part("hiremlp", "HireMixer")(6, region=3, step=2).eval()
    x = torch.randn(2, 6, 4, 5)

    def mixed(x: Tensor, mlp: Any) -> Tensor:  # along the rows of B C H W
        height = x.shape[2]
        rows = [(row - 2) % height for row in range(height)]
        rows += rows[: -height % 3]
        out = torch.zeros(*x.shape[:2], len(rows), x.shape[3])
        for first, column in product(range(0, len(rows), 3), range(x.shape[3])):
            region = x[:, :, rows[first : first + 3], column]  # B C 3
            out[:, :, first : first + 3, column] = mlp(region[..., None, None])[..., 0, 0]
        return torch.stack([out[:, :, (row + 2) % height] for row in range(height)], 2)

    h, w = mixed(x, mixer.h), mixed(x.mT, mixer.w).mT
    assert close(mixer(x), mixer.merge(mixer.reweight(h, w, mixer.channels(x))))


def test_a_wave_adds_two_neighbours_of_the_cosines_then_of_the_sines() -> None:
    layer = part("wavemlp", "PhaseAwareSum")(4, (1, 7), depthwise_phase=False).eval()
    x = torch.randn(2, 4, 3, 9)
    phase, amplitude = layer.phase(x), layer.amplitude(x)
    waves = torch.cat([amplitude * phase.cos(), amplitude * phase.sin()], 1)
    padded = nn.functional.pad(waves, (3, 3))
    expected = torch.zeros(2, 4, 3, 9)
    for out, which, tap in product(range(4), range(2), range(7)):
        expected[:, out] += layer.window.weight[out, which, 0, tap] * padded[:, 2 * out + which, :, tap : tap + 9]
    assert close(layer(x), expected)


def test_a_row_column_mlp_maps_rows_and_columns() -> None:
    layer, z = RowColumnMLP(3, 4), torch.randn(2, 3, 4, 4)
    w = torch.einsum("vw,bchw->bchv", layer.along_width.weight, z) + layer.along_width.bias
    h = torch.einsum("gh,bchw->bcgw", layer.along_height.weight, z) + layer.along_height.bias[:, None]
    assert close(layer(z), torch.einsum("dc,bchw->bdhw", layer.merge.weight[..., 0, 0], torch.cat([z, w, h], 1)))


def test_spachs_heads_are_as_many_in_every_stage_and_attend_to_all_tokens() -> None:
    model = create_model("spach_trans_ms_s", dim=6, stages=("attention*1",) * 3, image_size=32)
    layers: list[Any] = [module for module in model.modules() if type(module).__name__ == "Attention"]
    assert [layer.heads for layer in layers] == [3, 3, 3]
    for layer, dim in zip(layers, (6, 12, 24), strict=True):
        x = torch.randn(2, 5, dim)
        q, k, v = layer.qkv(x).chunk(3, 2)
        width, heads = dim // 3, []
        for first in range(0, dim, width):
            own = slice(first, first + width)
            heads.append((q[..., own] @ k[..., own].mT / width**0.5).softmax(2) @ v[..., own])
        assert close(layer(x), layer.proj(torch.cat(heads, 2)))


def test_axial_shift_moves_five_parts_and_fills_with_zeros() -> None:
    layer, x = part("asmlp", "AxialShift")(7, 5, True), torch.randn(2, 7, 6, 4)

    def source(c: int, h: int, w: int) -> tuple[int, int] | None:
        at = w - (c // 2 - 2)  # parts of 2, 2, 2 and 1 channels
        return (h, at) if 0 <= at < 4 else None

    assert close(layer.shifted(x, 3), moved(x.permute(0, 2, 3, 1), source).permute(0, 3, 1, 2))


def test_mix_shift_moves_in_a_circle_before_a_convolution_that_pads_with_zeros() -> None:
    block = part("msmlp", "MixShiftBlock")(5, (-2, -1, 0, 1, 2), (3, 3, 3, 3, 3), 4, 1e-6, 0.0)
    x = torch.randn(2, 6, 7, 5)
    expected = torch.zeros(2, 6, 7, 5)
    for channel, conv in enumerate(block.along_width):
        around = torch.zeros(2, 8, 9)
        for column in range(7):
            around[:, 1:7, column + 1] = x[:, :, (column - (channel - 2)) % 7, channel]
        for h, w, i, j in product(range(6), range(7), range(3), range(3)):
            expected[:, h, w, channel] += conv.proj.weight[0, 0, i, j] * around[:, h + i, w + j]
        expected[..., channel] += conv.proj.bias
    assert close(block.mixed(x, block.along_width, 2), expected)


@pytest.mark.parametrize("side", [4, 5])
def test_a_global_filter_is_a_circular_convolution(side: int) -> None:
    layer, x = part("gfnet", "GlobalFilter")(3, side), torch.randn(2, side, side, 3)
    nn.init.normal_(layer.weight)
    kernel = torch.fft.irfft2(torch.view_as_complex(layer.weight), s=(side, side), dim=(0, 1))  # H W C
    expected = torch.zeros_like(x)
    for h, w in product(range(side), range(side)):
        expected += kernel[h, w] * x.roll((h, w), (1, 2))
    assert close(layer(x), expected)


@pytest.mark.parametrize("dilated", [False, True])
def test_cs_mixer_mixes_the_tokens_of_a_table(dilated: bool) -> None:
    """Near groups are windows; the tokens of a far one are H/G rows and W/G columns apart."""
    mixer = part("csmixer", "CrossScaleMixer")(6, 2, 3, 2, dilated)
    nn.init.normal_(mixer.weight)
    x, mixed = torch.randn(2, 4, 6, 6), torch.zeros(2, 4, 6, 6)
    reduced = mixer.reduce(x).unflatten(3, (2, 3))  # B H W M D
    for u, v, head in product(range(2), range(3), range(2)):
        rows = (u, u + 2) if dilated else (2 * u, 2 * u + 1)
        columns = (v, v + 3) if dilated else (2 * v, 2 * v + 1)
        table = list(product(rows, columns))
        tokens = torch.cat([reduced[:, h, w, head] for h, w in table], 1)  # B 4D
        found = (tokens @ mixer.weight[head] + mixer.bias[head]).unflatten(1, (4, 3))
        for token, (h, w) in enumerate(table):
            mixed[:, h, w, 3 * head : 3 * head + 3] = found[:, token]
    assert close(mixer(x), mixer.merge(mixer.gate(x) * mixer.restore(mixed)))


def test_ramlp_maps_positions_far_apart_with_the_channels_of_a_run() -> None:
    layer = part("ramlp", "RegionMixing")(3, 6, 2, 3).eval()
    x, mapped = torch.randn(2, 4, 6, 3), torch.zeros(2, 4, 6, 6)
    local = layer.local(layer.expand(x))  # B H W E
    for u, v, run in product(range(2), range(3), range(2)):  # two rows are H/2 = 2 apart, two columns W/2 = 3
        places = list(product(range(3 * run, 3 * run + 3), (u, u + 2), (v, v + 3)))
        vector = torch.stack([local[:, h, w, channel] for channel, h, w in places], 1)  # B 12
        found = layer.regions(vector / 12)
        for index, (channel, h, w) in enumerate(places):
            mapped[:, h, w, channel] = found[:, index]
    small = (1 + layer.norm.eps) ** -0.5  # the running statistics are 0 and 1
    assert close(layer(x), layer.contract(mapped * small * layer.gate(x) * small))


def test_dynamixer_makes_one_matrix_of_a_row_for_each_head() -> None:
    layer, x = part("dynamixer", "DynamicMap")(6, 4, 3, 2), torch.randn(2, 5, 4, 6)
    expected, reduced = torch.zeros_like(x), layer.compress(x)
    for image, row, head in product(range(2), range(5), range(3)):
        logits = layer.generate(reduced[image, row, :, 2 * head : 2 * head + 2].flatten()).view(4, 4)
        own = slice(2 * head, 2 * head + 2)
        expected[image, row, :, own] = logits.softmax(0).T @ x[image, row, :, own]
    assert close(layer(x), layer.out(expected))


def test_the_pillars_of_a_caterpillar_come_from_four_neighbours() -> None:
    layer, x = part("caterpillar", "ShiftedPillars")(4).eval(), torch.randn(2, 4, 3, 5)
    around = nn.functional.pad(layer.act(layer.norm(x)), (1, 1, 1, 1))
    below, above = around[:, :, 2:, 1:-1], around[:, :, :-2, 1:-1]
    before, behind = around[:, :, 1:-1, :-2], around[:, :, 1:-1, 2:]
    pillars = [layer.down(below), layer.up(above), layer.left(before), layer.right(behind)]
    assert close(layer(x), layer.merge(torch.cat(pillars, 1)))


def test_a_strip_is_mapped_with_its_two_neighbours() -> None:
    layer, x = part("stripmlp", "StripMap")(3, 4), torch.randn(2, 6, 4, 4)
    expected = torch.zeros(2, 6, 4, 4)
    for channel, row in product(range(6), range(4)):
        own = slice(4 * (channel % 3), 4 * (channel % 3) + 4)  # channels 0 and 3 share a map
        for tap in range(3):
            if 0 <= row + tap - 1 < 4:
                strip = x[:, channel, row + tap - 1]  # B W
                expected[:, channel, row] += strip @ layer.map.weight[own, :, 0, tap].T
        expected[:, channel, row] += layer.map.bias[own]
    assert close(layer(x), expected)


def test_the_position_of_strips_depends_on_column_minus_row() -> None:
    layer, x = part("stripmlp", "StripMaps")(4, 3, groups=2).eval(), torch.randn(2, 4, 3, 3)
    places = [torch.zeros(4, 3, 3), torch.zeros(4, 3, 3)]
    for place, table in zip(places, (layer.position_h, layer.position_w), strict=True):
        for row, column in product(range(3), range(3)):
            place[:, row, column] = table[column - row + 3]
    rows = layer.act(layer.norm(layer.merge_h(torch.cat([layer.rows(x + places[0]), x], 1)))) + places[1]
    columns = layer.columns(rows.transpose(2, 3)).transpose(2, 3)
    assert close(layer(x), layer.merge_w(torch.cat([x, columns], 1)))


@pytest.mark.parametrize("axis", [1, 2])
def test_an_active_token_is_read_as_by_a_deformable_convolution(axis: int) -> None:
    x, linear, offsets = torch.randn(2, 5, 4, 6), nn.Linear(6, 6), 3 * torch.randn(2, 5, 4, 6)
    offsets[0, 0, 0, 0], offsets[0, 1, 0, 0] = 1e6, -1e6
    both = torch.zeros(2, 12, 5, 4)
    both[:, axis - 1 :: 2] = offsets.permute(0, 3, 1, 2)
    expected = deform_conv2d(x.permute(0, 3, 1, 2), both, linear.weight[:, :, None, None], linear.bias)
    assert close(linear(part("activemlp", "read")(x, offsets, axis)), expected.permute(0, 2, 3, 1))


def test_neighbouring_channels_share_an_offset_rows_first() -> None:
    mixer, x = part("activemlp", "ActiveMixer")(6, 4), torch.randn(2, 3, 4, 6)
    offsets, read = torch.randn(2, 3, 4, 3), part("activemlp", "read")
    w = read(x, offsets[..., [0, 0, 0, 0, 1, 1]], 2)
    h = read(x, offsets[..., [1, 1, 2, 2, 2, 2]], 1)
    parts = mixer.along_width(w), mixer.along_height(h), mixer.channels(x)
    assert close(mixer(x, offsets), mixer.merge(mixer.reweight(*parts)))


def test_a_window_is_mixed_by_gaussians_of_relative_positions() -> None:
    gate, x = part("posmlp", "PositionalGate")(6, 2, 3), torch.randn(2, 4, 6, 12)
    for parameter in gate.parameters():
        nn.init.normal_(parameter)
    expected = torch.zeros(2, 4, 6, 6)
    for row, column, channel in product(range(4), range(6), range(6)):
        top, left, m = row - row % 2, column - column % 2, channel % 3
        window = list(product(range(top, top + 2), range(left, left + 2)))
        inverse = gate.spreads[m] @ gate.spreads[m].T
        away = torch.tensor([[float(j - column), float(row - i)] for i, j in window]) - gate.centers[m]
        shares = (-0.5 * (away @ inverse * away).sum(1)).softmax(0)
        mixed = sum(share * x[:, i, j, channel] for share, (i, j) in zip(shares, window, strict=True))
        bias = gate.bias[0, window.index((row, column)), 0]
        expected[:, row, column, channel] = (mixed + bias) * x[:, row, column, 6 + channel]
    assert close(gate(x), expected)


def test_fourier_transforms_multiply_by_a_circulant_matrix_of_each_group() -> None:
    layer, x = part("ccsmixer", "Circulant")(7, 2), torch.randn(3, 7, 6)
    nn.init.normal_(layer.bias)
    expected = torch.zeros(3, 7, 6)
    for group in range(2):
        matrix = torch.zeros(7, 7)
        for row, column in product(range(7), range(7)):
            matrix[row, column] = layer.weight[group, (row - column) % 7]
        own = slice(3 * group, 3 * group + 3)
        expected[..., own] = torch.einsum("nm,bmc->bnc", matrix, x[..., own]) + layer.bias[group]
    assert close(layer(x), expected)


@pytest.mark.parametrize(("grid_size", "order"), [(5, 3), (3, 2), (4, 1)])
def test_splines_and_their_derivatives_equal_scipys(grid_size: int, order: int) -> None:
    layer = part("kanmixer", "KANLinear")(2, 3, grid_size, order).double()
    x = torch.linspace(-2.9, 2.9, 59).unsqueeze(1).repeat(1, 2).requires_grad_()  # knots reach at most to ±2.2
    splines = part("kanmixer", "b_splines")(x, layer.grid, order)  # 59 2 G+K
    for index in range(grid_size + order):
        knots = layer.grid[0, index : index + order + 2].numpy()
        of_scipy = BSpline.basis_element(knots, extrapolate=False)
        at = x[:, 0].detach().numpy()
        assert np.allclose(splines[:, 0, index].detach(), np.nan_to_num(of_scipy(at)), rtol=1e-9, atol=1e-12)
        (slope,) = torch.autograd.grad(splines[:, 0, index].sum(), x, retain_graph=True)
        expected = np.nan_to_num(of_scipy.derivative()(at))
        if order > 1:  # a piecewise linear one has no derivative at its knots
            assert np.allclose(slope[:, 0], expected, rtol=1e-9, atol=1e-9)
