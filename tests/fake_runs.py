"""Run folders as a run leaves them, made through the project's own classes; the figures are invented, and plausible."""

import math
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixbench.results import mistakes
from mixbench.results.collect import collect
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.run.parts import Complexity, Curve, Environment, Epoch, Layer
from mixbench.run.predictions import Predictions, packed, read_predictions
from mixbench.run.record import Details, Record
from mixbench.run.timings import ThroughputSamples
from mixbench.suite.datasets import Dataset
from mixbench.suite.recipe import Optimizer, Recipe
from mixbench.suite.trial import Throughput, Trial
from mixbench.system.files import file_name

# name, family, params, MACs, images/s; params and MACs of CIFAR-10's models are exact
MODELS: list[tuple[str, str, int, int, float]] = [
    ("convmixer_256_8", "ConvMixer", 594186, 148113920, 812.0),
    ("splitmixer_i_256_8", "SplitMixer", 275834, 65219072, 1430.5),
    ("splitmixer_ii_256_8", "SplitMixer", 175370, 39586304, 1891.0),
    ("splitmixer_iii_256_8", "SplitMixer", 175370, 73140736, 1204.0),
    ("splitmixer_iv_256_8", "SplitMixer", 307466, 73140736, 1187.0),
    ("splitmixer_v_256_8", "SplitMixer", 508394, 124406272, 933.0),
    ("stridemixer_iii_256_8", "StrideMixer", 175370, 73140736, 640.0),
    ("mixer_s_4", "MlpMixer", 17_600_000, 1_120_000_000, 402.0),
    ("resmlp_s12_4", "ResMlp", 15_100_000, 2_950_000_000, 201.0),
]
RECIPE = Recipe(name="default", epochs=25, optimizer=Optimizer(lr=0.05, weight_decay=0.005))
ENVIRONMENT = Environment(
    mixbench_version="0.1.0",
    git_commit="1f0c2d3e4b5a69788796a5b4c3d2e1f00f1e2d3c",
    git_dirty=False,
    python_version="3.11.9",
    torch_version="2.11.0",
    deepspeed_version="0.19.2",
    device="AMD EPYC 9V74 (2 cores)",
    device_count=1,
    cores=2,
    threads=2,
    memory_bytes=16 * 2**30,
    host="bench-01",
    os="Linux 6.1.0",
)


CIFAR10 = Dataset("cifar10", 32, 3, 10, 50_000, 10_000, (0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010), "")


def trial(model: str = "splitmixer_i_256_8", seed: int = 0, **changes: Any) -> Trial:
    """A trial on CIFAR-10; its id need only be unique here."""
    known = {name: family for name, family, *_ in MODELS}
    fields: dict[str, Any] = {
        "suite": "cifar",
        "model": model,
        "overrides": {},
        "arguments": {"image_size": 32, "in_chans": 3, "num_classes": 10},
        "label": model,
        "family": known.get(model, "Mixer"),
        "dataset": "cifar10",
        "data": CIFAR10,
        "seed": seed,
        "recipe": RECIPE,
        "precision": "fp32",
        "memory_format": "contiguous",
        "compile": False,
        "infer_batch_size": 256,
        "nodes": 1,
        "processes_per_node": 1,
        "measure": ("complexity", "throughput", "accuracy"),
        "throughput": Throughput(),
    } | changes
    point = f"{fields['precision']}-b{fields['infer_batch_size']}-{fields['recipe'].epochs}"
    fields.setdefault("id", f"{file_name(model)}-{fields['dataset']}-s{seed}-{point}")
    return Trial(**fields)


def done(trial: Trial, top1: float, **changes: Any) -> Record:
    """The record of a trial that ended well."""
    known = {name: (params, macs, speed) for name, _, params, macs, speed in MODELS}
    params, macs, speed = known.get(trial.model, (594186, 148113920, 800.0))
    batch = 256 if trial.infer_batch_size == "max" else trial.infer_batch_size
    record = Record.pending(trial)
    layer = Layer(name="head", type="Linear", params=params, macs=macs, input_shape=[256], output_shape=[10])
    details = Details(
        trial=trial,
        complexity=Complexity(params=params, macs=macs, macs_ptflops=macs, activations=4_000_000, layers=[layer]),
        throughput=ThroughputSamples(
            infer_step_ms=[10.0] * 18 + [12.0] * 2, train_step_ms=[30.0] * 20, warmup=3, interleaved_with=8
        ),
        curve=curve(top1, trial.recipe.epochs),
        environment=dict.fromkeys(trial.measure, ENVIRONMENT),
    )
    measured: dict[str, Any] = {
        "status": "done",
        "params": params,
        "macs": macs,
        "flops": 2 * macs,
        "macs_ptflops": macs,
        "activations": 4_000_000,
        "top1": top1,
        "top5": 99.8,
        "test_loss": 0.21,
        "train_loss": 0.05,
        "epochs": trial.recipe.epochs,
        "train_seconds": 50000 * trial.recipe.epochs / speed * 3,
        "train_samples_per_sec": speed / 3,
        "train_batch_size": trial.recipe.global_batch_size,
        "infer_samples_per_sec": speed,
        "infer_batch_size": batch,
        "infer_step_ms_p50": 1000 * batch / speed,
        "infer_step_ms_p5": 980 * batch / speed,
        "infer_step_ms_p95": 1080 * batch / speed,
        "infer_step_cv": 0.021,
        "train_step_cv": 0.043,
        "timed_steps": 20,
        "peak_memory_bytes": 1_610_612_736,
        "device": ENVIRONMENT.device,
        "torch_version": ENVIRONMENT.torch_version,
        "git_commit": ENVIRONMENT.git_commit,
        "started_at": f"2026-11-20T09:{trial.seed:02d}:00+00:00",
        "finished_at": f"2026-11-20T11:{trial.seed:02d}:30+00:00",
        "details": details,
    }
    return record.model_copy(update=measured | changes)


