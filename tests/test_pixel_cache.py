"""The cache of streamed images, decoded once: gives the same batches, and is used only if intact."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mixbench.cli import main
from mixbench.data.decode import FILES_A_TASK, open_rgb
from mixbench.data.loader import TrainLoader, evaluation_batches
from mixbench.data.pixel_cache import DecodedCache, Pixels, caches_of_splits, decoded_pixels
from mixbench.data.readers import read
from mixbench.data.store import load
from mixbench.errors import RequestError
from mixbench.suite.datasets import Dataset, find_dataset
from mixbench.suite.recipe import Augment, ResizeCrop
from mixbench.system.lock import locked
from tests import disks
from tests.small_sets import photograph, write_tree
from tests.test_fetch import call
from tests.test_store import wait_for
from tests.trials import plan_trials, write_suite

CPU = torch.device("cpu")
CHUNKS = 3
"""Chunks of up to 64 images, of the tree's 150 training images."""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIXBENCH_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write_tree(tmp_path / "photos", {"cat": (80, 2), "dog": (70, 1)})


def pets(tree: Path, decoded: bool = True) -> Dataset:
    return find_dataset("pets", 16, str(tree), decoded)


def decode(tree: Path) -> tuple[Pixels, list[tuple[str, int, int]]]:
    """Decode the training images; return them and the progress reported."""
    said: list[tuple[str, int, int]] = []
    train, _ = read(pets(tree))
    return decoded_pixels(pets(tree), "train", train.images, lambda *words: said.append(words)), said  # type: ignore[arg-type]


def train_cache(tree: Path) -> DecodedCache:
    [[cache], _] = caches_of_splits(pets(tree))
    return cache


def holds(pixels: Pixels, tree: Path) -> bool:
    """Return True if the cache holds all images as they are when decoded now."""
    paths = sorted(tree.glob("train/*/*"), key=lambda path: (path.parent.name, path.name))
    found = [pixels.image(sample) for sample in range(len(paths))]
    wanted = [np.asarray(open_rgb(path)) for path in paths]
    return all(image and np.array_equal(np.asarray(image), right) for image, right in zip(found, wanted, strict=True))


def test_batches_are_those_of_streamed_images_to_the_bit(tree: Path) -> None:
    random = np.random.default_rng(0)
    for name, mode in (("grey", "L"), ("cmyk", "CMYK"), ("palette", "P")):
        image = Image.fromarray(random.integers(256, size=(30, 50, 3), dtype=np.uint8)).convert(mode)
        image.save(tree / f"train/cat/{name}.{'png' if mode == 'P' else 'jpg'}")
    Image.fromarray(random.integers(2**16, size=(20, 20), dtype=np.uint16)).save(tree / "val/dog/deep.png")
    augment = Augment(resize_crop=ResizeCrop(scale=(0.1, 1.0)), flip=True, mixup=0.5)
    found = []
    for decoded in (False, True):
        dataset = pets(tree, decoded)
        splits = load(dataset, processes=99).on(CPU)  # one process to decode for each split
        if decoded:
            shutil.rmtree(tree)  # no file is decoded any more
        loader = TrainLoader(splits.train, dataset, augment, 32, 0, 1, drop_last=False)
        batches = [*loader.epoch(seed=1, epoch=0), *evaluation_batches(splits.test, dataset, 2, 0, 1)]
        found.append(batches)
    assert [len(images) for images, _ in found[0]] == [32, 32, 32, 32, 25, 2, 2]
    for (images, labels), (others, other_labels) in zip(*found, strict=True):
        assert torch.equal(images, others) and torch.equal(labels, other_labels)


def test_images_are_decoded_once_and_progress_is_reported(tree: Path, cache: Path) -> None:
    pixels, said = decode(tree)
    assert len(said) == CHUNKS and said[-1] == ("decoding pets-train", 150, 150) and holds(pixels, tree)
    assert said == sorted(said)
    pixels, said = decode(tree)
    assert said == [] and holds(pixels, tree)
    name = train_cache(tree).path.stem
    assert {path.name for path in cache.iterdir()} == {
        name + suffix for suffix in (".pixels", ".index", ".json", ".lock")
    }


