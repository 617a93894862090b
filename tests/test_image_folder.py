"""Folders of images: what is a class, an image and the same data; all bad files are named before a training."""

import json
import os
import shutil
import struct
import tracemalloc
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from mixbench.cli.main import cli
from mixbench.data import pixel_cache, stream
from mixbench.data.check import check_data, list_data
from mixbench.data.decode import open_rgb
from mixbench.data.readers import read
from mixbench.data.stream import centre
from mixbench.data.verify import require_readable
from mixbench.errors import RequestError
from mixbench.launch.checks import data_of
from mixbench.measure.recorder import error_text
from mixbench.run.record import Record
from mixbench.suite import image_folder
from mixbench.suite.datasets import Dataset, find_dataset, folder_facts
from tests import small_sets
from tests.small_sets import write_tree
from tests.trials import SMALL, plan_trials, write_suite

PETS = {"cat": (3, 2), "dog": (2, 1)}


@pytest.fixture
def pets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MIXBENCH_CACHE", str(tmp_path / "cache"))
    return write_tree(tmp_path / "pets", PETS, suffix=".jpg")


def found(folder: Path, bits: int = 0) -> Dataset:
    return find_dataset("pets", 16, str(folder), bits=bits)


def quiet(activity: str, done: int, total: int) -> None:
    """Show no progress."""


def refusal_of(function: Callable[[], object]) -> str:
    with pytest.raises(RequestError) as refused:
        function()
    return str(refused.value)


def test_hidden_folders_and_those_of_systems_are_no_classes_and_are_counted(pets: Path) -> None:
    before = found(pets)
    for name in ("train/.thumbs", "train/.ipynb_checkpoints", "val/@eaDir/x", "train/cat/@eaDir", "train/__MACOSX"):
        (pets / name).mkdir(parents=True)
        shutil.copy(pets / "train/cat/cat_0.jpg", pets / name)
    shutil.copy(pets / "train/cat/cat_0.jpg", pets / "train/cat/._cat_0.jpg")
    (pets / "train/cat/notes.txt").touch()
    (pets / "val/README").touch()
    after = found(pets)
    assert (after.classes, after.train_images, after.test_images) == (2, 5, 3) and after.contents == before.contents
    assert (after.skipped, after.not_read) == (6, {".txt": 1, "without suffix": 1})
    assert folder_facts(after) == (
        "pets: 5 training images and 3 test images of 2 classes (cat, dog), 6 hidden names skipped, "
        "2 files not read (1 .txt, 1 without suffix)"
    )
    assert [len(part.images) for part in read(after)] == [5, 3]


def test_every_ending_of_a_jpeg_is_read(pets: Path) -> None:
    for number, suffix in enumerate((".jfif", ".JPE", ".Jpeg")):
        (pets / f"train/cat/cat_{number}.jpg").rename(pets / f"train/cat/cat_{number}{suffix}")
    assert found(pets).train_images == 5


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda pets: (pets / "train/cat/session_b").mkdir(), "train/cat/session_b is a folder inside a class"),
        (lambda pets: (pets / "val/dog/deep").mkdir(), "val/dog/deep is a folder inside a class"),
        (lambda pets: os.mkfifo(pets / "val/dog/pipe.png"), "val/dog/pipe.png is no file"),
        (lambda pets: (pets / "train/empty").mkdir(), "class 'empty' has no images in .*train/empty"),
        (lambda pets: shutil.copy(pets / "val/dog/dog_0.jpg", pets / "train"), "train/dog_0.jpg lies in no class"),
        (lambda pets: [path.unlink() for path in pets.glob("train/dog/*")], "class 'dog' has no images in .*train/dog"),
        (lambda pets: [path.unlink() for path in pets.glob("val/dog/*")], "class 'dog' has no images in .*val/dog"),
        (
            lambda pets: [path.rename(path.with_suffix(".heic")) for path in pets.glob("train/dog/*")],
            r"class 'dog' has no images in .*train/dog, but 2 \.heic",
        ),
        (lambda pets: shutil.rmtree(pets / "train/dog"), "class 'dog' is in .*val but not in .*train"),
    ],
)
def test_images_that_would_not_be_used_are_refused_by_name(
    pets: Path, change: Callable[[Path], object], said: str
) -> None:
    change(pets)
    with pytest.raises(RequestError, match=f"image_folder: .*{said}"):
        found(pets)


