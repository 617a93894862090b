"""Plan a suite's trials, in order.  Pure except for loading the suite's plugins: writes nothing, starts nothing.

Seeds are the outermost loop and models the innermost, so that a run cut short has all models, on fewer seeds.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import groupby, product
from math import prod
from typing import Any

from mixbench.suite.axes import AXES, Axis
from mixbench.suite.contradictions import contradictions
from mixbench.suite.datasets import training_images
from mixbench.suite.document import KeyPath, dotted
from mixbench.suite.recipe import Recipe
from mixbench.suite.resolve import Problem, Subject, fit
from mixbench.suite.schema import Suite
from mixbench.suite.trial import Trial, trial_digest, trial_name
from mixbench.system.words import plural

MOST_TRIALS = 100_000
MOST_IMAGES = 1_000_000
BATCHES = {"global_batch_size", "batch_size_per_process"}
"""Two ways to set the batch size; the one in the uppermost recipe holds."""
ENTRIES = ("models", "datasets", "recipe", "seeds", "resources")
"""Lists of a suite that are not plain axes in `_trials`: cells, seeds and resources are made of them."""


@dataclass(frozen=True)
class Cell:
    """A model, a dataset and a recipe, by their indices in the suite: a trial without its seed and other axes."""

    datasets: int
    recipe: int
    models: int
    subject: Subject
    trained_by: Recipe


def plan(suite: Suite) -> tuple[list[Trial], list[Problem]]:
    """Return the trials and no problems, or no trials and all problems of the suite."""
    if too_many := list(_too_many(suite)):
        return [], too_many
    subjects, problems = fit(suite)
    cells = list(_cells(suite, subjects))
    problems += [problem for cell in cells for problem in _recipe_problems(suite, cell)]
    sizes = list(dict.fromkeys(entry.processes for entry in suite.resources))
    for cell in cells:
        layers = _recipes(suite, cell.datasets, cell.recipe, cell.models)
        problems += contradictions(layers, cell.trained_by, cell.subject, suite.models[cell.models], sizes)
    problems += _confusions(cells, sizes)
    if suite.keep_weights and "accuracy" not in suite.measure:
        why = "keep_weights: nothing is trained where accuracy is not measured: take it out"
        problems.append((("keep_weights",), why))
    return ([] if problems else list(_trials(suite, cells))), list(dict.fromkeys(problems))


def _too_many(suite: Suite) -> Iterator[Problem]:
    """Yield a problem if there are more than MOST_TRIALS trials; counted before any model is built."""
    lengths = {axis.key: len(listed(suite, axis)) for axis in AXES if axis.key}
    if (count := prod(lengths.values())) > MOST_TRIALS:
        product_of = " × ".join(f"{length:,} {path[-1]}" for path, length in lengths.items() if length > 1)
        longest = max(lengths, key=lambda path: lengths[path])
        yield (
            longest,
            f"{dotted(longest)}: {count:,} trials ({product_of}) are planned; at most {MOST_TRIALS:,} are run",
        )


def listed(suite: Suite, axis: Axis) -> Sequence[Any]:
    """The values that a suite lists for an axis, a trial for each; None for what the recipe says."""
    found: Any = suite
    for key in axis.key:
        found = getattr(found, key)
    values: Sequence[Any] = found or (None,)
    return values


def _cells(suite: Suite, subjects: dict[tuple[int, int], Subject]) -> Iterator[Cell]:
    """Yield each subject with each of the suite's recipes, with the dataset's and then the model's merged over it."""
    for d, r, m in product(range(len(suite.datasets)), range(len(suite.recipe)), range(len(suite.models))):
        if (d, m) not in subjects:
            continue
        merged: dict[str, Any] = {}
        for _, recipe in _recipes(suite, d, r, m):
            above = recipe.model_dump(exclude_unset=True)
            if BATCHES & set(above):
                merged = {key: value for key, value in merged.items() if key not in BATCHES}
            merged = merge(merged, above)
        if subjects[d, m].test_crop and subjects[d, m].dataset.streamed:
            merged = {"test_crop": subjects[d, m].test_crop} | merged
        yield Cell(d, r, m, subjects[d, m], Recipe.model_validate(merged))


def _recipes(suite: Suite, d: int, r: int, m: int) -> list[tuple[KeyPath, Recipe]]:
    """Return the recipes to be merged, the lowest first, with their paths in the suite."""
    return [
        (("recipe", r), suite.recipe[r]),
        (("datasets", d, "recipe"), suite.datasets[d].recipe),
        (("models", m, "recipe"), suite.models[m].recipe),
    ]


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """Return `below` overridden by `above`: mappings are merged, any other value is replaced."""
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merge(result[key], value) if both else value
    return result


