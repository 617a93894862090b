"""Every family in every form that a suite can ask for: memory formats, autocast, compile, sizes; all of it small."""

import json
from typing import Any

import pytest
import torch
from torch import nn

from mixbench.errors import RequestError
from mixbench.system.content import content
from mixbench.zoo import weights
from mixbench.zoo.registry import create_model, find, list_models
from tests.zoo.small import SMALL


def small(name: str, **more: Any) -> nn.Module:
    torch.manual_seed(0)
    return create_model(name, **SMALL[name] | dict(image_size=32, num_classes=7) | more)


def test_every_family_is_tried() -> None:
    ours = [name for name in list_models() if find(name).model_class.__module__.startswith("mixbench.zoo.")]
    assert {find(name).family for name in SMALL} == {find(name).family for name in ours}


@pytest.mark.parametrize("name", SMALL)
def test_channels_last_gives_the_same_and_so_do_saved_weights(name: str) -> None:
    model, images = small(name).double().eval(), torch.randn(2, 3, 32, 32, dtype=torch.float64)
    expected = model(images)
    other = small(name).double().eval()
    for parameter in other.parameters():
        nn.init.uniform_(parameter)
    weights.load(other, model.state_dict())
    found = other(images.contiguous(memory_format=torch.channels_last))
    assert expected.shape == (2, 7) and torch.allclose(found, expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", SMALL)
def test_it_trains_in_bf16_autocast_with_finite_gradients_of_every_parameter(name: str) -> None:
    model = small(name, in_chans=1, drop_path=0.1) if "drop_path" in find(name).arguments else small(name, in_chans=1)
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(torch.randn(4, 1, 32, 32)).square().mean()
    nn.functional.mse_loss(loss.float(), torch.zeros(())).backward()
    gradients = {key: parameter.grad for key, parameter in model.named_parameters()}
    assert not [key for key, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()]


@pytest.mark.parametrize("name", SMALL)
def test_it_compiles_without_a_graph_break(name: str) -> None:
    explained = torch._dynamo.explain(small(name).eval())(torch.randn(2, 3, 32, 32))
    assert explained.graph_break_count == 0, explained.break_reasons
    torch._dynamo.reset()


@pytest.mark.parametrize(
    ("name", "arguments", "complaint"),
    [
        ("gmlp_ti16", dict(image_size=100), "patch_size 16 does not divide image_size 100"),
        ("gmlp_ti16", dict(hidden_dim=7), "2 does not divide hidden_dim 7"),
        ("s2mlpv2_small_7", dict(image_size=21), "patch size 2 does not divide the side 3"),
        ("vip_s7", dict(image_size=112), "segments 32: a map of 16 × 16 needs 16 segments"),
        ("vip_s7", dict(dims=(190, 384, 384, 384)), "segments 32 does not divide dims 190"),
        ("hiremlp_tiny", dict(image_size=16), "regions 3: a map of 1 × 1 has too few rows"),
        ("smlpnet_t", dict(image_size=16), "image_size 16: no map is left in stage 4 of 4"),
        ("spach_conv_ms_s", dict(stages=("conv*2", "pool*3")), "'pool*3' is not a number of blocks"),
        ("spach_trans_ms_s", dict(heads=7), "heads 7 does not divide dim 96"),
        ("msmlp_t", dict(dim=16), "16 channels in parts for 5 shifts"),
        ("gfnet_h_ti", dict(image_size=16), "image_size is too small: a map of 1 × 1 is left for a stride of 2"),
        ("asmlp_t", dict(shift_size=4), "shift_size is 4, it must be odd"),
        ("poolformer_s12", dict(depths=(2, 2)), "depths 2"),
        ("csmixer_t", dict(image_size=96), "group_size 7 does not divide the side of the map 24"),
        ("caterpillar_mi_p1", dict(image_size=7), "image_size is too small: a map of 1 × 1 is left for a stride of 2"),
        ("dynamixer_s", dict(heads=(8, 16, 16, 7)), "heads 7 does not divide dims 384"),
        ("asymmixer_s16", dict(dim=1), "dim is 1, it must be at least 2"),
        ("mdmlp_d64_l8", dict(overlap=4), "overlap is 4, it must be below patch_size"),
        ("ninformer_256_4", dict(dropout=1.0), "dropout is 1.0, it must be at least 0 and below 1"),
        ("stripmlp_t", dict(image_size=24), "image_size 24: no map is left in stage 4 of 4, it must be at least 32"),
        ("stripmlp_t", dict(dim=6), "6 channels are too few"),
        (
            "stripmlp_t",
            dict(dim=14),
            "dim: a stage's maps of strips, 3 does not divide half of the stage's channels 14",
        ),
        ("activemlp_t", dict(depths=(1, 3, 10, 3)), "depths 1, 3, 10, 3: each stage needs at least 2 blocks"),
        ("activemlp_t", dict(shares=(2, 4, 3, 8)), "shares 3 does not divide twice the channels 640"),
        ("posmlp_t", dict(image_size=256), "windows 14 does not divide the side of the map 64"),
        ("posmlp_t", dict(dims=(96, 192, 320, 640)), "a stage's dims 192 does not divide the next's 320"),
        ("posmlp_t", dict(maps=(7, 16, 32, 64)), "maps 7 does not divide half of the hidden channels 192"),
        ("ccsmixer_s16", dict(groups=7), "groups 7 does not divide dim 512"),
        ("hypermixer_s16", dict(heads=3), "heads 3 does not divide dim 512"),
        ("kanmixer_canuto", dict(token_dim=-1), "token_dim -1 and channel_dim 128 must be at least 0"),
        ("kanmixer_cheon", dict(patch_size=5), "patch_size 5 does not divide image_size 28"),
        ("cyclemlp_b1", dict(image_size=2), "the stem needs at least 3 pixels"),
    ],
)
def test_what_a_family_cannot_take_is_refused_in_words(name: str, arguments: dict[str, Any], complaint: str) -> None:
    with pytest.raises(RequestError, match=f"{name}: .*{complaint.replace('*', '[*]')}"):
        create_model(name, **arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "sides"),
    [
        ("caterpillar_mi_p1", dict(image_size=28), (28, 14, 7, 3)),
        ("dynamixer_s", dict(image_size=35), (5, 2, 2, 2)),
        ("gfnet_h_ti", dict(image_size=112), (28, 14, 7, 3)),
        ("vip_s7", dict(image_size=35, segments=(5, 2, 2, 2), dims=(30, 32, 32, 32)), (5, 2, 2, 2)),
        ("stripmlp_t", dict(image_size=72), (18, 9, 4, 2)),
    ],
)
def test_what_is_left_of_an_odd_map_by_a_stride_is_dropped_as_the_authors_do(
    name: str, arguments: dict[str, Any], sides: tuple[int, ...]
) -> None:
    """A convolution whose kernel is its stride leaves out the last row and column."""
    with torch.device("meta"):
        model = create_model(name, **arguments)
        seen: list[int] = []
        for block in model.modules():
            if type(block).__name__.endswith("Block"):
                block.register_forward_hook(lambda _, inputs, output: seen.append(min(output.shape[1:])))
        model(torch.empty(1, 3, arguments["image_size"], arguments["image_size"]))
    assert set(sides) <= set(seen)


