"""SplitMixer and StrideMixer against a second, deliberately literal formulation."""

import itertools
import warnings
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mixbench.zoo.registry import create_model

SMALL = {"dim": 12, "depth": 3, "kernel_size": 3, "patch_size": 2, "image_size": 16, "num_classes": 5}
ODD = {"dim": 11, "depth": 4, "kernel_size": 5, "patch_size": 3, "image_size": 21, "num_classes": 3, "in_chans": 1}
CASES: list[dict[str, Any]] = [
    {"channel_mixing": "I", **SMALL},
    {"channel_mixing": "I", "ratio": Fraction(1, 2), **SMALL},
    {"channel_mixing": "I", "ratio": Fraction(6, 11), **ODD},
    {"channel_mixing": "II", **SMALL},
    {"channel_mixing": "II", "num_segments": 3, **ODD},
    {"channel_mixing": "II", "num_segments": 1, **SMALL},
    {"channel_mixing": "III", "num_segments": 4, **SMALL},
    {"channel_mixing": "III", "num_segments": 11, **ODD},
    {"channel_mixing": "IV", **SMALL},
    {"channel_mixing": "IV", "num_segments": 4, **ODD},
    {"channel_mixing": "V", **SMALL},
    {"channel_mixing": "V", "ratio": Fraction(3, 4), **ODD},
    {"channel_mixing": "full", **SMALL},
    {"channel_mixing": "I", "spatial_mixing": "full", **ODD},
    {"channel_mixing": "full", "spatial_mixing": "full", "act": "relu", **SMALL},
    {"channel_mixing": "IV", "act": "relu", **SMALL},
    {"channel_mixing": "I", **SMALL, "kernel_size": 4},
]


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("arguments", CASES, ids=lambda case: "-".join(map(str, case.values())))
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_splitmixer_equals_its_literal_formulation(arguments: dict[str, Any], training: bool) -> None:
    model = randomised("splitmixer_i_256_8", training, **arguments)
    weights = {key: value.detach().clone().requires_grad_(value.is_floating_point()) for key, value in tensors(model)}
    images = torch.randn(3, arguments.get("in_chans", 3), arguments["image_size"], arguments["image_size"]).double()

    ours, literal = model(images), literal_splitmixer(iter(weights.values()), images, training, **arguments)
    assert close(ours, literal)

    probe = torch.randn_like(ours)
    (ours * probe).sum().backward()
    (literal * probe).sum().backward()
    for name, parameter in model.named_parameters():
        expected = weights[name].grad
        assert parameter.grad is not None and expected is not None and expected.abs().max() > 1e-9
        assert close(parameter.grad, expected), name