def curve(top1: float, epochs: int) -> Curve:
    """A curve that rises to exactly `top1`."""
    points = [
        Epoch(
            epoch=epoch,
            lr=0.01,
            train_loss=2.3 * math.exp(-epoch / 6),
            test_loss=2.2 * math.exp(-epoch / 7) + 0.1,
            top1=top1 - (top1 - 10) * math.exp(-5 * epoch / epochs) * (1 - epoch / epochs),
            top5=99.8,
            seconds=60.0,
        )
        for epoch in range(1, epochs + 1)
    ]
    return Curve(epochs=points, best_top1_optimistic=top1 + 0.05, best_epoch=epochs - 1, test_images=10_000)


def drawn(images: int, classes: int, right: float, seed: int = 0) -> tuple[NDArray[np.float64], Predictions]:
    """(probabilities N K, what they predict) of a model that gets about this share of its images right."""
    random = np.random.default_rng(seed)
    labels = np.random.default_rng(classes).integers(classes, size=images)  # the same images, whatever the seed
    logits = random.normal(size=(images, classes))
    best = logits.argmax(1)
    another = (labels + random.integers(1, classes, size=images)) % classes
    moved = np.where(random.random(images) < right, labels, another)
    rows = np.arange(images)
    logits[rows, best], logits[rows, moved] = logits[rows, moved], logits[rows, best]
    logits[rows, moved] += random.exponential(4.0, size=images)
    chances = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    smallest = np.min_scalar_type(classes - 1)
    of_label, of_best = (np.log(chances[rows, each]).astype(np.float32) for each in (labels, moved))
    return chances, Predictions(labels.astype(smallest), moved.astype(smallest), of_label, of_best)


def with_predictions(run: Run, record: Record, seed: int | None = None) -> Record:
    """The same record with its predictions in the run's folder, about as many of them right as its top1 says.

    `seed`: of their draw, by default the record's, so that of two models the better one has all images of the other.
    """
    curve = record.details.curve
    assert curve is not None and record.top1 is not None
    draw = record.seed if seed is None else seed
    _, found = drawn(curve.test_images, record.details.trial.data.classes, record.top1 / 100, draw)
    named = run.write_predictions(record.trial_id, packed(found))
    details = record.details.model_copy(update={"curve": curve.model_copy(update={"predictions": named})})
    return record.model_copy(update={"details": details})


def failed(trial: Trial, error: str, **changes: Any) -> Record:
    return Record.pending(trial).model_copy(update={"status": "failed", "error": error} | changes)


def write_run(folder: Path, trials: list[Trial], records: list[Record], suite_text: str = "name: cifar\n") -> Run:
    run = Run(folder)
    run.write_plan(suite_text, trials)
    for record in records:
        run.write_record(record)
    return run


def full_run(folder: Path, seeds: int = 2) -> Run:
    """Nine models, each done with every seed."""
    trials = [trial(model, seed) for seed in range(seeds) for model, *_ in MODELS]
    accuracy = {model: 94.17 - 0.4 * index for index, (model, *_) in enumerate(MODELS)}
    records = [done(each, accuracy[each.model] + 0.13 * each.seed * (1 + len(each.model) % 3)) for each in trials]
    models = "\n".join(f"  - {model}" for model, *_ in MODELS)
    text = f"# mixbench run suites/cifar.yaml: 20 GPU hours\nname: cifar\nmodels:\n{models}\ndatasets: [cifar10]\n"
    return write_run(folder, trials, records, text)


def predicting_run(folder: Path, seeds: int = 3) -> Run:
    """Nine models, each done with every seed, and with predictions of its own."""
    run = full_run(folder, seeds)
    for number, record in enumerate(collect(Inventory(run)).records):
        named = with_predictions(run, record, seed=number)
        run.write_record(named.model_copy(update={"top1": mistakes.top1(read_predictions(run, named))}))
    return run


def damaged(whole: bytes, random: Random) -> bytes:
    """What a bad disk makes of a file: a bit turned, the end lost, a stretch zeroed, replaced or doubled."""
    start = random.randrange(len(whole))
    end = min(len(whole), start + random.choice([1, 8, 512]))
    kind = random.choice(["bit", "cut", "zeros", "noise", "double"])
    if kind == "bit":
        return whole[:start] + bytes([whole[start] ^ 1 << random.randrange(8)]) + whole[start + 1 :]
    if kind == "cut":
        return whole[:start]
    instead = {"zeros": bytes(end - start), "noise": random.randbytes(end - start), "double": whole[start:end] * 2}
    return whole[:start] + instead[kind] + whole[end:]