def test_all_of_a_folders_problems_are_named_and_a_class_without_test_images_is_told(pets: Path) -> None:
    shutil.rmtree(pets / "val/dog")
    assert "no test image of dog" in folder_facts(found(pets))
    for name in ("train/a", "train/b", "val/c"):
        (pets / name).mkdir()
    refused = refusal_of(lambda: found(pets))
    assert all(f"class '{name}' has no images" in refused for name in "abc") and "class 'c' is in" in refused


def test_a_class_is_the_same_whether_its_accents_are_composed_or_not(pets: Path) -> None:
    composed, decomposed = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"
    for part, name in (("train", composed), ("val", decomposed)):
        (pets / part / "cat").rename(pets / part / name)
    dataset = found(pets)
    assert dataset.class_images == {composed: (3, 2), "dog": (2, 1)}
    train, test = read(dataset)
    assert train.labels.tolist() == [0, 0, 0, 1, 1] and test.labels.tolist() == [0, 0, 1]
    (pets / "train" / composed).rename(pets / "train" / decomposed)
    assert found(pets).contents == dataset.contents, "a copy of a Mac is the same data"
    shutil.copytree(pets / "train" / decomposed, pets / "train" / composed)
    with pytest.raises(RequestError, match="there is another folder of the class"):
        found(pets)


def trial_id(pets: Path) -> str:
    datasets = [{"name": "pets", "image_folder": str(pets), "image_size": 16}]
    return plan_trials(pets.parent, models=["convmixer_256_8"], datasets=datasets, recipe={"global_batch_size": 2})[
        0
    ].id


def swap(one: Path, other: Path) -> None:
    """Exchange the contents of two files."""
    a, b = one.read_bytes(), other.read_bytes()
    one.write_bytes(b)
    other.write_bytes(a)


def test_images_replaced_under_the_same_names_are_another_trial(pets: Path) -> None:
    before = trial_id(pets)
    shutil.copytree(pets, pets.parent / "copy")
    assert trial_id(pets.parent / "copy") == before, "a copy is the same data, whatever its times and place"
    swap(pets / "train/cat/cat_0.jpg", pets / "train/dog/dog_0.jpg")
    assert trial_id(pets) != before
    swap(pets / "train/cat/cat_0.jpg", pets / "train/dog/dog_0.jpg")
    assert trial_id(pets) == before


def test_many_images_are_told_apart_by_size_and_time(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_folder, "CHECKSUMMED_BYTES", 1000)
    dataset = found(pets)
    assert dataset.contents.startswith("modified:") and found(pets) == dataset
    os.utime(pets / "val/dog/dog_0.jpg", ns=(1, 1))
    assert found(pets).contents != dataset.contents
    with pytest.raises(RequestError, match="have changed since the suite was planned"):
        read(dataset)


def test_a_run_says_that_its_images_have_changed(pets: Path) -> None:
    def run() -> str:
        command = ["run", str(suite), "--out", str(pets.parent / "run"), "--cluster", "debug"]
        return CliRunner().invoke(cli, command, catch_exceptions=False).stdout

    folder = {"name": "pets", "image_folder": str(pets), "image_size": 16}
    suite = write_suite(pets.parent, datasets=[folder], measure=["complexity"], recipe={"global_batch_size": 2})
    assert "images" not in run().partition("\n")[0]
    swap(pets / "train/cat/cat_0.jpg", pets / "train/dog/dog_0.jpg")
    said = run()
    assert "1 trial to run" in said and "pets: its images have changed since 1 trial of this run" in said
    assert "0 trials to run (1 is done already)" in run()
    page, table = ((pets.parent / "run" / name).read_text() for name in ("report.html", "report.md"))
    assert all("5 training images and 3 test images of 2 classes (cat, dog)" in text for text in (page, table))


def damage(pets: Path) -> list[str]:
    """Damage images in several ways; returns the names."""
    first, second, third = (pets / f"train/cat/cat_{number}.jpg" for number in range(3))
    first.write_bytes(first.read_bytes()[:-300])
    second.write_bytes(b"")
    third.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n")
    (pets / "val/dog/dog_0.jpg").unlink()
    (pets / "val/dog/dog_0.jpg").symlink_to("nowhere")
    odd = os.path.join(os.fsencode(pets), b"train/dog/caf\xe9.jpg")
    with open(odd, "wb") as file:
        file.write(b"no image")
    return ["cat_0.jpg", "cat_1.jpg", "cat_2.jpg", "dog_0.jpg", r"caf\xe9.jpg"]


