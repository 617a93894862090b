"""timm's published weights: found in Hugging Face's cache, loaded by timm's names, with timm's preprocessing.

The tests download nothing: timm's models with random weights stand in for the published ones in the cache.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import save_file

from mixbench.errors import RequestError
from mixbench.zoo import weights
from mixbench.zoo.pretrained import TIMM, find_pretrained
from mixbench.zoo.registry import create_model, find

SUITE = """\
name: given
models: [{name: resmlp_s12, weights: timm}, {name: convmixer_768_32, weights: timm, recipe: {test_crop: 0.5}}]
datasets: [{name: photos, image_folder: photos}]
measure: accuracy
recipe: {global_batch_size: 1}
"""


@pytest.mark.parametrize("name", TIMM)
def test_the_models_are_timms_and_have_published_weights(name: str) -> None:
    assert TIMM[name] in timm.list_pretrained()
    with torch.device("meta"):
        ours, theirs = create_model(name), timm.create_model(TIMM[name], pretrained=False)
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in theirs.parameters())


def test_a_file_with_timms_names_gives_timms_outputs(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs: Any = timm.create_model("resmlp_12_224", pretrained=False)
    for parameter in theirs.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    save_file(theirs.state_dict(), tmp_path / "model.safetensors")
    ours = create_model("resmlp_s12")
    weights.load_file(tmp_path / "model.safetensors", ours)
    images = torch.randn(2, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(ours.eval()(images), theirs.eval()(images), rtol=1e-4, atol=1e-4)


def put_into_cache(cache: Path, name: str) -> None:
    """Save timm's model with random weights in the layout of Hugging Face's cache."""
    folder = cache / f"models--timm--{TIMM[name]}"
    (folder / "snapshots/abc").mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs/main").write_text("abc")
    save_file(timm.create_model(TIMM[name], pretrained=False).state_dict(), folder / "snapshots/abc/model.safetensors")


FACTS = """
import json, sys
from mixbench.suite.load import load
trials = load(sys.argv[1])[1]
print(json.dumps([[t.data.mean, t.data.std, t.data.resampling, t.recipe.test_crop, t.weights] for t in trials]))
"""


def test_a_suite_finds_them_in_the_cache_and_makes_the_images_as_timm_does(tmp_path: Path) -> None:
    from tests.small_sets import write_tree

    write_tree(tmp_path / "photos", {f"n{label:04d}": (1, 1) for label in range(1000)})
    (tmp_path / "given.yaml").write_text(SUITE, encoding="utf-8")
    command = [sys.executable, "-c", FACTS, str(tmp_path / "given.yaml")]
    environment = os.environ | {"HF_HUB_CACHE": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}

    def planned() -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)

    without = planned().stderr
    assert "given.yaml:2: timm's weights of resmlp_s12 are not on this machine" in without
    assert "hf download timm/resmlp_12_224.fb_in1k model.safetensors" in without
    for name in ("resmlp_s12", "convmixer_768_32"):
        put_into_cache(tmp_path / "cache", name)

    done = planned()
    assert done.returncode == 0, done.stderr
    resmlp, convmixer = json.loads(done.stdout)
    imagenet = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225], "bicubic"]
    assert resmlp[:4] == [*imagenet, 0.875] and resmlp[4].endswith("abc/model.safetensors")
    assert convmixer[:4] == [*imagenet, 0.5], "the suite's own crop wins over timm's 0.96"


def test_a_model_without_published_weights_is_refused() -> None:
    with pytest.raises(RequestError, match="timm has no weights of splitmixer_i_256_8; it has those of convmixer_1536"):
        find_pretrained("splitmixer_i_256_8")
    assert all(find(name) for name in TIMM)