def test_a_paramixers_blocks_are_applied_again_with_the_same_weights() -> None:
    once, thrice = small("asymmixer_s16").double(), small("asymmixer_s16", iterations=3).double()
    thrice.load_state_dict(once.state_dict())
    parts: Any = once
    x = parts.stem(images := torch.randn(2, 3, 32, 32, dtype=torch.float64))
    for block in parts.blocks:
        x = block(block(block(x)))
    assert torch.allclose(thrice(images), parts.head(parts.norm(x).mean(1)), rtol=1e-9)


def test_a_paramixers_hidden_ratio_widens_both_mlps() -> None:
    wide: Any = small("asymmixer_s16", hidden_ratio=2)
    assert wide.blocks[0].token_mlp.first.weight.shape == (16, 64)
    assert wide.blocks[0].channel_mlp.first.weight.shape == (128, 16)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_models())
def test_forward_and_backward_at_the_native_size(name: str) -> None:
    """A network of more than ten billion MACs is run without values: its class has smaller ones that are."""
    counted = json.loads((content("models") / "complexity.json").read_text())[name]
    device, side = "cpu" if counted["macs"] < 10e9 else "meta", counted["image_size"]
    with torch.device(device):
        model = create_model(name).eval()
        output = model(torch.randn(1, 3, side, side))
        output.square().mean().backward()
    assert output.shape == (1, counted["num_classes"])
    tensors = [output, *(parameter.grad for parameter in model.parameters() if parameter.grad is not None)]
    assert len(tensors) > 1 and (device == "meta" or all(tensor.isfinite().all() for tensor in tensors))
