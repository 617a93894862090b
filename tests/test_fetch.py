"""`mixbench data` list, fetch (from the tests' own server) and check, and runs whose data is missing."""

import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torchvision.datasets as official

from mixbench.cli import main
from mixbench.data.array_cache import caches_of
from mixbench.data.check import check_one
from mixbench.data.fetch import fetch
from mixbench.data.locations import IDX_FILES, missing, require
from mixbench.data.store import load
from mixbench.errors import RequestError
from mixbench.suite.datasets import find_dataset
from mixbench.system.lock import locked
from tests import small_sets
from tests.server import Server, serving
from tests.small_sets import Small
from tests.trials import write_suite


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving(tmp_path / "served") as server:
        yield server


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


Serve = Callable[[str], Small]


@pytest.fixture
def serve(server: Server, root: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
    """Serve a small dataset at its authors' addresses in place of the real one; it is missing on this machine."""

    def on_server(name: str) -> Small:
        small = small_sets.write(name, server.folder.parent / "original", monkeypatch)
        monkeypatch.setenv("MIXBENCH_DATA", str(root))
        monkeypatch.setitem(find_dataset.__globals__["DATASETS"], name, small.dataset)
        PUBLISHERS[name](server, server.folder.parent / "original", monkeypatch)
        return small

    return on_server


def _pack(server: Server, original: Path, name: str, *parts: str) -> str:
    with tarfile.open(server.folder / name, "w:gz") as archive:
        for part in parts:
            archive.add(original / part, part)
    return small_sets.md5(server.folder / name)


def _publish_mnist(server: Server, original: Path, patch: pytest.MonkeyPatch) -> None:
    for file in IDX_FILES:
        (original / "MNIST/raw" / file).rename(server.folder / file)
    patch.setattr(official.MNIST, "mirrors", [server.address + "gone/", server.address])


def _publish_cifar10(server: Server, original: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(official.CIFAR10, "tgz_md5", _pack(server, original, "c.tar.gz", "cifar-10-batches-py"))
    patch.setattr(official.CIFAR10, "url", server.address + "c.tar.gz")


def _publish_flowers102(server: Server, original: Path, patch: pytest.MonkeyPatch) -> None:
    folder = original / "flowers-102"
    checksum = _pack(server, folder, "102flowers.tgz", "jpg")
    for file in ("imagelabels.mat", "setid.mat"):
        (folder / file).rename(server.folder / file)
    patch.setitem(official.Flowers102._file_dict, "image", ("102flowers.tgz", checksum))
    patch.setattr(official.Flowers102, "_download_url_prefix", server.address)


def _publish_food101(server: Server, original: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(official.Food101, "_MD5", _pack(server, original, "food-101.tar.gz", "food-101"))
    patch.setattr(official.Food101, "_URL", server.address + "food-101.tar.gz")


PUBLISHERS = {
    "mnist": _publish_mnist,
    "cifar10": _publish_cifar10,
    "flowers102": _publish_flowers102,
    "food101": _publish_food101,
}


@pytest.mark.parametrize("name", PUBLISHERS)
def test_a_fetched_dataset_is_intact_and_is_not_fetched_again(name: str, serve: Serve, server: Server) -> None:
    small, said = serve(name), list[str]()
    assert check_one(small.dataset)["status"] == "missing"
    fetch([name], said.append)
    assert said[-1].startswith(f"{name}: fetched into")
    assert check_one(small.dataset)["status"] == "whole" and check_one(small.dataset)["bytes_on_disk"] > 0
    assert load(small.dataset).train.labels.tolist() == small.train_labels
    asked = len(server.asked)
    fetch([name], said.append)
    assert said[-1] == f"{name}: is here and whole" and len(server.asked) == asked


def test_progress_in_bytes_is_shown_while_downloading_and_unpacking(serve: Serve) -> None:
    serve("food101")
    shown: list[tuple[str, int, int]] = []
    fetch(["food101"], lambda _: None, lambda *words: shown.append(words))
    assert list(dict.fromkeys(what for what, _, _ in shown)) == [
        "food-101.tar.gz: downloading", "food-101.tar.gz: comparing its checksum", "food-101.tar.gz: unpacking",
    ]  # fmt: skip


def test_an_interruption_loses_only_the_file_being_fetched(serve: Serve, server: Server, root: Path) -> None:
    serve("mnist")
    kept = root / "MNIST/raw" / IDX_FILES[0]
    kept.parent.mkdir(parents=True)
    kept.write_bytes((server.folder / kept.name).read_bytes())
    (kept.parent / IDX_FILES[1]).write_bytes((server.folder / IDX_FILES[1]).read_bytes()[:20])
    fetch(["mnist"], lambda _: None)
    assert [path for path in server.asked if "gone" not in path] == [f"/{file}" for file in IDX_FILES[1:]]


def test_an_archive_that_was_half_unpacked_is_unpacked_again_not_fetched_again(
    serve: Serve, server: Server, root: Path
) -> None:
    small = serve("food101")
    fetch(["food101"], lambda _: None)
    asked = len(server.asked)
    lost = next((root / "food-101/images").rglob("*.jpg"))
    lost.unlink()
    found = check_one(small.dataset)
    assert found["status"] == "damaged" and "1 of 10 images cannot be used" in found["why"]
    fetch(["food101"], lambda _: None)
    assert lost.is_file() and len(server.asked) == asked and check_one(small.dataset)["status"] == "whole"


def test_a_file_with_another_checksum_is_refused(serve: Serve, server: Server) -> None:
    serve("cifar10")
    (server.folder / "c.tar.gz").write_bytes(b"<html>please log in</html>")
    with pytest.raises(
        RequestError, match=r"cifar10 could not be fetched \(http.*c\.tar\.gz: its checksum is wrong; the download"
    ):
        fetch(["cifar10"], lambda _: None)


def test_a_dataset_that_cannot_be_fetched_is_refused_before_any_download(
    serve: Serve, server: Server, root: Path
) -> None:
    serve("mnist")
    with pytest.raises(RequestError, match=r"imagenet: It cannot be fetched: put .* into .*imagenet as train/<wnid>/"):
        fetch(["mnist", "imagenet"], lambda _: None)
    assert server.asked == [] and not root.exists()


def test_one_process_fetches_at_a_time_and_the_other_is_told(serve: Serve, root: Path) -> None:
    serve("mnist")
    said: list[str] = []
    other = threading.Thread(target=fetch, args=(["mnist"], said.append))
    with locked(root / "fetch.lock"):
        other.start()
        deadline = time.monotonic() + 60
        while not said:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert "another process is fetching" in said[0] and missing(find_dataset("mnist"))
    other.join(60)
    assert said[-1].startswith("mnist: fetched into")


# -- the verb


def mixbench(*words: str, root: Path) -> tuple[int, str, str]:
    environment = os.environ | {"MIXBENCH_DATA": str(root)}
    command = [sys.executable, "-m", "mixbench", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    return done.returncode, done.stdout, done.stderr


def test_data_list_shows_which_datasets_are_present_and_how_to_get_the_others(root: Path) -> None:
    code, out, _ = mixbench("data", "list", "--json", root=root)
    rows = {row["name"]: row for row in json.loads(out)}
    assert code == 0 and rows["digits"]["status"] == "built in" and rows["cifar10"]["status"] == "missing"
    assert rows["cifar10"]["folder"] == str(root / "cifar-10-batches-py")
    assert rows["food101"]["decoded_bytes"] == 3 * (75_750 * 230**2 + 25_250 * 224**2)
    assert "mixbench data fetch cifar10" in rows["cifar10"]["remedy"]
    table = mixbench("data", "list", "cifar10", "imagenet", root=root)[1]
    assert "184.3 MB" in table and "<wnid>/*.JPEG" in table and "digits" not in table
    assert mixbench("data", "list", "cifar100", "digits", "cifar10", root=root)[1].count("internet") == 1
    assert "mixbench data fetch cifar100 cifar10;" in mixbench("data", "list", "cifar100", "cifar10", root=root)[1]


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["mixbench", *words])
    try:
        main.main()
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def test_data_check_names_damage_in_files_and_in_caches(
    serve: Serve, root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    small = serve("food101")
    assert call(monkeypatch, "data", "check", "digits") == 0
    assert call(monkeypatch, "data", "check", "digits", "food101") == 1, "it is asked for, and missing"
    assert call(monkeypatch, "data", "fetch", "food101") == 0
    load(small.dataset)
    capsys.readouterr()
    assert call(monkeypatch, "data", "check", "food101", "--json") == 0
    [row] = json.loads(capsys.readouterr().out)
    assert row["status"] == "whole" and row["cache_bytes"] == row["decoded_bytes"] == small.dataset.decoded_bytes
    cache = caches_of("food101")[0]
    cache.path.write_bytes(bytes(cache.bytes))
    assert call(monkeypatch, "data", "check", "food101", "--json") == 1
    [row] = json.loads(capsys.readouterr().out)
    assert (
        row["status"] == "damaged"
        and row["why"] == f"{cache.path} is damaged: delete it, or let a run set it aside and make it anew"
    )
    load(small.dataset)
    assert call(monkeypatch, "data", "check", "food101", "--json") == 0
    [row] = json.loads(capsys.readouterr().out)
    assert (row["status"], row["caches"]) == ("whole", "2 whole, 1 set aside")
    assert row["cache_bytes"] == row["decoded_bytes"] + cache.bytes
    cache.facts_file.write_text("[")
    assert call(monkeypatch, "data", "check", "food101", "--json") == 1, "one that no longer says what it is"


@pytest.mark.parametrize("words", [("check", "cifra10"), ("fetch", "cifra10"), ("list", "cifra10")])
def test_a_misspelt_dataset_is_refused(
    words: tuple[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, "data", *words) == 2
    assert "no dataset is called 'cifra10' (did you mean cifar10" in capsys.readouterr().err


# -- a run without data


def test_a_run_without_its_data_ends_before_anything_is_started(tmp_path: Path, root: Path) -> None:
    suite = str(write_suite(tmp_path, datasets=["cifar10", "mnist", "digits"]))
    code, out, err = mixbench("run", suite, "--out", str(tmp_path / "run"), root=root)
    assert (code, out) == (2, "") and not (tmp_path / "run").exists()
    folder = root / "cifar-10-batches-py"
    assert f"cifar10 is not on this machine: no {folder}/data_batch_1 and 6 more (looked in {folder})" in err
    assert "mixbench data fetch cifar10" in err and "mixbench data fetch mnist" in err and "digits" not in err


def test_fashion_mnist_is_no_longer_downloaded_by_a_run(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXBENCH_DATA", str(root))
    monkeypatch.setattr("mixbench.data.locations.DEBIAN_FASHION_MNIST", root / "nothing")
    with pytest.raises(RequestError, match=r"in .*nothing and .*FashionMNIST/raw\).*data fetch fashion_mnist, or"):
        require([find_dataset("fashion_mnist")])


def test_a_run_trains_on_data_that_was_fetched_checked_and_resized(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve("cifar10")
    fetch(["cifar10"], lambda _: None)
    data, recipe = [{"name": "cifar10", "image_size": 16}], {"epochs": 2, "global_batch_size": 10}
    suite = write_suite(tmp_path, datasets=data, recipe=recipe, measure=["accuracy"])
    out = tmp_path / "run"
    assert call(monkeypatch, "run", str(suite), "--out", str(out), "--cluster", "debug") == 0, capsys.readouterr()
    [record] = (json.loads(path.read_text()) for path in out.glob("trials/*/record.json"))
    assert (record["dataset"], record["image_size"], record["epochs"]) == ("cifar10", 16, 2)
    assert record["details"]["curve"]["test_images"] == 4
    assert {cache.shape for cache in caches_of("cifar10")} == {(20, 3, 16, 16), (4, 3, 16, 16)}


def test_counts_and_speed_need_no_data(tmp_path: Path, root: Path) -> None:
    suite = str(write_suite(tmp_path, datasets=["cifar10"]))
    words = ["--out", str(tmp_path / "run"), "--cluster", "debug", "--json", "--set", "measure=[complexity,throughput]"]
    code, out, err = mixbench("run", suite, *words, root=root)
    assert code == 0, err
    assert json.loads(out)["trials"]["done"] == 1