def literal_splitmixer(
    weights: Iterator[Tensor],
    x: Tensor,
    training: bool,
    *,
    dim: int,
    depth: int,
    kernel_size: int,
    patch_size: int,
    channel_mixing: str,
    image_size: int,
    num_classes: int,
    spatial_mixing: str = "split",
    ratio: Fraction = Fraction(2, 3),
    num_segments: int = 2,
    act: str = "gelu",
    in_chans: int = 3,
) -> Tensor:
    """The definition written out with loops and concatenations; `weights` in the order of their use."""

    def activation(x: Tensor) -> Tensor:
        return x * 0.5 * (1 + torch.erf(x / 2**0.5)) if act == "gelu" else torch.where(x > 0, x, 0)

    def batch_norm(x: Tensor) -> Tensor:
        gain, bias, mean, variance, _ = (next(weights) for _ in range(5))
        if training:
            mean = x.mean((0, 2, 3))
            variance = ((x - mean[:, None, None]) ** 2).mean((0, 2, 3))
        return (
            gain[:, None, None] * (x - mean[:, None, None]) / (variance[:, None, None] + 1e-5) ** 0.5
            + bias[:, None, None]
        )

    def patches(x: Tensor) -> Tensor:
        weight, bias = next(weights), next(weights)
        side, p = image_size // patch_size, patch_size
        rows = []
        for i, j in itertools.product(range(side), range(side)):
            patch = x[:, :, i * p : (i + 1) * p, j * p : (j + 1) * p]
            rows.append((patch.flatten(1) @ weight.flatten(1).T) + bias)
        return torch.stack(rows, dim=-1).unflatten(-1, (side, side))

    def slide(x: Tensor, high: int, wide: int) -> Tensor:
        weight, bias = next(weights), next(weights)
        assert weight.shape == (dim, 1, high, wide)
        total = torch.zeros_like(x) + bias[:, None, None]
        for i, j in itertools.product(range(high), range(wide)):
            down, right = i - (high - 1) // 2, j - (wide - 1) // 2
            total = total + weight[:, 0, i, j][:, None, None] * shifted(x, down, right)
        return total

    def pointwise(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.einsum("oi,bihw->bohw", weight[:, :, 0, 0], x) + bias[:, None, None]

    def mix(x: Tensor, block: int) -> Tensor:
        share, width = int(dim * ratio), dim // num_segments
        ends = [width * (j + 1) for j in range(num_segments - 1)] + [dim]
        if channel_mixing == "full":
            return pointwise(x, next(weights), next(weights))
        if channel_mixing == "I" and block % 2 == 0:
            return torch.cat([pointwise(x[:, :share], next(weights), next(weights)), x[:, share:]], dim=1)
        if channel_mixing == "I":
            return torch.cat([x[:, :-share], pointwise(x[:, -share:], next(weights), next(weights))], dim=1)
        if channel_mixing == "II":
            j = block % num_segments
            start = width * j
            mixed = pointwise(x[:, start : ends[j]], next(weights), next(weights))
            return torch.cat([x[:, :start], mixed, x[:, ends[j] :]], dim=1)
        if channel_mixing == "III":
            weight, bias = next(weights), next(weights)
            return torch.cat([pointwise(x[:, end - width : end], weight, bias) for end in ends], dim=1)
        if channel_mixing == "IV":
            starts = [0, *ends[:-1]]
            parts = [pointwise(x[:, a:b], next(weights), next(weights)) for a, b in zip(starts, ends, strict=True)]
            return torch.cat(parts, dim=1)
        assert channel_mixing == "V"
        x = torch.cat([pointwise(x[:, :share], next(weights), next(weights)), x[:, share:]], dim=1)
        return torch.cat([x[:, :-share], pointwise(x[:, -share:], next(weights), next(weights))], dim=1)

    x = batch_norm(activation(patches(x)))
    for block in range(depth):
        if spatial_mixing == "split":
            y = batch_norm(activation(slide(x, 1, kernel_size)))
            y = batch_norm(activation(slide(y, kernel_size, 1)))
        else:
            y = batch_norm(activation(slide(x, kernel_size, kernel_size)))
        x = batch_norm(activation(mix(x + y, block)))
    weight, bias = next(weights), next(weights)
    assert next(weights, None) is None and weight.shape == (num_classes, dim) and x.shape[1] == dim and in_chans
    return torch.stack([image.mean((1, 2)) @ weight.T + bias for image in x])


def shifted(x: Tensor, down: int, right: int) -> Tensor:
    """The value at `down` rows below and `right` columns right of each position; zero outside the grid."""
    high, wide = x.shape[2:]
    result = torch.zeros_like(x)
    for i, j in itertools.product(range(high), range(wide)):
        if 0 <= i + down < high and 0 <= j + right < wide:
            result[:, :, i, j] = x[:, :, i + down, j + right]
    return result


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("num_segments", [1, 2, 3, 12])
def test_stridemixer_iii_is_splitmixer_iii_with_its_channels_interleaved(num_segments: int, training: bool) -> None:
    """SplitMixer's channel window·width + out is StrideMixer's out·windows + window, from the mixer on."""
    arguments = {**SMALL, "depth": 1, "num_segments": num_segments}
    split = randomised("splitmixer_iii_256_8", training, **arguments)
    stride = create_model("stridemixer_iii_256_8", **arguments).double().train(training)
    width = SMALL["dim"] // num_segments
    order = torch.arange(SMALL["dim"]).reshape(num_segments, width).T.flatten()

    assert len(split.state_dict()) == len(stride.state_dict())
    carried = {}
    for (name, tensor), (theirs, goal) in zip(split.state_dict().items(), stride.state_dict().items(), strict=True):
        carried[theirs] = carry(name, tensor, order).reshape(goal.shape)
    stride.load_state_dict(carried)

    images = torch.randn(3, 3, 16, 16).double()
    ours, theirs_out = split(images), stride(images)
    assert close(theirs_out, ours)
    probe = torch.randn_like(ours)
    (ours * probe).sum().backward()
    (theirs_out * probe).sum().backward()
    for (name, a), b in zip(split.named_parameters(), stride.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None and a.grad.abs().max() > 1e-9
        assert close(b.grad, carry(name, a.grad, order).reshape(b.shape)), name


def carry(name: str, tensor: Tensor, order: Tensor) -> Tensor:
    """Convert a tensor of SplitMixer-III to StrideMixer-III; those after the mixer are permuted."""
    if ".channel.2." in name and tensor.ndim:
        return tensor[order]
    return tensor[:, order] if name == "head.2.weight" else tensor


@pytest.mark.parametrize("training", [False, True], ids=["eval", "train"])
@pytest.mark.parametrize("ratio", [Fraction(2, 3), Fraction(1, 2), Fraction(3, 4)])
def test_stridemixer_i_maps_two_overlapping_windows_by_shared_weights(ratio: Fraction, training: bool) -> None:
    model = randomised("stridemixer_i_256_8", training, **SMALL, ratio=ratio)
    block = model.get_submodule("blocks.1")
    x = torch.randn(2, 12, 5, 5).double()
    width = int(12 * ratio)
    spatial, norm = block.get_submodule("spatial"), block.get_submodule("norm")
    mixer = block.get_submodule("mixer")
    assert isinstance(mixer, nn.Conv3d) and mixer.bias is not None
    weight = mixer.weight[:, 0, :, 0, 0]

    y = spatial(x)
    first = torch.einsum("oi,bihw->bohw", weight, y[:, :width]) + mixer.bias[:, None, None]
    second = torch.einsum("oi,bihw->bohw", weight, y[:, 12 - width :]) + mixer.bias[:, None, None]
    interleaved = torch.stack([(first, second)[c % 2][:, c // 2] for c in range(12)], dim=1)
    assert close(block(x), norm(nn.functional.gelu(interleaved)))


def test_an_even_kernel_pads_as_torch_says_and_keeps_the_grid() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = randomised("splitmixer_i_256_8", False, **SMALL | {"kernel_size": 2})
        assert model.get_submodule("blocks")(torch.randn(1, 12, 8, 8).double()).shape == (1, 12, 8, 8)


def randomised(name: str, training: bool, **arguments: Any) -> nn.Module:
    """A model in float64 with random tensors, as special values (0, 1) could hide a mistake."""
    torch.manual_seed(0)
    model = create_model(name, **arguments).double().train(training)
    with torch.no_grad():
        for key, tensor in tensors(model):
            if key.endswith("running_var") or (key.endswith("weight") and tensor.ndim == 1):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point():
                tensor.normal_(std=0.5)
    return model


def tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers, in the order of their use."""
    return iter(model.state_dict(keep_vars=True).items())


def close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() <= 1e-9 * b.abs().max())
