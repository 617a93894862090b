"""The cache of decoded images: built once, used only if intact; batches of images that stay on the host."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from operator import ne
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch
from PIL import Image

from mixbench.data import array_cache
from mixbench.data.array_cache import Cache
from mixbench.data.decode import DECODING
from mixbench.data.locations import cache_folders
from mixbench.data.store import Images, Splits, gathered, load
from mixbench.errors import RequestError
from mixbench.suite.datasets import find_dataset
from mixbench.system.files import file_sha256
from mixbench.system.lock import locked
from tests import small_sets
from tests.disks import read_only
from tests.small_sets import Small


@pytest.fixture
def food(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    return small_sets.write("food101", tmp_path, monkeypatch)


def said_while_loading(small: Small) -> tuple[Splits, list[tuple[str, int, int]]]:
    said: list[tuple[str, int, int]] = []
    splits = load(small.dataset, lambda *words: said.append(words))
    return splits, said


def train_cache(root: Path) -> Cache:
    [train] = [cache for cache in array_cache.caches_of("food101") if "-train-" in cache.path.name]
    assert train.path.parent == root / "cache"
    return train


def test_images_are_decoded_once_and_progress_is_reported(food: Small, tmp_path: Path) -> None:
    first, said = said_while_loading(food)
    assert said == [("decoding food101-train", 6, 6), ("decoding food101-test", 4, 4)]
    second, said_again = said_while_loading(food)
    assert said_again == []
    assert torch.equal(first.train.images, second.train.images) and torch.equal(first.test.images, second.test.images)
    assert train_cache(tmp_path).is_good()
    assert not list((tmp_path / "cache").glob(".*")), "nothing is left beside it"


def test_writing_to_mapped_images_does_not_change_the_cache(food: Small, tmp_path: Path) -> None:
    load(food.dataset).train.images.zero_()
    assert train_cache(tmp_path).is_good()


def cut(cache: Cache) -> None:
    os.truncate(cache.path, cache.bytes - 1)


def lose_a_stretch(cache: Cache) -> None:
    with open(cache.path, "r+b") as file:
        file.seek(cache.bytes // 2)
        file.write(bytes(cache.bytes // 64))


def lose_the_facts(cache: Cache) -> None:
    cache.facts_file.unlink()


def damage_the_facts(cache: Cache) -> None:
    cache.facts_file.write_text('{"shape": [6,')


def claim_another_shape(cache: Cache) -> None:
    facts = json.loads(cache.facts_file.read_text())
    cache.facts_file.write_text(json.dumps(facts | {"shape": [3, 3, 230, 460]}))


@pytest.mark.parametrize("damage", [cut, lose_a_stretch, lose_the_facts, damage_the_facts, claim_another_shape])
def test_a_damaged_cache_is_rebuilt(damage: Callable[[Cache], None], food: Small, tmp_path: Path) -> None:
    right = load(food.dataset).train.images.clone()
    damage(train_cache(tmp_path))
    cache = train_cache(tmp_path)
    broken = [path.read_bytes() for path in (cache.path, cache.facts_file) if path.exists()]
    splits, said = said_while_loading(food)
    assert torch.equal(splits.train.images, right) and train_cache(tmp_path).is_good()
    assert said == [(anew(cache, 1), 0, 6), (anew(cache, 1), 6, 6)]
    asides = sorted((tmp_path / "cache").glob("*.damaged-*"))
    assert [path.read_bytes() for path in asides] == broken, "nothing is deleted"
    assert said_while_loading(food)[1] == []


def anew(cache: Cache, number: int) -> str:
    name = f"{cache.path.name}.damaged-{number}"
    return f"decoding food101-train anew: {cache.path} was damaged, and is set aside as {name}"


def test_a_cache_with_one_wrong_byte_is_reported_and_set_aside(food: Small, tmp_path: Path) -> None:
    right = load(food.dataset).train.images.clone()
    cache, random = train_cache(tmp_path), Random(0)
    places = [0, cache.bytes - 1, *random.sample(range(cache.bytes), 18)]
    whole = cache.path.read_bytes()
    for number, place in enumerate(places, 1):
        with open(cache.path, "r+b") as file:
            file.seek(place)
            file.write(bytes([whole[place] ^ 1 << random.randrange(8)]))
        splits, said = said_while_loading(food)
        assert said == [(anew(cache, number), 0, 6), (anew(cache, number), 6, 6)]
        assert torch.equal(splits.train.images, right)
    asides = [path.read_bytes() for path in array_cache.set_aside_of("food101")]
    assert len(asides) == len(places) and all(sum(map(ne, aside, whole)) == 1 for aside in asides)


def test_of_processes_that_find_a_damaged_cache_one_sets_it_aside_and_rebuilds_it(tmp_path: Path) -> None:
    (tmp_path / "c.images").write_bytes(bytes(5000))
    (tmp_path / "go on").touch()
    waits = [f"waits {number}" for number in range(4)]
    with locked(tmp_path / "c.lock"):
        several = [start_building(tmp_path, name) for name in waits]
        wait_for(lambda: all((tmp_path / name).exists() for name in waits))  # each has seen the damage
    assert [process.wait(60) for process in several] == [0] * 4
    assert (tmp_path / "log").read_text() == "written\n"
    assert [path.name for path in tmp_path.glob("*.damaged-*")] == ["c.images.damaged-1"]


def test_an_intact_cache_from_before_crc32_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = small_sets.write("cifar10", tmp_path, monkeypatch)
    small = replace(small, dataset=replace(small.dataset, image_size=16))
    load(small.dataset)
    cache = next(cache for cache in array_cache.caches_of("cifar10") if "-train-" in cache.path.name)
    cache.facts_file.write_text(json.dumps({"shape": cache.shape, "sha256": file_sha256(cache.path)}))
    assert cache.is_good() and said_while_loading(small)[1] == []
    lose_a_stretch(cache)
    assert not cache.is_good()


def test_a_cache_of_photographs_that_were_replaced_or_decoded_otherwise_is_made_anew(
    food: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(food.dataset)
    small_sets.photograph(food.train[0], 1, np.random.default_rng(99))
    splits, said = said_while_loading(food)
    assert said == [("decoding food101-train", 6, 6)], "nothing is called damaged"
    expected = Image.open(food.train[0]).resize((230, 230), Image.Resampling.BILINEAR)
    assert np.array_equal(splits.train.images[0].numpy(), np.asarray(expected).transpose(2, 0, 1))
    monkeypatch.setattr(array_cache, "DECODING", DECODING + 1)
    assert [words[0] for words in said_while_loading(food)[1]] == ["decoding food101-train", "decoding food101-test"]
    assert len(list((tmp_path / "cache").glob("*.images"))) == 2, "the old ones are deleted"


def test_a_damaged_cache_on_a_read_only_share_is_reported_and_another_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    food = small_sets.write("food101", tmp_path / "share", monkeypatch)
    own = give_home(tmp_path, monkeypatch)
    right = load(food.dataset).train.images.clone()
    damaged = train_cache(tmp_path / "share")
    lose_a_stretch(damaged)
    with read_only(tmp_path / "share"):
        splits, said = said_while_loading(food)
        assert said == [
            (f"not used, as it is damaged or of other images: {damaged.path}", 0, 0),
            ("decoding food101-train", 6, 6),
        ]
    assert torch.equal(splits.train.images, right) and (own / damaged.path.name).exists()


def test_a_cache_that_was_being_written_when_its_process_died_is_not_used(food: Small, tmp_path: Path) -> None:
    right = load(food.dataset).train.images.clone()
    cache = train_cache(tmp_path)
    half = cache.path.with_name(f".{cache.path.name}.12345.tmp")
    cache.path.rename(half)
    cache.facts_file.unlink()
    splits, said = said_while_loading(food)
    assert said == [("decoding food101-train", 6, 6)] and torch.equal(splits.train.images, right)
    assert not half.exists()


def test_an_error_while_decoding_leaves_no_files(food: Small, tmp_path: Path) -> None:
    food.train[5].write_bytes(b"no image")
    with pytest.raises(RequestError, match="cannot be decoded as an image"):
        load(food.dataset)
    assert {path.suffix for path in (tmp_path / "cache").iterdir()} == {".lock"}


def test_a_full_disk_is_reported_before_anything_is_decoded(food: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = type("usage", (), {"free": 1000})
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(RequestError, match=r"0.0 MB free; the decoded images take 1.0 MB: free some, or .*_CACHE"):
        load(food.dataset)


BUILD = """
import sys, time
from pathlib import Path
from mixbench.data.array_cache import Cache

