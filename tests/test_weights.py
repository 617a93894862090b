"""Weights files: saved and loaded to the bit; a file that does not fit is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from mixbench.cli.main import cli
from mixbench.data import store
from mixbench.errors import RequestError
from mixbench.measure import accuracy
from mixbench.run.folder import Run
from mixbench.run.parts import Curve, Epoch
from mixbench.run.record import Record
from mixbench.suite.datasets import find_dataset
from mixbench.system.checksum import fingerprint
from mixbench.train.distributed import connect
from mixbench.zoo import weights
from mixbench.zoo.registry import create_model
from mixbench.zoo.tensor_names import Fit
from tests.small_sets import write_tree
from tests.trials import RECIPE, SMALL, plan_trials, write_suite

SIZE = dict(dim=8, depth=1, kernel_size=3, image_size=8, in_chans=1)


def model(seed: int, **arguments: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return create_model("convmixer_256_8", **(SIZE | arguments))


def test_saved_weights_are_loaded_to_the_bit(tmp_path: Path) -> None:
    saved, other = model(0), model(1)
    saved.train()(torch.randn(4, 1, 8, 8))  # running statistics are saved too
    weights.save(saved, tmp_path / "a.safetensors")
    weights.load_file(tmp_path / "a.safetensors", other)
    assert all(torch.equal(other.state_dict()[name], value) for name, value in saved.state_dict().items())
    assert list(tmp_path.iterdir()) == [tmp_path / "a.safetensors"]


def test_tensors_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    state = model(0).state_dict()
    name = next(name for name in state if name.endswith("head.weight") or name.endswith("weight"))
    save_file({key: value for key, value in state.items() if key != name}, path)
    with pytest.raises(RequestError, match=f"has no tensor '{name}'"):
        weights.load_file(path, model(0))
    save_file(state | {"extra": torch.zeros(1)}, path)
    with pytest.raises(RequestError, match="has a tensor 'extra', which the model has not"):
        weights.load_file(path, model(0))
    save_file(state, path)
    with pytest.raises(RequestError, match=r"has shape \(8, 1, 2, 2\), the model's has \(8, 1, 4, 4\)"):
        weights.load_file(path, model(0, patch_size=4))
    path.write_bytes(b"not at all")
    with pytest.raises(RequestError, match="not a file of safetensors"):
        weights.load_file(path, model(0))


def test_a_fingerprint_follows_the_contents_not_the_path(tmp_path: Path) -> None:
    for name, text in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / name).write_text(text)
    a, b, c = (fingerprint(tmp_path / name) for name in "abc")
    assert a == b != c and len(a) == 16
    with pytest.raises(RequestError, match="cannot be read: No such file"):
        fingerprint(tmp_path / "none")


def test_kept_weights_are_evaluated_to_the_same_scores_without_training(tmp_path: Path) -> None:
    [trained] = plan_trials(tmp_path, models=[SMALL["splitmixer"]], recipe=RECIPE | {"ema": 0.9}, keep_weights=True)
    world, data = connect(tmp_path / "meeting.json"), store.load(find_dataset("digits"))
    kept = Run(tmp_path).weights_file(trained.id)
    scores = accuracy.measure(trained, data, world, lambda *_: None, kept).epochs[-1]
    models = [SMALL["splitmixer"] | {"weights": str(kept)}, SMALL["splitmixer"]]
    given, other = plan_trials(tmp_path, models=[models[0], models[1] | {"label": "trained"}])
    assert given.id != other.id and given.weights == str(kept)
    curve = accuracy.measure(given, data, world, lambda *_: None)
    [evaluated] = curve.epochs
    assert (evaluated.epoch, evaluated.train_loss, evaluated.seconds) == (0, None, 0.0)
    assert (evaluated.test_loss, evaluated.top1) == (scores.test_loss, scores.top1)
    assert weights.origin(kept) == accuracy.origin_of(trained) and curve.weights_notes == []
    [bare] = plan_trials(tmp_path, models=[{"name": trained.model, "weights": str(kept)}])
    assert bare.id == given.id, "the file says with which overrides it was trained"
    with pytest.raises(RequestError, match=r"small.yaml:\d+: .*weights: they are of depth 2, not 1"):
        plan_trials(tmp_path, models=[models[0] | {"depth": 1}])
    record = Record.pending(given)
    record.add_accuracy(curve)
    assert (record.epochs, record.top1, record.train_loss) == (0, scores.top1, None)


def test_given_weights_are_one_trial_whatever_the_seeds_and_whole_whatever_the_recipe(tmp_path: Path) -> None:
    [trained] = plan_trials(tmp_path, models=[SMALL["splitmixer"]])
    torch.manual_seed(0)
    weights.save(create_model(trained.model, **trained.arguments), tmp_path / "a.safetensors")
    given = SMALL["splitmixer"] | {"weights": "a.safetensors", "label": "given"}
    recipe = RECIPE | {"global_batch_size": 1440, "ema": 0.9}
    [trial] = plan_trials(tmp_path, models=[given], seeds=[3, 4], recipe=recipe)
    assert trial.seed == 3, "another seed would feign a spread of 0"
    world, data = connect(tmp_path / "meeting.json"), store.load(find_dataset("digits"))
    accuracy.measure(trial, data, world, lambda *_: None, tmp_path / "kept.safetensors")
    assert (tmp_path / "kept.safetensors").read_bytes() == (tmp_path / "a.safetensors").read_bytes()


def test_a_run_asked_later_to_keep_its_weights_trains_again_and_keeps_them(tmp_path: Path) -> None:
    def run(*options: str) -> dict[str, int]:
        command = ["run", str(suite), "--out", str(tmp_path / "run"), "--cluster", "debug", "--json", *options]
        result = CliRunner().invoke(cli, command, catch_exceptions=False)
        return json.loads(result.stdout)["trials"]

    suite = write_suite(tmp_path, measure=["complexity", "accuracy"])
    assert run()["done"] == 1 and not list(tmp_path.glob("run/trials/*/weights.safetensors"))
    keep = ("--set", "keep_weights=true")
    assert run(*keep)["done"] == 1
    [kept] = tmp_path.glob("run/trials/*/weights.safetensors")
    before = kept.stat().st_mtime_ns
    assert run(*keep)["done"] == 1 and kept.stat().st_mtime_ns == before, "and not once more"


def test_a_suite_names_the_file_that_does_not_fit(tmp_path: Path) -> None:
    weights.save(model(0), tmp_path / "a.safetensors")
    with pytest.raises(RequestError, match=r"small.yaml:\d+: .*weights: .*a.safetensors has no tensors 'blocks"):
        plan_trials(tmp_path, models=[SMALL["splitmixer"] | {"weights": "a.safetensors"}])
    with pytest.raises(
        RequestError, match=r"none.safetensors does not exist; a file of safetensors, .pt or .pth, or timm, is wanted"
    ):
        plan_trials(tmp_path, models=[SMALL["splitmixer"] | {"weights": "none.safetensors"}])


def kept_of_folder(folder: Path, **origin: object) -> dict[str, Any]:
    """Save untrained weights as a run on this folder of images would; return the suite that evaluates them."""
    datasets = [{"name": "pets", "image_folder": str(folder), "image_size": 16}]
    suite: dict[str, Any] = dict(models=[SMALL["splitmixer"]], datasets=datasets, recipe={"global_batch_size": 2})
    [trial] = plan_trials(folder.parent, **suite)
    of = accuracy.origin_of(trial).model_copy(update=origin)
    weights.save(create_model(trial.model, **trial.arguments), folder.parent / "kept.safetensors", of)
    return suite | {"models": [SMALL["splitmixer"] | {"weights": "kept.safetensors"}]}


def test_weights_of_other_classes_are_refused_by_name(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "pets", {"cat": (2, 1), "dog": (2, 1)})
    suite = kept_of_folder(folder)
    assert plan_trials(tmp_path, **suite)
    for part in ("train", "val"):
        (folder / part / "cat").rename(folder / part / "zebra")
    with pytest.raises(RequestError, match=r"weights: their classes are not .*: they know 'cat' and not 'zebra'"):
        plan_trials(tmp_path, **suite)
    suite = kept_of_folder(folder, classes=("zebra", "dog"))
    with pytest.raises(RequestError, match="classes are not the dataset's: the order differs"):
        plan_trials(tmp_path, **suite)


def test_weights_that_name_no_classes_or_are_of_another_dataset_are_flagged(tmp_path: Path) -> None:
    suite = kept_of_folder(write_tree(tmp_path / "pets", {"cat": (2, 1), "dog": (2, 1)}), classes=())
    [trial] = plan_trials(tmp_path, **suite)
    assert accuracy.weights_notes(trial, Fit({}, ("names without 'module.'",))) == [
        "names without 'module.'",
        "they name no classes, whose order is taken to be that of the folders",
    ]
    [of_digits] = plan_trials(tmp_path, models=[SMALL["splitmixer"]])
    other = accuracy.origin_of(of_digits).model_copy(update={"dataset": "mnist"})
    weights.save(create_model(of_digits.model, **of_digits.arguments), tmp_path / "a.safetensors", other)
    [given] = plan_trials(tmp_path, models=[SMALL["splitmixer"] | {"weights": "a.safetensors"}])
    assert accuracy.weights_notes(given, Fit({})) == ["trained on mnist"]
    record = Record.pending(given)
    epoch = Epoch(epoch=0, lr=0, seconds=0, train_loss=None, test_loss=1, top1=1, top5=1)
    record.add_accuracy(
        Curve(epochs=[epoch], best_top1_optimistic=1, best_epoch=0, test_images=1, weights_notes=["trained on mnist"])
    )
    assert list(map(str, record.flags)) == ["given weights: trained on mnist"]


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "model.", "module._orig_mod."])
def test_known_prefixes_of_all_names_are_left_out_and_said(prefix: str, tmp_path: Path) -> None:
    saved, other, path = model(0), model(1), tmp_path / "a.safetensors"
    save_file({prefix + name: value for name, value in saved.state_dict().items()}, path)
    assert weights.load_file(path, other).notes == (f"names without {prefix!r}",)
    assert all(torch.equal(other.state_dict()[name], value) for name, value in saved.state_dict().items())


@pytest.mark.parametrize(("text", "said"), [("", "is empty"), ("hello", "is neither a file of torch.save nor of")])
def test_a_damaged_file_of_torch_is_told_without_a_librarys_words(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_text(text)
    with pytest.raises(RequestError, match=said) as refused:
        weights.check(path, model(0))
    assert "header" not in str(refused.value)


def test_a_prefix_that_is_the_models_own_is_kept(tmp_path: Path) -> None:
    wrapped = torch.nn.ModuleDict({"model": model(0)})
    save_file(wrapped.state_dict(), tmp_path / "a.safetensors")
    assert weights.load_file(tmp_path / "a.safetensors", wrapped).notes == ()


@pytest.mark.parametrize("new", [True, False])
@pytest.mark.parametrize(("inside", "notes"), [("", ()), ("state_dict", ("tensors under 'state_dict'",))])
def test_files_of_pytorch_are_read(new: bool, inside: str, notes: tuple[str, ...], tmp_path: Path) -> None:
    saved, other, path = model(0), model(1), tmp_path / "a.pth"
    state = saved.state_dict()
    torch.save({inside: state, "epoch": 3} if inside else state, path, _use_new_zipfile_serialization=new)
    assert weights.origin(path) is None and weights.load_file(path, other).notes == notes
    assert all(torch.equal(other.state_dict()[name], value) for name, value in state.items())


class Harmful:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("harmed"),)


def test_no_code_in_a_file_of_pytorch_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "a.pt"
    torch.save({"state_dict": model(0).state_dict(), "args": Harmful()}, path)
    with pytest.raises(RequestError, match=r"a\.pt holds more than tensors, and reading it could run code"):
        weights.load_file(path, model(0))
    assert not (tmp_path / "harmed").exists()
    torch.save({"epoch": 3}, path)
    with pytest.raises(RequestError, match="holds no state_dict"):
        weights.load_file(path, model(0))
    path.write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(RequestError, match=r"a\.pt cannot be read as a file of PyTorch"):
        weights.load_file(path, model(0))


def test_a_pointer_of_git_lfs_is_named_as_such(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n")
    with pytest.raises(RequestError, match=r"a pointer of git-LFS, not the weights themselves: git lfs pull"):
        plan_trials(tmp_path, models=[SMALL["splitmixer"] | {"weights": "a.safetensors"}])
