"""Models of torchvision and timm as baselines: counted, trained and refused like ours."""

import csv
from pathlib import Path

import pytest
import torch
import torchvision
from click.testing import CliRunner

from mixbench.cli.main import cli
from mixbench.errors import RequestError
from mixbench.measure import complexity
from mixbench.zoo import weights
from mixbench.zoo.registry import create_model, find, list_models
from tests.trials import RECIPE, write_suite


@pytest.mark.parametrize(
    ("name", "family", "millions", "giga"),  # as torchvision's and timm's tables print them
    [
        ("torchvision/resnet18", "ResNet", 11.69, 1.81),
        ("torchvision/resnet50", "ResNet", 25.56, 4.09),
        ("torchvision/convnext_tiny", "ConvNeXt", 28.59, 4.46),
        ("torchvision/googlenet", "GoogLeNet", 6.62, 1.50),
        ("timm/caformer_s18", "MetaFormer", 26.34, 4.11),
        ("timm/sequencer2d_s", "Sequencer2d", 27.65, 8.33),
    ],
)
def test_a_librarys_model_has_its_familys_name_and_published_size(
    name: str, family: str, millions: float, giga: float
) -> None:
    assert find(name).family == family and name in list_models(f"{name[:-1]}*")
    with torch.device("meta"):
        counted = complexity.count(create_model(name), 224, 3, ptflops=False)
    assert round(counted.params / 1e6, 2) == millions
    assert (counted.macs or 0) / 1e9 == pytest.approx(giga, abs=0.011)


def test_a_vision_transformer_takes_the_datasets_images_and_the_librarys_weights() -> None:
    ours = create_model("torchvision/vit_b_16", image_size=64, num_classes=7).eval()
    theirs = torchvision.models.vit_b_16(image_size=64, num_classes=7).eval()
    weights.load(ours, theirs.state_dict())
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(ours(images), theirs(images))


def test_it_is_run_and_reported_like_a_model_of_the_zoo(tmp_path: Path) -> None:
    models = ["torchvision/squeezenet1_1", "timm/test_vit"]
    suite = write_suite(
        tmp_path, models=models, datasets=[{"name": "digits", "image_size": 32}], measure=["complexity", "accuracy"],
        recipe=RECIPE | {"epochs": 1},
    )  # fmt: skip
    result = CliRunner().invoke(cli, ["run", str(suite), "--out", str(tmp_path / "run")])
    assert result.exit_code == 0, result.output
    with (tmp_path / "run" / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["model"], row["family"], row["status"]) for row in rows] == [
        ("torchvision/squeezenet1_1", "SqueezeNet", "done"), ("timm/test_vit", "VisionTransformer", "done"),
    ]  # fmt: skip
    assert all(float(row["top1"]) > 0 and int(row["params"]) > 0 for row in rows)


@pytest.mark.parametrize(
    ("name", "overrides", "complaint"),
    [
        ("torchvision/resnet19", {}, "torchvision has no classification model 'resnet19'"),
        ("timm/mixr_s16_224", {}, "timm has no classification model 'mixr_s16_224'"),
        ("torchvision/vit_b_16", {"image_size": 100}, "torchvision/vit_b_16: .*Input shape indivisible by patch size"),
        ("torchvision/resnet18", {"depth": 3}, "has no argument 'depth'"),
    ],
)
def test_what_a_library_cannot_build_is_refused(name: str, overrides: dict[str, int], complaint: str) -> None:
    with pytest.raises(RequestError, match=complaint):
        create_model(name, **overrides)
