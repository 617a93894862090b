"""Baselines: any classification model of torchvision or, where it is installed, of timm, as `torchvision/resnet18`."""

import inspect
from collections.abc import Callable
from fnmatch import fnmatch
from functools import cache
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from mixbench.errors import RequestError, cut, described, nearest

DEFAULT_SIZE = 224


class Baseline(NamedTuple):
    """A library's model as a class that takes the dataset's shape; `family`: the library's class."""

    model_class: type[nn.Module]
    family: str
    image_size: int


@cache
def find_baseline(name: str) -> Baseline:
    """Find a library's model.  Raises RequestError if the library is not installed, or has no model of this name."""
    library, _, model = name.partition("/")
    known = list_library(library)
    if model not in known:
        raise RequestError(f"{library} has no classification model {cut(model)!r}{nearest(model, known)}")
    build, side = (_torchvision, _torchvisions_side(model)) if library == "torchvision" else (_timm, _timms_side(model))
    model_class = type(model, (LibraryModel,), {"model": model, "make": staticmethod(build)})
    with torch.device("meta"):
        family = type(model_class(image_size=side).network).__name__
    return Baseline(model_class, family, side)


def list_library(library: str, pattern: str = "*") -> list[str]:
    """Names of a library's classification models that match.  Raises RequestError if it is not installed."""
    if library == "torchvision":
        from torchvision import models

        return [name for name in models.list_models(models) if fnmatch(name, pattern)]
    try:
        import timm
    except ImportError:
        raise RequestError("timm is not installed: pip install 'mixbench[timm]'") from None
    return [name for name in timm.list_models() if fnmatch(name, pattern)]


class LibraryModel(nn.Module):
    """A library's network without weights; `in_chans` other than 3 need a first convolution of their own.

    Raises ValueError, with the library's words, if the network cannot be built so.
    """

    model: str
    make: Callable[[str, int, int, int], nn.Module]
    published_names = ((r"^(?!network\.)", "network."),)

    def __init__(self, image_size: int = DEFAULT_SIZE, in_chans: int = 3, num_classes: int = 1000) -> None:
        super().__init__()
        try:
            self.network = self.make(self.model, image_size, in_chans, num_classes)
        except (TypeError, RuntimeError, AssertionError) as error:
            raise ValueError(described(error)) from error

    def forward(self, x: Tensor) -> Tensor:  # B 3 image image
        return self.network(x)  # B classes


def _torchvision(model: str, image_size: int, in_chans: int, num_classes: int) -> nn.Module:
    from torchvision import models

    parameters = inspect.signature(inspect.unwrap(models.get_model_builder(model))).parameters
    more: dict[str, Any] = {"aux_logits": False, "init_weights": True} if model in ("googlenet", "inception_v3") else {}
    if model.startswith("vit_"):
        more["image_size"] = image_size
    elif "input_size" in parameters:
        more["input_size"] = (image_size, image_size)
    network: nn.Module = models.get_model(model, weights=None, num_classes=num_classes, **more)
    if in_chans != 3:
        _replace_first_convolution(network, in_chans)
    return network


def _replace_first_convolution(network: nn.Module, in_chans: int) -> None:
    name, old = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3)
    kept = {key: getattr(old, key) for key in ("kernel_size", "stride", "padding", "dilation", "padding_mode")}
    owner, _, attribute = name.rpartition(".")
    new = nn.Conv2d(in_chans, old.out_channels, **kept, bias=old.bias is not None)
    setattr(network.get_submodule(owner), attribute, new)


def _torchvisions_side(model: str) -> int:
    from torchvision import models

    weights = getattr(models.get_model_weights(model), "DEFAULT", None)
    return int(weights.transforms().crop_size[0]) if weights else DEFAULT_SIZE


def _timm(model: str, image_size: int, in_chans: int, num_classes: int) -> nn.Module:
    import timm

    shape: dict[str, Any] = dict(in_chans=in_chans, num_classes=num_classes)
    try:
        return timm.create_model(model, pretrained=False, img_size=image_size, **shape)
    except TypeError:  # a network that takes images of any size has no such argument
        return timm.create_model(model, pretrained=False, **shape)


def _timms_side(model: str) -> int:
    from timm.models import get_pretrained_cfg

    config = get_pretrained_cfg(model)
    return int(config.input_size[-1]) if config else DEFAULT_SIZE
