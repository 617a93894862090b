"""The zoo equals timm's implementations with the same weights; every model builds, runs and trains."""

from typing import Any

import pytest
import timm
import torch
from timm.models.convmixer import ConvMixer
from timm.models.mlp_mixer import Affine, MlpMixer, ResBlock
from torch import Tensor, nn

from mixbench.zoo.registry import create_model, find, list_models
from mixbench.zoo.tensor_names import our_name

BATCH, DEPTH = 2, 3
timm_mixer: Any = MlpMixer


def mixer(patch_size: int, depth: int, dim: int, image_size: int, num_classes: int) -> nn.Module:
    layers = {"patch_size": patch_size, "num_blocks": depth, "embed_dim": dim}
    return timm_mixer(**layers, img_size=image_size, num_classes=num_classes)


def resmlp(patch_size: int, depth: int, dim: int, image_size: int) -> nn.Module:
    layers = {"patch_size": patch_size, "num_blocks": depth, "embed_dim": dim}
    return timm_mixer(**layers, img_size=image_size, block_layer=ResBlock, norm_layer=Affine, mlp_ratio=4)


# Ours, the arguments that make it small enough for a test, and timm's: its name, or where it has none its class.
CASES: dict[str, tuple[dict[str, Any], Any]] = {
    "convmixer_1536_20": ({"image_size": 42}, "convmixer_1536_20"),
    "convmixer_768_32": ({"image_size": 63}, "convmixer_768_32"),
    "convmixer_1024_20_ks9_p14": ({"image_size": 84}, "convmixer_1024_20_ks9_p14"),
    "convmixer_256_8": ({}, lambda: ConvMixer(256, 8, kernel_size=5, patch_size=2, num_classes=10)),
    "mixer_s32": ({}, "mixer_s32_224"),
    "mixer_s16": ({"image_size": 112}, "mixer_s16_224"),
    "mixer_b32": ({}, "mixer_b32_224"),
    "mixer_b16": ({"image_size": 64}, "mixer_b16_224"),
    "mixer_l32": ({"image_size": 64}, "mixer_l32_224"),
    "mixer_l16": ({"image_size": 32}, "mixer_l16_224"),
    "mixer_h14": ({"image_size": 56}, lambda: mixer(14, 32, 1280, 56, 1000)),
    "mixer_s4": ({}, lambda: mixer(4, 8, 512, 32, 10)),
    "mixer_nano4": ({}, lambda: mixer(4, 8, 128, 32, 10)),
    "resmlp_s12": ({}, "resmlp_12_224"),
    "resmlp_s24": ({"image_size": 112}, "resmlp_24_224"),
    "resmlp_s36": ({"image_size": 112}, "resmlp_36_224"),
    "resmlp_b24_p8": ({"image_size": 56}, "resmlp_big_24_224"),
    "resmlp_b24": ({"image_size": 64}, lambda: resmlp(16, 24, 768, 64)),
}


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_equal_timms(name: str) -> None:
    overrides, source = CASES[name]
    image_size = overrides.get("image_size", find(name).arguments["image_size"])
    with torch.device("meta"):  # both get other values, and initialising the large ones takes long
        theirs: Any = timms(source, image_size)
        whole = create_model(name, **overrides)
        sizes = {our_name(whole, key): value.numel() for key, value in theirs.state_dict().items()}
        assert sizes == {key: value.numel() for key, value in whole.state_dict().items()}, "at its full depth"
        ours, theirs.blocks = create_model(name, **overrides, depth=DEPTH), theirs.blocks[:DEPTH]
    ours = randomised(ours.to_empty(device="cpu"))
    carry_over(ours, theirs)
    images = torch.randn(BATCH, 3, image_size, image_size)

    assert parameters(ours) == parameters(theirs)
    with torch.no_grad():
        assert close(ours.eval()(images), theirs.eval()(images))
    out, expected = ours.train()(images), theirs.train()(images)
    assert close(out, expected) and expected.std() > 1e-3
    probe = torch.randn_like(out)
    (out * probe).sum().backward()
    (expected * probe).sum().backward()
    gradients = {our_name(ours, key): parameter.grad for key, parameter in theirs.named_parameters()}
    for key, parameter in ours.named_parameters():
        gradient = gradients[key]
        assert parameter.grad is not None and gradient is not None and gradient.abs().max() > 0, key
        assert close(parameter.grad, gradient.reshape(parameter.shape)), key


def test_every_variant_of_these_families_is_compared_with_timm() -> None:
    families = ("ConvMixer", "MLP-Mixer", "ResMLP")
    assert set(CASES) == {name for name in list_models() if find(name).family in families}


def timms(source: Any, image_size: int) -> nn.Module:
    if not isinstance(source, str):
        model: nn.Module = source()
        return model
    # A ConvMixer takes any image; the others have a weight for each pair of positions.
    shape: dict[str, Any] = {} if source.startswith("convmixer") else {"img_size": image_size}
    return timm.create_model(source, pretrained=False, **shape)