def write(path):
    with open(sys.argv[2], "a") as log:
        log.write("written\\n")
    path.write_bytes(b"x" * 5000)
    Path(sys.argv[3]).touch()
    deadline = time.monotonic() + 60
    while not Path(sys.argv[4]).exists() and time.monotonic() < deadline:
        time.sleep(0.01)

Cache(Path(sys.argv[1]), (5000,)).build(write, Path(sys.argv[5]).touch, print)
"""


def start_building(folder: Path, waits: str = "waits") -> subprocess.Popen[bytes]:
    paths = [str(folder / name) for name in ("c.images", "log", "begun", "go on", waits)]
    return subprocess.Popen([sys.executable, "-c", BUILD, *paths])


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_locked(path: Path) -> bool:
    probe = f"import fcntl; fcntl.flock(open({str(path)!r}, 'a'), fcntl.LOCK_EX | fcntl.LOCK_NB)"
    return subprocess.run([sys.executable, "-c", probe], stderr=subprocess.DEVNULL, check=False).returncode != 0


DECODE = """
import multiprocessing, os, signal, sys
from pathlib import Path
from mixbench.data.decode import decode_files

def die(*_):
    Path(sys.argv[2]).write_text(" ".join(str(child.pid) for child in multiprocessing.active_children()))
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    decode_files([sys.argv[1]] * 10_000, 230, Path(os.devnull), die)
"""


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_decoding_processes_end_with_their_parent(food: Small, tmp_path: Path) -> None:
    script, pids = tmp_path / "decode.py", tmp_path / "pids"
    script.write_text(DECODE)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    started = subprocess.run([sys.executable, script, food.train[0], pids], check=False, env=environment)
    assert started.returncode == -9
    children = [int(pid) for pid in pids.read_text().split()]
    assert children
    wait_for(lambda: not any(map(lives, children)))


def test_a_cache_folder_that_is_not_writable_is_reported(
    food: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("MIXBENCH_CACHE", str(tmp_path / "file/cache"))
    with pytest.raises(RequestError, match=r"the decoded images cannot be kept in .*cache: .*; name a folder"):
        load(food.dataset)


def give_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Set $XDG_CACHE_HOME; return this user's own cache folder in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home/.cache"))
    return tmp_path / "home/.cache/mixbench"


def test_caches_of_data_on_a_read_only_share_go_to_the_users_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    food = small_sets.write("food101", tmp_path / "share", monkeypatch)
    own = give_home(tmp_path, monkeypatch)
    with read_only(tmp_path / "share"):
        splits, said = said_while_loading(food)
        assert len(said) == 2 and len(splits.train.images) == 6
        assert {cache.path.parent for cache in array_cache.caches_of("food101")} == {own}
        assert said_while_loading(food)[1] == [], "they are found there again"


def test_existing_caches_on_a_read_only_share_are_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    food = small_sets.write("food101", tmp_path / "share", monkeypatch)
    own = give_home(tmp_path, monkeypatch)
    load(food.dataset)
    with read_only(tmp_path / "share"):
        assert said_while_loading(food)[1] == [] and not own.exists()


def test_a_cache_folder_named_in_the_environment_is_the_only_one(
    food: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(food.dataset)
    monkeypatch.setenv("MIXBENCH_CACHE", str(tmp_path / "named"))
    assert len(said_while_loading(food)[1]) == 2
    assert {cache.path.parent for cache in array_cache.caches_of("food101")} == {tmp_path / "named"}


def test_a_data_root_that_cannot_be_made_leaves_caches_to_the_users_own_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = give_home(tmp_path, monkeypatch)
    (tmp_path / "file").write_text("in the way")
    for root, first in ((tmp_path / "file/data", own), (tmp_path / "new/data", tmp_path / "new/data/cache")):
        monkeypatch.setenv("MIXBENCH_DATA", str(root))
        assert cache_folders()[0] == first


@pytest.mark.parametrize(("free", "fits"), [(2_000, True), (1_919, False)])
def test_images_go_to_a_gpu_if_they_fit_in_half_of_its_free_memory(
    free: int, fits: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[torch.device, bool]] = []

    def on(images: Images, device: torch.device, whole: bool) -> Images:
        asked.append((device, whole))
        return images

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (free, 80e9))
    monkeypatch.setattr(Images, "on", on)
    part = Images(torch.zeros(10, 3, 4, 4, dtype=torch.uint8), torch.zeros(10))
    gpu = torch.device("cuda", 0)
    Splits(part, part).on(gpu)
    assert asked == [(gpu, fits)] * 2


def test_of_two_processes_one_builds_the_cache(tmp_path: Path) -> None:
    first = start_building(tmp_path)
    wait_for((tmp_path / "begun").exists)
    second = start_building(tmp_path)
    wait_for((tmp_path / "waits").exists)
    assert is_locked(tmp_path / "c.lock") and not (tmp_path / "c.images").exists()
    (tmp_path / "go on").touch()
    assert first.wait(60) == 0 and second.wait(60) == 0
    assert (tmp_path / "log").read_text() == "written\n"
    assert Cache(tmp_path / "c.images", (5000,)).is_good()


def test_a_killed_process_releases_its_lock(tmp_path: Path) -> None:
    first = start_building(tmp_path)
    wait_for((tmp_path / "begun").exists)
    assert is_locked(tmp_path / "c.lock")
    first.kill()
    first.wait(60)
    (tmp_path / "go on").touch()
    assert start_building(tmp_path).wait(60) == 0
    assert (tmp_path / "log").read_text() == "written\nwritten\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun", "c.images", "c.json", "c.lock", "go on", "log"]


def test_a_lock_is_held_within_its_context_and_no_longer(tmp_path: Path) -> None:
    told: list[str] = []
    with locked(tmp_path / "a.lock", lambda: told.append("free")):
        assert is_locked(tmp_path / "a.lock")
    with locked(tmp_path / "a.lock", lambda: told.append("free")):
        pass
    assert told == []


def test_arrays_at_another_size_are_resized_once_into_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.transforms.v2.functional import resize

    small = small_sets.write("cifar10", tmp_path, monkeypatch)
    for size in (20, 48):
        dataset = replace(small.dataset, image_size=size)
        assert dataset == replace(find_dataset("cifar10", size), train_images=20, test_images=4)
        splits = load(dataset)
        assert torch.equal(splits.train.images, resize(torch.from_numpy(small.train), [size, size], antialias=True))
        assert splits.test.images.shape == (4, 3, size, size)
    assert len(array_cache.caches_of("cifar10")) == 4


def test_other_images_have_another_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXBENCH_DATA", str(tmp_path))
    images = torch.zeros(3, 3, 8, 8, dtype=torch.uint8).numpy()
    paths = {
        array_cache.cached("x-train", array, 3, 16, lambda *_: None).path for array in (images, images + 1, images)
    }
    assert len(paths) == 2


def test_batches_of_images_on_the_device_are_those_of_the_indices() -> None:
    data = Images(torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(-1, 1, 2, 2), torch.arange(10))
    batches = list(data.batches([torch.tensor([3, 1]), torch.tensor([9])], torch.device("cpu")))
    assert [batch[:, 0, 0, 0].tolist() for batch in batches] == [[3, 1], [9]]


def test_batches_of_images_on_another_device_are_copied_to_this_one() -> None:
    data = Images(torch.zeros(10, 1, 2, 2, dtype=torch.uint8), torch.arange(10))
    [batch] = data.batches([torch.tensor([3, 1])], torch.device("meta"))
    assert batch.device.type == "meta" and batch.shape == (2, 1, 2, 2)


@pytest.mark.parametrize("count", [0, 1, 2, 9])
def test_images_on_the_host_are_gathered_ahead_in_their_order(count: int) -> None:
    images = torch.randint(256, (50, 3, 4, 4), dtype=torch.uint8)
    indices = list(torch.randperm(50)[: 5 * count].split(5)) if count else []
    batches = list(gathered(images, indices, torch.device("cpu")))
    assert len(batches) == count
    assert all(torch.equal(batch, images[index]) for batch, index in zip(batches, indices, strict=True))


def test_stopping_early_ends_the_thread_which_gathered_only_a_few_batches() -> None:
    import threading

    images, taken = torch.zeros(100, 1, 2, 2, dtype=torch.uint8), []

    def indices() -> object:
        for number in range(100):
            taken.append(number)
            yield torch.tensor([number])

    batches = gathered(images, indices(), torch.device("cpu"))  # type: ignore[arg-type]
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert len(taken) == 4
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("gather")]


def test_an_index_out_of_range_is_an_error_of_its_batch() -> None:
    with pytest.raises(IndexError):
        list(gathered(torch.zeros(3, 1, 2, 2, dtype=torch.uint8), [torch.tensor([7])], torch.device("cpu")))