def test_all_bad_files_are_named_at_once_before_anything_is_trained(pets: Path) -> None:
    names = damage(pets)
    folder = {"name": "pets", "image_folder": str(pets), "image_size": 16}
    suite = write_suite(pets.parent, datasets=[folder], recipe={"global_batch_size": 2})
    run = ["run", str(suite), "--out", str(pets.parent / "run")]
    for command in (["validate", str(suite)], run):
        refused = CliRunner().invoke(cli, command)
        assert isinstance(refused.exception, RequestError)
        said = str(refused.exception).splitlines()
        assert said[0] == "pets: 5 of 9 images cannot be used; mend or delete them:" and len(said) == 6
        assert all(any(name in line for line in said[1:]) for name in names)
    assert not (pets.parent / "run").exists()
    assert "it is empty" in str(said) and "git lfs pull" in str(said) and "truncated" in str(said)
    assert refusal_of(lambda: data_of(found(pets))).splitlines() == said
    [row] = check_data([str(pets)])
    assert row["status"] == "damaged" and row["why"].splitlines()[1:] == said[1:]


def test_a_format_that_pil_cannot_decode_is_named_like_any_damaged_image(pets: Path) -> None:
    image = pets / "train/cat/web.jpg"
    Image.new("RGB", (8, 8)).save(image, "DDS")
    content = bytearray(image.read_bytes())
    content[80] = 0  # its pixel format, which PIL refuses with an error of its own
    image.write_bytes(content)
    assert f"{image} cannot be decoded as an image" in refusal_of(lambda: data_of(found(pets)))
    assert "Unknown pixel format" in refusal_of(lambda: open_rgb(image))


def test_good_images_are_decoded_once_until_they_change(pets: Path) -> None:
    said: list[int] = []
    for _ in range(2):
        require_readable([found(pets)], lambda activity, done, total: said.append(done))
    assert said == [8]
    assert data_of(found(pets)) == "5 training images and 3 test images of 2 classes (cat, dog)"
    for name in ("pets", str(pets)):
        assert [(row["status"], row["holds"]) for row in check_data([name])] == [("whole", data_of(found(pets)))]
    (pets / "val/dog/dog_0.jpg").write_bytes(b"")
    with pytest.raises(RequestError, match="1 of 8 images"):
        require_readable([found(pets)], quiet)


def test_validate_and_dry_run_count_what_is_read_and_what_is_not(pets: Path) -> None:
    (pets / "train/.hidden").touch()
    (pets / "train/cat/cat.heic").touch()
    folder = {"name": "pets", "image_folder": str(pets), "image_size": 16}
    suite = write_suite(pets.parent, datasets=[folder], recipe={"global_batch_size": 2})
    for command in (["validate", str(suite)], ["run", str(suite), "--dry-run"]):
        result = CliRunner().invoke(cli, command, catch_exceptions=False)
        assert folder_facts(found(pets)) in result.stdout
        facts = json.loads(CliRunner().invoke(cli, [*command, "--json"], catch_exceptions=False).stdout)
        [images] = facts["images"]
        assert images["classes"] == {"cat": [3, 2], "dog": [2, 1]}
        assert (images["skipped"], images["not_read"]) == (1, {".heic": 1})
    [trial] = plan_trials(pets.parent, datasets=[folder], recipe={"global_batch_size": 2})
    kept = Record.model_validate_json(Record.pending(trial).model_dump_json()).details.trial.data
    assert (kept.class_images, kept.skipped, kept.not_read) == ({"cat": (3, 2), "dog": (2, 1)}, 1, {".heic": 1})