def carry_over(ours: nn.Module, theirs: nn.Module) -> None:
    """Copy our values into timm's shapes; the two models then share the memory of their parameters."""
    goal = theirs.state_dict()
    values = ours.state_dict()
    theirs.load_state_dict(
        {key: values[our_name(ours, key)].reshape(value.shape) for key, value in goal.items()}, assign=True
    )
    for buffer in theirs.buffers():
        buffer.data = buffer.clone()  # each has running statistics of its own


def randomised(model: nn.Module) -> nn.Module:
    """Randomise all tensors, as a zero head or a tiny layer scale would hide a mistake."""
    torch.manual_seed(0)
    with torch.no_grad():
        for key, tensor in model.state_dict().items():
            if "scale" in key:
                tensor.uniform_(0.1, 0.5)
            elif key.endswith(("running_var", "alpha")) or (key.endswith("weight") and tensor.ndim == 1):
                tensor.uniform_(0.5, 1.5)
            elif tensor.is_floating_point():
                tensor.normal_(std=tensor[0].numel() ** -0.5 if tensor.ndim > 1 else 0.2)
            else:
                tensor.zero_()
    return model


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and bool((a - b).abs().max() <= 1e-5 * b.abs().max())


@pytest.mark.parametrize("name", list_models())
def test_a_model_is_built_and_runs_on_the_meta_device_at_its_native_size(name: str) -> None:
    arguments = find(name).arguments
    with torch.device("meta"):
        model = create_model(name)
        out = model(torch.empty(2, 3, arguments["image_size"], arguments["image_size"]))
    assert out.shape == (2, arguments["num_classes"]) and out.is_meta
    assert all(tensor.is_meta for tensor in model.state_dict().values())


SMALLER = {
    "convmixer_256_8": {},
    "splitmixer_v_256_8": {},
    "splitmixer_iii_256_8": {},
    "stridemixer_i_256_8": {},
    "mixer_s4": {"token_dim": 8, "channel_dim": 32},
    "resmlp_s12": {},
}


@pytest.mark.parametrize("name", SMALLER)
def test_a_small_grey_model_trains(name: str) -> None:
    torch.manual_seed(0)
    shape = {"image_size": 8, "in_chans": 1, "num_classes": 4, "patch_size": 2}
    model = create_model(name, dim=16, depth=2, **shape, **SMALLER[name])
    images, labels = torch.randn(64, 1, 8, 8), torch.arange(64) % 4
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_mlp_mixer_is_initialised_as_its_authors_do() -> None:
    torch.manual_seed(0)
    model = create_model("mixer_s4", depth=1)
    state = model.state_dict()
    assert not state["head.weight"].any() and not any(value.any() for key, value in state.items() if "bias" in key)
    inputs_of = {"stem.proj": 48, "blocks.0.token_mlp.expand": 64, "blocks.0.channel_mlp.contract": 2048}
    for key, inputs in inputs_of.items():
        weight = state[f"{key}.weight"]
        assert weight.std().item() == pytest.approx(inputs**-0.5, rel=0.03)
        assert weight.abs().max() <= 2.2738 * inputs**-0.5  # cut at two standard deviations of the uncut normal


def test_resmlp_is_initialised_as_its_authors_do() -> None:
    torch.manual_seed(0)
    state = create_model("resmlp_s12", depth=1).state_dict()
    for key in ("blocks.0.token_map", "blocks.0.channel_mlp.expand", "head"):
        assert state[f"{key}.weight"].std().item() == pytest.approx(0.02, rel=0.03) and not state[f"{key}.bias"].any()
    assert (state["blocks.0.scale1"] == 0.1).all() and (state["blocks.0.affine1.alpha"] == 1).all()
    assert state["stem.proj.bias"].any()


@pytest.mark.parametrize(
    ("name", "scale"), [("resmlp_s12", 0.1), ("resmlp_s24", 1e-5), ("resmlp_s36", 1e-6), ("resmlp_b24", 1e-6)]
)
def test_resmlp_scales_its_branches_by_depth(name: str, scale: float) -> None:
    assert find(name).arguments["layer_scale"] == scale


def test_drop_path_drops_whole_branches_in_training_only_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    drop = create_model("resmlp_s12", depth=1, drop_path=0.25).get_submodule("blocks.0.drop_path")
    x = torch.ones(4000, 3, 2)
    assert torch.equal(drop.eval()(x), x)
    dropped = drop.train()(x)
    assert torch.equal(dropped, dropped[:, :1, :1].expand_as(dropped))
    assert dropped.unique().tolist() == pytest.approx([0, 4 / 3])
    assert dropped.mean().item() == pytest.approx(1, abs=0.03)