def cut(cache: DecodedCache) -> None:
    os.truncate(cache.path, cache.path.stat().st_size - 1)


def grow(cache: DecodedCache) -> None:
    os.truncate(cache.path, cache.path.stat().st_size + 1)


def lose_a_stretch(cache: DecodedCache) -> None:
    with open(cache.path, "r+b") as file:
        file.seek(cache.path.stat().st_size // 2)
        file.write(bytes(cache.path.stat().st_size // 64))


def lose_the_facts(cache: DecodedCache) -> None:
    cache.facts_file.unlink()


def damage_the_facts(cache: DecodedCache) -> None:
    cache.facts_file.write_text("[1, 2]")


def lose_the_index(cache: DecodedCache) -> None:
    cache.index_file.unlink()


def swap_two_images(cache: DecodedCache) -> None:
    rows = cache.rows()
    rows[["offset", "height", "width", "crc"]][[3, 70]] = rows[["offset", "height", "width", "crc"]][[70, 3]]
    rows.tofile(cache.index_file)


def lose_the_pixels(cache: DecodedCache) -> None:
    cache.path.unlink()


DAMAGES = (
    cut,
    grow,
    lose_a_stretch,
    lose_the_facts,
    damage_the_facts,
    lose_the_index,
    swap_two_images,
    lose_the_pixels,
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_cache_is_rebuilt(damage: Callable[[DecodedCache], None], tree: Path) -> None:
    decode(tree)
    damage(train_cache(tree))
    pixels, said = decode(tree)
    assert len(said) == CHUNKS and holds(pixels, tree)
    assert train_cache(tree).good(whole=True)


def test_an_image_with_a_wrong_byte_is_decoded_from_its_file_instead(tree: Path) -> None:
    right = [batch.clone() for batch in load(pets(tree), processes=99).train.batches([torch.arange(4)], CPU)]
    cache = train_cache(tree)
    row = cache.rows()[1]
    with open(cache.path, "r+b") as file:
        file.seek(int(row["offset"]) + 100)
        byte = file.read(1)[0]
        file.seek(int(row["offset"]) + 100)
        file.write(bytes([byte ^ 1]))
    assert Pixels(cache.path, cache.rows()).image(1) is None and not cache.good(whole=True)
    splits = load(pets(tree), processes=99)
    cache.path.write_bytes(bytes(cache.path.stat().st_size))  # while it is in use
    cache.facts_file.unlink()
    assert torch.equal(next(iter(splits.train.batches([torch.arange(4)], CPU))), right[0])


@pytest.mark.parametrize("change", ["its contents", "its time"])
def test_a_cache_of_files_that_have_changed_is_rebuilt(change: str, tree: Path) -> None:
    decode(tree)
    file = tree / "train/dog/dog_7.JPEG"
    if change == "its time":
        os.utime(file, ns=(0, 0))
    else:
        time = file.stat().st_mtime_ns
        photograph(file, 2, np.random.default_rng(99))
        os.utime(file, ns=(time, time))
    pixels, said = decode(tree)
    assert len(said) == CHUNKS and holds(pixels, tree)


def test_a_file_that_cannot_be_decoded_is_named_and_images_decoded_before_are_kept(tree: Path) -> None:
    broken = tree / "train/dog/dog_69.JPEG"  # of the last chunk
    whole = broken.read_bytes()
    broken.write_bytes(whole[:200])
    with pytest.raises(RequestError, match=f"{broken} cannot be decoded as an image"):
        decode(tree)
    broken.write_bytes(whole)
    pixels, said = decode(tree)
    assert said[-1] == ("decoding pets-train", 150, 150) and holds(pixels, tree)


DECODE = """
import os, signal, sys
from pathlib import Path
from mixbench.suite.datasets import find_dataset
from mixbench.data.pixel_cache import decoded_pixels
from mixbench.data.readers import read

chunks = 0

def say(what, done, total):
    global chunks
    print(what, flush=True)
    chunks += what.startswith("decoding")
    if chunks == int(sys.argv[2]):
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    pets = find_dataset("pets", 16, sys.argv[1], True)
    decoded_pixels(pets, "train", read(pets)[0].images, say)
"""


def start_decoding(tree: Path, killed_after: int, log: Path) -> subprocess.Popen[bytes]:
    script = log.with_suffix(".py")
    script.write_text(DECODE)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    with open(log, "wb") as out:
        return subprocess.Popen([sys.executable, script, tree, str(killed_after)], env=environment, stdout=out)


def test_decoding_resumes_after_a_kill(tree: Path, tmp_path: Path) -> None:
    assert start_decoding(tree, 2, tmp_path / "log").wait(60) == -9
    cache = train_cache(tree)
    assert cache.good() is None and cache.part.path.exists(), "half-written, and not used"
    pixels, said = decode(tree)
    assert said == [("decoding pets-train", 150, 150)] and holds(pixels, tree)
    assert cache.good(whole=True) and not cache.part.path.exists() and not cache.part.index_file.exists()


def test_when_decoding_resumes_files_that_have_changed_are_decoded_again(tree: Path, tmp_path: Path) -> None:
    assert start_decoding(tree, 2, tmp_path / "log").wait(60) == -9
    [begun] = train_cache(tree).left_to_decode()[1]  # chunks are done in any order
    changed = next(index for index in range(len(train_cache(tree).files)) if not begun <= index < begun + FILES_A_TASK)
    os.utime(train_cache(tree).files[changed], ns=(0, 0))
    pixels, said = decode(tree)
    assert len(said) == 2 and holds(pixels, tree)


@pytest.mark.parametrize("loss", ["pixels", "index"])
def test_a_partial_cache_with_a_missing_file_is_started_over(loss: str, tree: Path, tmp_path: Path) -> None:
    assert start_decoding(tree, 2, tmp_path / "log").wait(60) == -9
    part = train_cache(tree).part
    (part.path if loss == "pixels" else part.index_file).unlink()
    pixels, said = decode(tree)
    assert len(said) == CHUNKS and holds(pixels, tree)


def test_two_processes_decode_once(tree: Path, tmp_path: Path) -> None:
    logs = [tmp_path / "first", tmp_path / "second"]
    with locked(train_cache(tree).path.with_suffix(".lock")):
        both = [start_decoding(tree, -1, log) for log in logs]
        wait_for(lambda: all("waiting" in log.read_text() for log in logs))
    assert [process.wait(60) for process in both] == [0, 0]
    said = "".join(log.read_text() for log in logs).splitlines()
    assert said.count("decoding pets-train") == CHUNKS and train_cache(tree).good(whole=True)


# -- in a suite


def suite_of(tree: Path, **entry: object) -> dict[str, Any]:
    return dict(
        models=["convmixer_256_8"],
        datasets=[{"name": "pets", "image_folder": str(tree), "image_size": 16} | entry],
        recipe={"global_batch_size": 20},
    )


def test_a_trials_id_is_the_same_decoded_or_not(tree: Path, tmp_path: Path) -> None:
    [streamed], [decoded] = (plan_trials(tmp_path, **suite_of(tree, decoded=each)) for each in (False, True))
    assert streamed.id == decoded.id and streamed == decoded
    assert (streamed.data.decoded, decoded.data.decoded) == (False, True)
    assert type(decoded).model_validate_json(decoded.model_dump_json()).data.decoded


def test_a_dataset_both_decoded_and_streamed_is_refused_as_a_duplicate(tree: Path, tmp_path: Path) -> None:
    both = [suite_of(tree, decoded=each)["datasets"][0] for each in (False, True)]
    with pytest.raises(RequestError, match=r"datasets\.1 gives the same trials as datasets\.0"):
        plan_trials(tmp_path, **suite_of(tree) | {"datasets": both})


def test_decoded_is_refused_for_datasets_that_are_not_streamed(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="decoded: cifar10 is kept decoded in any case; it is for imagenet or an"):
        plan_trials(tmp_path, datasets=[{"name": "cifar10", "decoded": True}])


def test_a_disk_that_is_too_small_is_refused_before_anything_is_started(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    suite = str(write_suite(tmp_path, **suite_of(tree, decoded=True), measure=["accuracy"]))
    with disks.small(tmp_path / "disk", 1_000_000) as disk:
        monkeypatch.setenv("MIXBENCH_CACHE", str(disk / "cache"))
        assert call(monkeypatch, "run", suite, "--out", str(tmp_path / "run"), "--cluster", "debug") == 2
        assert list(disk.iterdir()) == [] and not (tmp_path / "run").exists()
    taken = sum(np.prod(np.asarray(open_rgb(path)).shape) for path in tree.glob("*/*/*"))
    said = capsys.readouterr().err
    assert "disk/cache has 1.0 MB free; the decoded images take 1.1 MB: free some, or name another folder" in said
    assert 1_050_000 < taken + 36 * 153 < 1_150_000


def test_a_dry_run_says_what_will_be_decoded(
    tree: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"about 1.1 MB of images are decoded once, into {cache}"
    for decoded, here in ((True, True), (False, False)):
        suite = str(write_suite(tmp_path, **suite_of(tree, decoded=decoded), measure=["accuracy"]))
        assert call(monkeypatch, "run", suite, "--dry-run") == 0
        assert (line in capsys.readouterr().out) == here and not cache.exists()


def test_a_disk_that_fills_up_while_decoding_is_reported_and_decoded_images_are_kept(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with disks.small(tmp_path / "disk", 1_200_000) as disk:
        monkeypatch.setenv("MIXBENCH_CACHE", str(disk))
        monkeypatch.setattr("mixbench.data.pixel_cache.estimated_bytes", lambda files: 0)
        (disk / "other").write_bytes(bytes(600_000))
        with pytest.raises(RequestError, match=r"cannot be kept in .*/disk: No space left on device"):
            decode(tree)
        (disk / "other").unlink()
        pixels, said = decode(tree)
        assert said[-1] == ("decoding pets-train", 150, 150) and holds(pixels, tree)


def test_a_run_decodes_its_images_and_check_shows_the_caches(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # one process to load each split: they start slowly
    monkeypatch.setattr("mixbench.data.store.usable_cores", lambda: 1)
    model = [{"name": "convmixer_256_8", "dim": 8, "depth": 1, "kernel_size": 3}]
    keys = dict(measure=["accuracy"], models=model, recipe={"epochs": 1, "global_batch_size": 50})
    suite = str(write_suite(tmp_path, **suite_of(tree, decoded=True) | keys))
    assert call(monkeypatch, "run", suite, "--out", str(tmp_path / "run"), "--cluster", "debug") == 0
    [record] = (json.loads(path.read_text()) for path in tmp_path.glob("run/trials/*/record.json"))
    assert record["status"] == "done" and record["details"]["curve"]["test_images"] == 3
    capsys.readouterr()
    cache = train_cache(tree)
    size = sum(path.stat().st_size for path in cache.path.parent.iterdir() if path.suffix in (".pixels", ".index"))
    assert check(monkeypatch, capsys, "pets") == (0, "whole", size, "2 whole", "")
    cut(cache)
    said = f"{cache.path} is damaged, or its images have changed: a run makes it anew"
    assert check(monkeypatch, capsys, "pets") == (1, "damaged", size - 1, "1 whole, 1 damaged", said)


def check(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str
) -> tuple[int, str, int, str, str]:
    code = call(monkeypatch, "data", "check", name, "--json")
    [row] = json.loads(capsys.readouterr().out)
    return code, row["status"], row["cache_bytes"], row["caches"], row["why"]


def test_check_shows_caches_that_are_half_built_or_of_other_images(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    decode(tree)
    old = train_cache(tree)
    size = old.bytes
    (tree / "train/cat/cat_0.JPEG").unlink()
    assert start_decoding(tree, 1, tmp_path / "log").wait(60) == -9
    part = train_cache(tree).part
    code, status, bytes_, caches, why = check(monkeypatch, capsys, "pets")
    assert (code, status, caches) == (1, "damaged", "1 of other images, 1 half built")
    assert bytes_ == old.path.stat().st_size + part.bytes and size > 0
    assert why == f"{old.path} holds other images than the dataset has now: delete it"
    shutil.rmtree(tree)
    assert call(monkeypatch, "data", "check", "pets", "--json") == 1
    [row] = json.loads(capsys.readouterr().out)
    assert row["status"] == "missing" and f"no folder {tree}/train" in row["why"]
    with suppress(SystemExit):
        main.cli(["data", "check"], standalone_mode=False)
    assert "pets" in capsys.readouterr().out
