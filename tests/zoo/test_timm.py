"""gMLP and PoolFormer beside timm's, with the same weights: outputs in both modes, and gradients of the images."""

import re

import pytest
import timm
import torch
from torch import Tensor, nn

from mixbench.zoo import weights
from mixbench.zoo.registry import create_model


def randomise(model: nn.Module) -> None:
    """Give every weight a value that matters: the small factors of new branches would hide what these compute."""
    torch.manual_seed(0)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)


def agree(ours: nn.Module, theirs: nn.Module, side: int, *, training: bool) -> None:
    images = torch.randn(2, 3, side, side, dtype=torch.float64, requires_grad=True)
    outputs = [model.double().train(training)(images) for model in (ours, theirs)]
    assert outputs[0].std() > 1e-3
    torch.testing.assert_close(*outputs, rtol=1e-9, atol=1e-12)
    gradients = [torch.autograd.grad(output.square().sum(), images)[0] for output in outputs]
    assert gradients[0].abs().max() > 0
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("training", [False, True])
def test_gmlp_is_timms(training: bool) -> None:
    theirs = timm.create_model("gmlp_ti16_224", num_classes=7)
    ours = create_model("gmlp_ti16", num_classes=7)
    randomise(theirs)
    weights.load(ours, theirs.state_dict())
    agree(ours, theirs, 224, training=training)


class Map(nn.Module):
    """PoolFormer up to its head, which timm applies in another order."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        map_: Tensor = self.model.stages(self.model.stem(images))  # type: ignore[operator]
        return map_


@pytest.mark.parametrize("training", [False, True])
def test_poolformer_is_timms_up_to_its_head(training: bool) -> None:
    theirs = timm.create_model("poolformer_s12", num_classes=7)
    ours = create_model("poolformer_s12", image_size=64, num_classes=7)
    randomise(theirs)
    state = {_named_as_ours(name): tensor for name, tensor in theirs.state_dict().items()}
    own = ours.state_dict()
    ours.load_state_dict({name: state[name].reshape(tensor.shape) for name, tensor in own.items()})
    assert state.keys() == own.keys()
    agree(Map(ours), Map(theirs), 64, training=training)


def _named_as_ours(name: str) -> str:
    name = re.sub(r"^stages\.(\d)\.downsample\.conv", lambda at: f"stages.{2 * int(at[1]) - 1}", name)
    name = re.sub(r"^stages\.(\d)\.blocks", lambda at: f"stages.{2 * int(at[1])}", name)
    for theirs, ours in (
        ("stem.conv", "stem"),
        ("layer_scale1.scale", "scale1"),
        ("layer_scale2.scale", "scale2"),
        ("mlp.fc1", "channel_mlp.expand"),
        ("mlp.fc2", "channel_mlp.contract"),
        ("head.norm", "norm"),
        ("head.fc", "head"),
    ):
        name = name.replace(theirs, ours)
    return name
