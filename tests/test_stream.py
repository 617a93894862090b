"""Streamed images: the requested samples with torchvision's crops, and errors that name the file."""

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Resize
from torchvision.transforms.functional import pil_to_tensor, resized_crop

from mixbench.data.augment.draws import CropBox
from mixbench.data.decode import in_processes, open_rgb
from mixbench.data.loader import Normalize, TrainLoader, epoch_order, evaluation_batches
from mixbench.data.readers import read
from mixbench.data.shared_batch import SharedBatch
from mixbench.data.store import load
from mixbench.data.stream import StreamedImages, centre
from mixbench.errors import RequestError
from mixbench.suite.datasets import find_dataset
from mixbench.suite.recipe import Augment, ResizeCrop
from tests.disks import with_small_shm
from tests.small_sets import write_tree
from tests.trials import plan_trials

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tree(tmp_path_factory.mktemp("tree"), {"n01": (5, 2), "n02": (4, 3)})


@pytest.fixture(scope="module")
def stream(tree: Path) -> Iterator[StreamedImages]:
    train, _ = read(find_dataset("pets", 16, str(tree)))
    assert not isinstance(train.images, np.ndarray)
    yield StreamedImages(train.images, torch.from_numpy(train.labels), 16, 0.875, workers=2)


def images_of(tree: Path) -> list[Image.Image]:
    return [Image.open(path).convert("RGB") for path in sorted(tree.glob("train/*/*"))]


def box(sample: int, height: int, width: int) -> tuple[int, int, int, int] | None:
    """Sample 0: the whole image; sample 1: the central crop; others: a box that depends on the sample."""
    return [(0, 0, height, width), None][sample] if sample < 2 else (sample, 2 * sample, height // 2, width // 3)


def test_training_images_are_the_boxes_of_their_samples_resized(tree: Path, stream: StreamedImages) -> None:
    order = [torch.tensor([7, 0]), torch.tensor([1, 8, 3]), torch.tensor([5])]
    batches = list(stream.batches(iter(order), CPU, box))
    images = images_of(tree)
    for index, batch in zip(order, batches, strict=True):
        for sample, found in zip(index.tolist(), batch, strict=True):
            seen = box(sample, images[sample].height, images[sample].width)
            cut = resized_crop(images[sample], *seen, [16, 16]) if seen else None
            expected = pil_to_tensor(cut) if cut else torch.from_numpy(centre(images[sample], 16, 0.875).copy())
            assert torch.equal(found, expected)


@pytest.mark.parametrize("world_size", [1, 2])
def test_an_epoch_streams_each_image_within_its_drawn_box_at_any_world_size(tree: Path, world_size: int) -> None:
    dataset = find_dataset("pets", 16, str(tree))
    data, images = load(dataset).on(CPU), images_of(tree)
    augment = Augment(resize_crop=ResizeCrop(scale=(0.3, 0.9)))
    loaders = [TrainLoader(data.train, dataset, augment, 4, rank, world_size) for rank in range(world_size)]
    batches = [torch.cat([each for each, _ in loader.epoch(seed=3, epoch=1)]) for loader in loaders]
    shares = [epoch_order(9, 3, 1)[:8].view(2, world_size, -1)[:, rank].flatten() for rank in range(world_size)]
    draw = CropBox(ResizeCrop(scale=(0.3, 0.9)), 3, 1)
    for batch, index in zip(batches, shares, strict=True):
        for found, sample in zip(batch, index.tolist(), strict=True):
            seen = draw(sample, images[sample].height, images[sample].width)
            expected = pil_to_tensor(resized_crop(images[sample], *seen, [16, 16]))
            assert torch.equal(found, Normalize(dataset, CPU)(expected))


@pytest.mark.parametrize("resampling", ["bilinear", "bicubic"])
@pytest.mark.parametrize("crop", [0.875, 1.0, 0.9])
@pytest.mark.parametrize("shape", [(40, 60), (33, 25), (64, 64), (101, 37)])
def test_test_images_are_torchvisions_resize_and_centre_crop(
    shape: tuple[int, int], crop: float, resampling: str
) -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(256, size=(*shape, 3), dtype=np.uint8))
    for size in (16, 31):
        usual = Compose([Resize(int(size / crop), InterpolationMode(resampling)), CenterCrop(size)])
        ours = centre(image, size, crop, resampling)
        assert torch.equal(torch.from_numpy(ours.copy()), pil_to_tensor(usual(image)))


def test_an_epoch_that_was_left_early_does_not_change_the_next(tree: Path, stream: StreamedImages) -> None:
    everything = [torch.arange(9)[n : n + 1] for n in range(9)]
    early = stream.batches(everything, CPU, box)
    next(early)
    early.close()  # type: ignore[attr-defined]
    whole = torch.cat(list(stream.batches(everything, CPU)))
    expected = [torch.from_numpy(centre(image, 16, 0.875).copy()) for image in images_of(tree)]
    assert torch.equal(whole, torch.stack(expected))


def test_streaming_draws_nothing_from_the_runs_random_numbers(tree: Path) -> None:
    test = load(find_dataset("pets", 16, str(tree))).test
    before = torch.get_rng_state()
    list(test.batches([torch.tensor([0])], CPU))
    assert torch.equal(before, torch.get_rng_state())


def test_an_image_folder_is_streamed_with_the_crop_that_the_recipe_names(tree: Path) -> None:
    splits = load(find_dataset("pets", 16, str(tree)), test_crop=0.5).on(CPU)
    assert splits.train.labels.tolist() == [0] * 5 + [1] * 4 and splits.test.labels.tolist() == [0] * 2 + [1] * 3
    [batch] = splits.test.batches([torch.arange(5)], CPU)
    paths = sorted(tree.glob("val/*/*"))
    expected = [torch.from_numpy(centre(Image.open(path), 16, 0.5).copy()) for path in paths]
    assert torch.equal(batch, torch.stack(expected))