def test_a_name_that_is_no_utf_8_can_be_recorded(pets: Path) -> None:
    (pets / "train/cat").rename(os.fsdecode(os.path.join(os.fsencode(pets), b"train/caf\xe9")))
    (pets / "val/cat").rename(os.fsdecode(os.path.join(os.fsencode(pets), b"val/caf\xe9")))
    assert list(found(pets).class_images) == [r"caf\xe9", "dog"]
    for error in (RequestError("caf\udce9"), ValueError("caf\udce9")):
        assert all(r"caf\udce9" in text or not text for text in error_text(error))
        assert all(text.encode() is not None for text in error_text(error))


def test_a_folder_whose_name_is_no_utf_8_is_refused_since_no_plan_could_hold_it(pets: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(pets.parent) + b"/d\xe9r"))
    odd.mkdir()
    with pytest.raises(RequestError, match=r"small\.yaml:\d+: datasets.0.image_folder: the bytes of .* are no UTF-8"):
        plan_trials(odd, datasets=[{"name": "pets", "image_folder": "pets"}])
    with pytest.raises(RequestError, match=r"models.0.weights: the bytes of .* are no UTF-8"):
        plan_trials(odd, models=[SMALL["splitmixer"] | {"weights": "a.pth"}])


UPRIGHT = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3) * 3
STORED = {  # by the EXIF orientation, what a camera writes of UPRIGHT
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.transpose(1, 0, 2),
    6: np.rot90(UPRIGHT, 1),
    7: np.rot90(UPRIGHT.transpose(1, 0, 2), 2),
    8: np.rot90(UPRIGHT, -1),
}