def _recipe_problems(suite: Suite, cell: Cell) -> Iterator[Problem]:
    """Problems that only the merged recipe shows, such as nesterov without momentum, placed in the recipe merged last.

    A batch for each process must be cut into its steps evenly; it is for speed alone.
    """
    recipes = _recipes(suite, cell.datasets, cell.recipe, cell.models)

    def place(key: str, default: KeyPath = ("recipe", cell.recipe)) -> KeyPath:
        owners = [path for path, recipe in recipes if key in recipe.model_fields_set]
        return (*owners[-1], key) if owners else default

    recipe, optimizer = cell.trained_by, cell.trained_by.optimizer
    if optimizer.name == "sgd" and optimizer.nesterov and not optimizer.momentum:
        yield place("optimizer"), "nesterov: true needs a momentum above 0, such as momentum: 0.9"
    if optimizer.name in ("lamb", "lion") and not find_spec("timm"):
        yield place("optimizer"), f"{optimizer.name} is timm's, which is not installed: pip install 'mixbench[timm]'"
    if optimizer.name == "lamb" and recipe.zero_stage:
        yield place("zero_stage"), "LAMB's trust ratios need whole weights, which ZeRO cuts into pieces: zero_stage: 0"
    if (suite.keep_weights or cell.subject.weights[0]) and recipe.zero_stage == 3:
        yield place("zero_stage"), "weights are kept and given whole; zero_stage 3 cuts them into pieces: 2 at most"
    if "amp-fp16" in suite.precision and recipe.zero_stage:
        yield (
            place("zero_stage"),
            "DeepSpeed's ZeRO never lowers the scale of amp-fp16's loss: once gradients overflow, it skips every step, "
            "and nothing more is learnt: zero_stage: 0 or amp-bf16",
        )
    if recipe.test_crop and not cell.subject.dataset.streamed:
        why = "test_crop cuts images that are streamed (imagenet, an image_folder)"
        yield place("test_crop"), f"{why}; those of {cell.subject.dataset.name} are squashed to size"
    if recipe.ema and (recipe.zero_stage == 3 or "bf16" in suite.precision):
        yield (
            place("ema"),
            "ema averages whole fp32 weights: not with zero_stage 3, nor with precision bf16 (amp-bf16 will do)",
        )
    if suite.measure != ("complexity",):
        for stage, why in cell.subject.limits:
            if recipe.zero_stage >= stage:
                more = f": zero_stage: {stage - 1} at most" if stage else ""
                where = place("zero_stage") if stage else ("models", cell.models)
                yield where, f"{cell.subject.model} cannot be trained: {why}{more}"
    if recipe.drop_path is not None and "drop_path" not in cell.subject.arguments:
        yield place("drop_path"), f"{cell.subject.model} has no drop_path; give it to the models that have one"
    trains = "accuracy" in suite.measure and not cell.subject.weights[0]
    if suite.throughput.train_batch_sizes:
        yield from _train_batch_problems(suite, recipe, trains)
        return
    if recipe.batch_size_per_process is None:
        yield from _global_batch_problems(suite, cell, place, trains)
        return
    where, each, steps = place("batch_size_per_process"), recipe.batch_size_per_process, recipe.gradient_accumulation
    if each % steps:
        yield where, f"batch_size_per_process {each} is not a multiple of {steps} (accumulation steps)"
    if (batch := each * max(entry.processes for entry in suite.resources)) > MOST_IMAGES:
        yield where, f"batch_size_per_process {each} makes a batch of {batch:,}; at most {MOST_IMAGES:,} are trained"
    if trains:
        yield (
            where,
            "batch_size_per_process lets the batch grow with the processes while the learning rate stays, so only "
            "speed can be compared: measure: [complexity, throughput], or a global_batch_size and its own lr",
        )


def _global_batch_problems(suite: Suite, cell: Cell, place: Callable[..., KeyPath], trains: bool) -> Iterator[Problem]:
    """Yield a problem if the batch cannot be split evenly over all processes, or is larger than the training set."""
    recipe, dataset = cell.trained_by, cell.subject.dataset
    batch, steps = recipe.global_batch_size, recipe.gradient_accumulation
    for index, entry in enumerate(suite.resources):
        if batch % (entry.processes * steps):
            factors = f"{plural(entry.processes, 'process')} × {plural(steps, 'accumulation step')}"
            path = place("global_batch_size", place("gradient_accumulation", ("resources", index)))
            yield path, f"global_batch_size {batch} is not a multiple of {entry.processes * steps} ({factors})"
    if trains and batch > (available := training_images(dataset, recipe)):
        images = f"the {available} training images of {dataset.name}"
        yield place("global_batch_size"), f"global_batch_size {batch} is more than {images}"


def _train_batch_problems(suite: Suite, recipe: Recipe, trains: bool) -> Iterator[Problem]:
    """Yield a problem for each of `train_batch_sizes` that cannot be split evenly, and if a model is trained."""
    path: KeyPath = ("throughput", "train_batch_sizes")
    if trains:
        yield path, "train_batch_sizes is for speed alone (measure: throughput); global_batch_size is for training"
    for (index, batch), entry in product(enumerate(suite.throughput.train_batch_sizes), suite.resources):
        if batch % (parts := entry.processes * recipe.gradient_accumulation):
            yield (
                (*path, index),
                f"train_batch_sizes: {batch} is not a multiple of {parts} (processes × accumulation steps)",
            )