def test_of_16_bit_images_the_upper_8_bits_are_kept_and_32_bit_images_are_refused(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(2**16, size=(8, 8), dtype=np.uint16)
    Image.fromarray(values).save(tmp_path / "deep.png")
    assert np.array_equal(np.asarray(open_rgb(tmp_path / "deep.png"))[..., 0], values >> 8)
    Image.fromarray(values.astype(np.float32) / 2**16).save(tmp_path / "float.tiff")
    with pytest.raises(RequestError, match=r"float\.tiff cannot be decoded as an image: .* 32-bit numbers \(mode F\)"):
        open_rgb(tmp_path / "float.tiff")


def test_a_file_that_claims_to_be_huge_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (64, 64)).save(tmp_path / "huge.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(RequestError, match=r"huge\.png cannot be decoded as an image: .*decompression bomb"):
        open_rgb(tmp_path / "huge.png")


def test_evaluation_works_with_more_ranks_than_test_images(tree: Path) -> None:
    dataset = find_dataset("pets", 16, str(tree))
    data = load(dataset).on(CPU)
    shares = [list(evaluation_batches(data.test, dataset, 4, rank, 7)) for rank in range(7)]
    assert [len(labels) for [(_, labels)] in shares] == [1, 1, 1, 1, 1, 0, 0]


def test_a_folders_contents_are_part_of_a_trials_id(tmp_path: Path) -> None:
    folder = write_tree(tmp_path / "photos", {"cat": (3, 2), "dog": (3, 2)})

    def trial_id() -> str:
        [trial] = plan_trials(
            tmp_path,
            models=["convmixer_256_8"],
            datasets=[{"name": "pets", "image_folder": "photos", "image_size": 16}],
            recipe={"global_batch_size": 2},
        )
        return trial.id

    before = trial_id()
    assert trial_id() == before
    (folder / "train/cat/cat_2.JPEG").rename(folder / "train/dog/dog_3.JPEG")
    assert trial_id() != before, "the same numbers of classes and images, but others"


SMALL_SHM = """
import sys
from contextlib import suppress
from pathlib import Path
import torch
from mixbench.data.decode import in_processes
from mixbench.data.readers import read
from mixbench.data.stream import StreamedImages
from mixbench.errors import RequestError
from mixbench.suite.datasets import find_dataset

if __name__ == "__main__":
    files, _ = read(find_dataset("pets", 224, sys.argv[1]))
    streams = [StreamedImages(files.images, torch.from_numpy(files.labels), 224, 0.875, workers=1) for _ in range(2)]
    print(*(tuple(batch.shape) for batch in streams[0].batches([torch.arange(8)] * 3, torch.device("cpu"))))
    with suppress(OSError), open("/dev/shm/filling", "wb", buffering=0) as filling:
        while True:
            filling.write(bytes(1024))
    for results in (streams[1].batches([torch.arange(8)], torch.device("cpu")), in_processes(abs, [(1,)])):
        try:
            list(results)
        except RequestError as error:
            print(error)
"""


def test_a_dev_shm_smaller_than_a_batch_is_enough_and_a_full_one_is_named(tree: Path, tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(SMALL_SHM)
    command = [*with_small_shm(2**18), sys.executable, str(script), str(tree)]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    no_room = "the processes that decode images cannot be started: [Errno 28] No space left on device (/dev/shm holds"
    assert done.stdout.splitlines()[0] == " ".join(["(8, 3, 224, 224)"] * 3), done.stderr
    assert [line.startswith(no_room) for line in done.stdout.splitlines()[1:]] == [True, True], done.stdout


@pytest.mark.parametrize("at", ["in an iteration", "between two"])
def test_the_death_of_a_process_that_decodes_is_reported_and_the_next_iteration_starts_others(
    tree: Path, at: str
) -> None:
    test = load(find_dataset("pets", 16, str(tree))).test
    before = set(psutil.Process().children(recursive=True))
    batches = test.batches([torch.tensor([0])] * 90, CPU)
    next(batches)
    if at == "between two":
        list(batches)
        batches = test.batches([torch.tensor([0])], CPU)
    for worker in set(psutil.Process().children(recursive=True)) - before:
        worker.kill()
    with pytest.raises(RequestError, match="a process that decodes images has died, killed or out of memory: "):
        list(batches)
    assert len(list(test.batches([torch.tensor([0])] * 2, CPU))) == 2


def test_the_death_of_a_process_of_a_pool_is_reported() -> None:
    with pytest.raises(RequestError, match="a process that decodes images has died, killed or out of memory"):
        list(in_processes(os._exit, [(3,)]))


def test_a_batch_that_no_memory_can_be_shared_for_is_an_error_that_says_so() -> None:
    few = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, few[1]))
    try:
        with pytest.raises(RequestError, match=r"shared for a batch of 0\.4 MB: .* Too many open files"):
            SharedBatch(8, 3, 128, 128)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, few)


def test_a_file_that_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    folder = write_tree(tmp_path, {"cat": (2, 1)})
    broken = folder / "train/cat/cat_1.JPEG"
    broken.write_bytes(broken.read_bytes()[:200])
    splits = load(find_dataset("pets", 16, str(folder)))
    with pytest.raises(RequestError) as refused:
        list(splits.train.batches([torch.tensor([0]), torch.tensor([1])], CPU))
    assert str(refused.value).startswith(f"{broken} cannot be decoded as an image")
    assert "Traceback" not in str(refused.value)