@pytest.mark.parametrize("orientation", STORED)
def test_images_are_turned_as_their_exif_orientation_says(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = Image.fromarray(np.ascontiguousarray(STORED[orientation]))
    for name in ("a.png", "a.webp", "a.tif"):
        stored.save(tmp_path / name, exif=exif, lossless=True)
        assert np.array_equal(np.asarray(open_rgb(tmp_path / name)), UPRIGHT), name
    large = stored.resize((8 * stored.width, 8 * stored.height))
    large.save(tmp_path / "a.jpg", exif=exif)
    plain = Image.open(tmp_path / "a.jpg")
    turned = np.asarray(open_rgb(tmp_path / "a.jpg"))
    assert turned.shape == (32, 48, 3)
    assert np.array_equal(np.sort(turned.ravel()), np.sort(np.asarray(plain).ravel()))


@pytest.mark.filterwarnings("ignore:.*EXIF")
def test_exif_that_cannot_be_read_turns_nothing(tmp_path: Path) -> None:
    for damaged in (
        b"Exif\0\0no exif at all",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\0\x09\x01\x12",
    ):
        Image.fromarray(UPRIGHT).save(tmp_path / "a.jpg", exif=b"Exif\0\0" + damaged)
        assert open_rgb(tmp_path / "a.jpg").size == (6, 4)


def png_16(path: Path, values: np.ndarray) -> None:
    """Write 16-bit values, H W or H W 3, as a PNG."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = values.shape[:2]
    head = struct.pack(">IIBBBBB", width, height, 16, 2 if values.ndim == 3 else 0, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts = (chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b""))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def deep_pets(pets: Path, most: int, shape: tuple[int, ...] = (8, 8)) -> Path:
    """The same folder with images of 16 bits per value, all below `most` but for one that is it."""
    random = np.random.default_rng(0)
    for path in sorted(pets.glob("*/*/*")):
        path.unlink()
        png_16(path.with_suffix(".png"), random.integers(most, size=shape, dtype=np.uint16))
    png_16(path.with_suffix(".png"), np.full(shape, most, dtype=np.uint16))
    return pets


def test_images_that_use_few_of_16_bits_are_refused_until_the_suite_says_how_many(pets: Path) -> None:
    deep_pets(pets, 4095)
    said = refusal_of(lambda: require_readable([found(pets)], quiet))
    assert "hold values up to 4,095" in said and "they would keep 4 bits of 12: add `bits: 12`" in said
    for bits in (12, 16):
        require_readable([found(pets, bits)], quiet)
    with pytest.raises(RequestError, match="which is more than `bits: 11` says"):
        require_readable([found(pets, 11)], quiet)
    assert found(pets, 12).contents != found(pets, 11).contents != found(pets).contents == found(pets, 16).contents
    path = next(iter(sorted(pets.glob("train/cat/*"))))
    values = np.asarray(Image.open(path))
    assert np.array_equal(np.asarray(open_rgb(path, 12))[..., 0], values >> 4)
    assert np.array_equal(np.asarray(open_rgb(path))[..., 0], values >> 8)
    read(found(pets, 12))


@pytest.mark.parametrize("decoded", [False, True])
def test_batches_are_of_the_bits_that_the_suite_says(pets: Path, decoded: bool) -> None:
    from mixbench.data.store import load

    deep_pets(pets, 4095, (16, 16))
    dataset = find_dataset("pets", 16, str(pets), decoded=decoded, bits=12)
    data = load(dataset, test_crop=1.0)
    [batch] = data.test.batches([torch.arange(3)], torch.device("cpu"))
    values = [np.asarray(Image.open(path)) for path in sorted(pets.glob("val/*/*"))]
    assert np.array_equal(batch[:, 0].numpy(), np.stack(values) >> 4)


def test_colours_that_use_few_of_16_bits_are_refused(pets: Path) -> None:
    deep_pets(pets, 4095, (8, 8, 3))
    assert "of colours the upper 8 bits alone are read" in refusal_of(lambda: require_readable([found(pets)], quiet))
    deep_pets(pets, 65535, (8, 8, 3))
    require_readable([found(pets)], quiet)


def test_bits_are_of_image_folders_alone() -> None:
    with pytest.raises(RequestError, match="bits: cifar10 has images of 8 bits"):
        find_dataset("cifar10", bits=12)


def test_decoded_images_of_another_version_are_decoded_anew(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = find_dataset("pets", 16, str(pets), decoded=True)
    train = read(dataset)[0].images
    assert not isinstance(train, np.ndarray)
    with monkeypatch.context() as before:
        before.setattr(pixel_cache, "DECODING", 1)
        pixel_cache.decoded_pixels(dataset, "train", train, quiet)
        [cache] = (cache for cache in pixel_cache.decoded_caches(dataset, "train", train))
        assert cache.good()
    assert not cache.good()
    pixel_cache.decoded_pixels(dataset, "train", train, quiet)
    assert cache.good() and len(list(cache.path.parent.glob("*.pixels"))) == 1


@pytest.mark.parametrize("size", [(3000, 1), (1, 3001), (40, 1900)])
def test_a_strip_takes_no_more_memory_than_other_images(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    coarse = Image.fromarray(np.random.default_rng(0).integers(256, size=(4, 4, 3), dtype=np.uint8))
    strip = coarse.resize(size, Image.Resampling.BICUBIC)
    tracemalloc.start()
    try:
        ours = centre(strip, 224, 0.875)
        assert tracemalloc.get_traced_memory()[1] < 100_000_000
    finally:
        tracemalloc.stop()
    small = centre(strip, 8, 0.875)
    monkeypatch.setattr(stream, "MOST_ELONGATED", 10_000)
    whole = centre(strip, 8, 0.875)
    assert ours.shape == (3, 224, 224) and np.abs(small.astype(int) - whole).max() <= 2


def test_a_list_says_that_a_dataset_is_incomplete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXBENCH_DATA", str(tmp_path))
    write_tree(tmp_path / "imagenet", {"n01440764": (1, 1)})
    small_sets.write("food101", tmp_path, monkeypatch)
    rows = {row["name"]: row for row in list_data(["imagenet", "food101", "digits"])}
    assert {name: row["status"] for name, row in rows.items()} == {
        "imagenet": "incomplete",
        "food101": "incomplete",
        "digits": "built in",
    }
    assert rows["imagenet"]["remedy"].startswith("2 of 1,331,167 images. ")
    assert "imagenet" not in CliRunner().invoke(cli, ["data", "list", "digits"]).stdout
    lines = CliRunner().invoke(cli, ["data", "list", "imagenet", "food101"]).stdout.splitlines()
    assert [line[: line.index(" images")] for line in lines if " images" in line] == [
        f"food101: {rows['food101']['remedy'].partition(' images')[0]}",
        "imagenet: 2 of 1,331,167",
    ]
    suite = write_suite(tmp_path, models=[SMALL["splitmixer"]], datasets=[{"name": "imagenet", "image_size": 16}])
    refused = CliRunner().invoke(cli, ["run", str(suite), "--out", str(tmp_path / "run")])
    assert "imagenet: 2 of 1,331,167 images" in str(refused.exception)