def _confusions(cells: list[Cell], sizes: list[int]) -> Iterator[Problem]:
    """Yield a problem for each cell that gives the same trials as another, or would have the same name in a table."""
    same: dict[Any, Cell] = {}
    alike: dict[Any, Cell] = {}
    for cell in cells:
        subject, recipe = cell.subject, cell.trained_by
        nameless = recipe.model_copy(update={"name": ""})
        on_all = tuple(nameless.on(size) for size in (sizes if recipe.batch_size_per_process else sizes[:1]))
        identity = (subject.model, str(subject.arguments), subject.weights[1], subject.dataset, on_all)
        title = (subject.label, subject.dataset, recipe.name)
        first, namesake = same.setdefault(identity, cell), alike.setdefault(title, cell)
        if first is not cell:
            path, other, _ = _difference(cell, first)
            yield path, f"{dotted(path)} gives the same trials as {other} ({subject.label} on {subject.dataset.name})"
        elif namesake is not cell:
            path, other, advice = _difference(cell, namesake)
            yield path, f"a table could not tell {dotted(path)} from {other} ({subject.label}, {recipe.name}): {advice}"


def _difference(cell: Cell, other: Cell) -> tuple[KeyPath, str, str]:
    """Return the paths, in both cells, of the first part in which they differ, and advice on naming them."""
    advice = {
        "models": "give it a label of its own",
        "datasets": "give its recipe a name of its own",
        "recipe": "give it a name of its own",
    }
    for kind, hint in advice.items():
        index, other_index = getattr(cell, kind), getattr(other, kind)
        if index != other_index:
            return (kind, index), f"{kind}.{other_index}", hint
    raise AssertionError("two cells at the same place")


def _trials(suite: Suite, cells: list[Cell]) -> Iterator[Trial]:
    """The trials of all cells; of cells that plan the same trial (a batch of 64, and of 2 × 32), the first one's.

    An id has 8 digits of the digest; if another trial has the same 8, the later one's has 16.
    """
    shared = dict(suite=suite.name, measure=suite.measure, throughput=suite.throughput, plugins=suite.plugins)
    shared |= dict(keep_weights=suite.keep_weights, keep_predictions=suite.keep_predictions)
    shared |= dict(checkpoint=suite.checkpoint)
    swept = [axis for axis in AXES if axis.key and axis.key[0] not in ENTRIES]
    points = product(suite.resources, *(listed(suite, axis) for axis in swept))
    planned: dict[str, str] = {}  # the digest by the id
    tables = [list(models) for _, models in groupby(cells, key=lambda cell: (cell.datasets, cell.recipe))]
    for seed, models, (entry, *values) in product(suite.seeds, tables, points):
        point = dict(zip((axis.name for axis in swept), values, strict=True)) | entry.model_dump()
        train_batch = point.pop("train_batch_size")
        for cell in models:
            if cell.subject.weights[0] and seed != suite.seeds[0]:
                continue  # evaluating given weights uses no random numbers: more seeds would show a false spread of 0
            trial = _trial(cell, seed, _with_batch(cell.trained_by.on(entry.processes), train_batch), point, shared)
            if planned.get(trial.id, trial.digest) != trial.digest:
                trial = trial.model_copy(update={"id": f"{trial.id}{trial.digest[8:16]}"})
            if trial.id not in planned:
                planned[trial.id] = trial.digest
                yield trial


def _with_batch(recipe: Recipe, train_batch: int | None) -> Recipe:
    return recipe.model_copy(update={"global_batch_size": train_batch}) if train_batch else recipe


def _trial(cell: Cell, seed: int, recipe: Recipe, point: dict[str, Any], shared: dict[str, Any]) -> Trial:
    subject, arguments, identity = cell.subject, cell.subject.arguments, cell.subject.identity
    if (rate := recipe.drop_path) is not None:
        arguments, identity = arguments | {"drop_path": rate}, identity | {"drop_path": rate}
    file, contents = subject.weights
    hashed = point | ({"weights": contents} if file else {})
    hashed |= {"images": subject.dataset.contents} if subject.dataset.contents else {}
    digest = trial_digest(subject.model, identity, subject.dataset.name, seed, recipe, **hashed)
    return Trial(
        id=f"{trial_name(subject.model, subject.overrides, subject.dataset.name, seed)}-{digest[:8]}",
        digest=digest,
        model_code=subject.model_code,
        model=subject.model,
        overrides=subject.overrides,
        arguments=arguments,
        label=subject.label,
        family=subject.family,
        dataset=subject.dataset.name,
        data=subject.dataset,
        seed=seed,
        recipe=recipe,
        weights=file,
        **point,
        **shared,
    )
