"""The families equal their authors' own code: outputs, gradients and running statistics that it computed, in float64.

Each file of vectors/ holds an input, weights under the authors' names, and the results of their code (`meta` names it).
S²-MLPv2 has no official code: its community's, with the shift that overwrites its own input repaired.
"""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mixbench.zoo import weights
from mixbench.zoo.registry import find
from mixbench.zoo.tensor_names import our_name

VECTORS = Path(__file__).parent / "vectors"
TOLERANCE = 1e-9
FOUR = (4, 4, 4, 4)
CASES: dict[str, tuple[str, dict[str, Any]]] = {  # file → a variant of the family, and the arguments of the vectors
    "gmlp_a": ("gmlp_ti16", dict(dim=12, depth=2, patch_size=4, hidden_dim=72)),
    "s2mlpv2_a": ("s2mlpv2_small_7", dict(dims=(16, 24), depths=(1, 2))),
    "vip_a": ("vip_s7", dict(dims=(16, 32, 32, 32), depths=(2, 1, 2, 1), segments=(8, 4, 4, 4))),
    "cycle_c": ("cyclemlp_b1", dict(dims=(12, 16, 16, 20), depths=(1, 1, 1, 1), strides=(2, 1, 2))),
    "hire_c": ("hiremlp_tiny", dict(dims=(12, 16, 16, 20), depths=(2, 2, 2, 1))),
    "wave_c": ("wavemlp_t_dw", dict(dims=(12, 16, 20, 24), depths=(1, 1, 2, 1))),
    "smlpnet_c": ("smlpnet_t", dict(dim=6, depths=(1, 1, 1, 1))),
    "spach_f": (
        "spach_mlp_ms_xxs", dict(dim=4, stages=("conv*1", "mlp*1", "mlp*1", "mlp*2"), conv_stem=True),
    ),
    "convmlp_c": (
        "convmlp_s", dict(conv_dim=14, conv_depth=1, dims=(16, 20, 24), depths=(1, 1, 1), mlp_ratios=(2, 3, 2))
    ),
    "msmlp_c": (
        "msmlp_t",
        dict(dim=7, depths=(1, 1, 2, 1), mlp_ratio=3, shifts=(-1, 0, 1),
             kernels=((1, 3, 7), (3, 1, 5), (5, 3, 1), (1, 1, 3))),
    ),
    "gfnet_a": ("gfnet_ti", dict(dims=(12,), depths=(2,), patch_size=4)),
    "gfnetpyr_a": ("gfnet_h_ti", dict(dims=(6, 8, 12, 16), depths=(1, 2, 1, 1))),
    "asmlp_a": ("asmlp_t", dict(dim=7, depths=(1, 2, 1, 1))),
    "caterpillar_a": (
        "caterpillar_mi_p1", dict(dims=(8, 12, 16, 24), depths=(2, 1, 1, 2), strides=(1, 2, 2, 2)),
    ),
    "csmixer_a": ("csmixer_t", dict(dim=8, depths=(2, 2, 1, 1), heads=(2, 3, 2, 4), head_dim=2, group_size=4)),
    "dynamixer_a": ("dynamixer_s", dict(dims=(16, 24, 24, 32), depths=(2, 1, 1, 1), heads=(4, 8, 2, 4))),
    "vanillamixer_a": ("nbmixer_s16", dict(dim=12, depth=2, patch_size=4)),
    "paramixer_a": ("paramixer_s16", dict(dim=12, depth=2, patch_size=4)),
    "symmixer_a": ("symmixer_s16", dict(dim=12, depth=2, patch_size=4)),
    "asymmixer_a": ("asymmixer_s16", dict(dim=12, depth=2, patch_size=4)),
    "ninformer_a": ("ninformer_256_4", dict(dim=12, depth=2, hidden_dim=20, dropout=0.0)),
    "mdmlp_a": ("mdmlp_d64_l8", dict(dim=8, depth=2)),
    "ramlp_a": ("ramlp_t", dict(dims=(4, 8, 16, 32), depths=(1, 2, 1, 1))),
    "stripmlp_a": ("stripmlp_t", dict(dim=8, depths=(2, 1, 1, 1))),
    "activemlp_a": ("activemlp_t", dict(dims=(4, 8, 16, 20), depths=(2, 2, 4, 2))),
    "posmlp_a": (
        "posmlp_t", dict(dims=(8, 16, 16, 32), depths=(2, 1, 1, 1), windows=(4, 4, 2, 2), maps=(2, 4, 8, 16)),
    ),
    "poolformer_official_a": ("poolformer_s12", dict(dims=(8, 12, 16, 24), depths=(1, 2, 1, 1))),
}  # fmt: skip


LAYERS: dict[str, tuple[str, str, tuple[int, ...]]] = {  # file → family's file, class, arguments
    "kanlinear_a": ("kanmixer", "KANLinear", (5, 7)),
    "hypermixing_c": ("hypermixer", "HyperMixing", (7, 16, 12, 4)),
}


def test_every_file_of_vectors_is_compared() -> None:
    assert {path.stem for path in VECTORS.glob("*.npz")} == CASES.keys() | LAYERS.keys()
    assert sum(path.stat().st_size for path in VECTORS.iterdir()) < 6e6


@pytest.mark.parametrize("case", CASES)
def test_outputs_gradients_and_statistics_equal_the_authors(case: str) -> None:
    name, arguments = CASES[case]
    vectors, meta = loaded(case)
    model = built(name, vectors["input"].shape[-1], arguments)
    compare(model.eval(), vectors, meta)

    output = model.train()(vectors["input_train"].double())
    assert error(output, vectors["output_train"]) < TOLERANCE
    state = model.state_dict()
    for key, value in vectors.items():
        if key.startswith("after_train/") and not key.endswith("num_batches_tracked"):
            assert error(state[our_name(model, key.removeprefix("after_train/"))], value) < TOLERANCE, key


@pytest.mark.parametrize("case", LAYERS)
def test_a_layers_outputs_and_gradients_equal_the_authors(case: str) -> None:
    family, name, arguments = LAYERS[case]
    vectors, meta = loaded(case)
    layer = getattr(importlib.import_module(f"mixbench.zoo.{family}"), name)(*arguments).double()
    compare(layer, vectors, meta)
    named = {name: parameter.grad for name, parameter in layer.named_parameters()}
    for key, value in vectors.items():
        if key.startswith("grad/"):
            assert error(named[key.removeprefix("grad/")], value) < TOLERANCE, key


def loaded(case: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    with np.load(VECTORS / f"{case}.npz") as file:
        vectors = {key: torch.from_numpy(file[key]) for key in file.files if key != "meta"}
        return vectors, json.loads(str(file["meta"]))


def compare(model: nn.Module, vectors: dict[str, Tensor], meta: dict[str, Any]) -> None:
    assert sum(parameter.numel() for parameter in model.parameters()) == meta["params"]
    weights.load(model, {key.removeprefix("w/"): value for key, value in vectors.items() if key.startswith("w/")})
    images = vectors["input"].double().requires_grad_()
    output = model(images)
    (output * vectors["probe"]).sum().backward()
    assert images.grad is not None
    assert error(output, vectors["output_eval"]) < TOLERANCE
    assert error(images.grad, vectors["grad_input_eval"]) < TOLERANCE


def built(name: str, image_size: int, arguments: dict[str, Any]) -> nn.Module:
    entry = find(name)
    return entry.model_class(**entry.arguments | arguments | dict(image_size=image_size, num_classes=7)).double()


def error(ours: Tensor, theirs: Tensor) -> float:
    return float((ours.detach() - theirs).abs().max() / theirs.abs().max())
