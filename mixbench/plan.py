"""A suite's trials, in their order.  Pure: nothing is read, written or started.

The order puts seeds outside and models inside, so that a run cut short has compared all models on fewer seeds.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

from pydantic import BaseModel, ValidationError

from mixbench.data.datasets import Dataset, find_dataset
from mixbench.errors import RequestError
from mixbench.registry import SHAPE_ARGUMENTS, find, nearest, resolve
from mixbench.schema import ModelSpec, Suite
from mixbench.trial import Recipe, Trial, display_name, trial_id
from mixbench.yamltext import KeyPath

Problem = tuple[KeyPath, str]


@dataclass(frozen=True)
class Subject:
    """A model as one dataset needs it."""

    spec: ModelSpec
    family: str
    overrides: dict[str, Any]
    arguments: dict[str, Any]
    dataset: Dataset


def plan(suite: Suite) -> tuple[list[Trial], list[Problem]]:
    """The trials, and what is wrong with the suite: each problem with the path of the key it lies in."""
    problems: list[Problem] = []
    _load_plugins(suite, problems)
    subjects = {
        (d, m): _subject(suite, m, d, problems) for d in range(len(suite.datasets)) for m in range(len(suite.models))
    }
    recipes = {
        (d, m, r): _recipe(suite, subject, (d, m, r), problems)
        for (d, m), subject in subjects.items()
        for r in range(len(suite.recipe))
    }
    trials: dict[str, Trial] = {}
    for (d, m, r), trial in _points(suite, subjects, recipes):
        if trial.id in trials:
            twin = trials[trial.id].label
            problems.append((("models", m), f"{trial.label!r} on {trial.dataset} is the same trial as {twin!r}"))
            break
        trials[trial.id] = trial
    return list(trials.values()), list(dict.fromkeys(problems))


def _points(suite: Suite, subjects: dict, recipes: dict) -> Iterator[tuple[tuple[int, int, int], Trial]]:
    axes = (suite.precision, suite.memory_format, suite.compile, suite.throughput.batch_sizes, suite.seeds)
    for d, r, *point, m in product(
        range(len(suite.datasets)), range(len(suite.recipe)), *axes, range(len(suite.models))
    ):
        subject, recipe = subjects[d, m], recipes[d, m, r]
        if subject is not None and recipe is not None:
            yield (d, m, r), _trial(suite, subject, recipe, *point)


def _trial(
    suite: Suite,
    subject: Subject,
    recipe: Recipe,
    precision: Any,
    memory_format: Any,
    compile_: bool,
    batch_size: int,
    seed: int,
) -> Trial:
    points = dict(
        precision=precision,
        memory_format=memory_format,
        compile=compile_,
        infer_batch_size=batch_size,
        nodes=suite.resources.nodes,
        processes_per_node=suite.resources.processes_per_node,
    )
    identity = (subject.spec.name, subject.overrides, subject.arguments, subject.dataset.name, seed, recipe)
    return Trial(
        id=trial_id(*identity, **points),
        suite=suite.name,
        model=subject.spec.name,
        overrides=subject.overrides,
        arguments=subject.arguments,
        label=subject.spec.label or display_name(subject.spec.name, subject.overrides),
        family=subject.family,
        dataset=subject.dataset.name,
        seed=seed,
        recipe=recipe,
        measure=suite.measure,
        throughput=suite.throughput,
        plugins=tuple(str(path) for path in suite.plugin_paths()),
        **points,
    )


def _load_plugins(suite: Suite, problems: list[Problem]) -> None:
    from mixbench.registry import load_plugin

    for index, path in enumerate(suite.plugin_paths()):
        try:
            load_plugin(path)
        except RequestError as error:
            problems.append((("plugins", index), str(error)))


def _subject(suite: Suite, m: int, d: int, problems: list[Problem]) -> Subject | None:
    """The model built on torch's meta device for the shape of the dataset: whatever does not fit shows there."""
    import torch

    spec, path = suite.models[m], ("models", m)
    try:
        dataset = find_dataset(suite.datasets[d].name)
    except RequestError as error:
        problems.append((("datasets", d, "name"), str(error)))
        return None
    for key in spec.overrides:
        if key in SHAPE_ARGUMENTS:
            problems.append(((*path, key), f"{key} is the dataset's, not the model's: take it out"))
            return None
    shape = dict(image_size=dataset.image_size, in_chans=dataset.channels, num_classes=dataset.classes)
    try:
        entry = find(spec.name)
    except RequestError as error:
        problems.append(((*path, "name"), str(error)))
        return None
    for key, value in spec.overrides.items():
        try:
            resolve(spec.name, {key: value})
        except RequestError as error:
            problems.append(((*path, key), str(error)))
    try:
        arguments = resolve(spec.name, spec.overrides | shape)
        with torch.device("meta"):
            entry.model_class(**arguments)
    except RequestError:
        return None  # the loop above has named it
    except ValueError as error:
        problems.append((path, f"{spec.name} on {dataset.name} ({dataset.image_size}×{dataset.image_size}): {error}"))
        return None
    overrides = {key: _plain(arguments[key]) for key in spec.overrides if arguments[key] != entry.arguments[key]}
    return Subject(spec, entry.family, overrides, {key: _plain(value) for key, value in arguments.items()}, dataset)


def _plain(value: Any) -> Any:
    """A value as JSON has it: a Fraction becomes its text, "3/5"."""
    return value if isinstance(value, bool | int | float | str | None) else str(value)


def _recipe(suite: Suite, subject: Subject | None, at: tuple[int, int, int], problems: list[Problem]) -> Recipe | None:
    """The suite's recipe with the dataset's and then the model's merged over it."""
    d, m, r = at
    alone = not isinstance(suite.document.data.get("recipe"), list)
    layers: list[tuple[KeyPath, dict[str, Any]]] = [
        (("models", m, "recipe"), suite.models[m].recipe),
        (("datasets", d, "recipe"), suite.datasets[d].recipe),
        (("recipe",) if alone else ("recipe", r), suite.recipe[r]),
    ]
    merged: dict[str, Any] = {}
    for _, layer in reversed(layers):
        merged = merge(merged, layer)
    try:
        recipe = Recipe.model_validate(merged)
    except ValidationError as error:
        for item in error.errors():
            inside = tuple(item["loc"])
            owner = next((path for path, layer in layers if _holds(layer, inside)), layers[-1][0])
            problems.append(((*owner, *inside), explain(Recipe, item)))
        return None
    share = suite.resources.nodes * suite.resources.processes_per_node * recipe.gradient_accumulation
    owner = next((path for path, layer in layers if "global_batch_size" in layer), layers[-1][0])
    where = (*owner, "global_batch_size")
    if recipe.global_batch_size % share:
        whole = f"{share} (processes × gradient accumulation)"
        problems.append((where, f"global_batch_size {recipe.global_batch_size} is not a multiple of {whole}"))
    if subject and "accuracy" in suite.measure and recipe.global_batch_size > subject.dataset.train_images:
        images = f"{subject.dataset.train_images} training images of {subject.dataset.name}"
        problems.append((where, f"global_batch_size {recipe.global_batch_size} is larger than the {images}"))
    return recipe


def _holds(layer: Any, path: KeyPath) -> bool:
    for key in path[:2]:
        if not isinstance(layer, dict) or key not in layer:
            return False
        layer = layer[str(key)]
    return True


def merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    """`above` laid over `below`: mappings are merged, anything else replaces."""
    result = dict(below)
    for key, value in above.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merge(result[key], value) if both else value
    return result


def explain(model: type[BaseModel], error: Any) -> str:
    """One of pydantic's errors in a person's words, with the nearest valid choice."""
    *outer, key = error["loc"] or ("",)
    if error["type"] == "extra_forbidden":
        return f"unknown key {key!r}{nearest(str(key), _fields(model, outer))}"
    if error["type"] == "missing":
        return f"key {key!r} is missing"
    if error["type"] == "literal_error":
        choices = error["ctx"]["expected"].replace("'", "").replace(" or ", ", ").split(", ")
        return f"{key}: {error['input']!r} is not one of {', '.join(choices)}{_did_you_mean(error['input'], choices)}"
    message = error["msg"].removeprefix("Value error, ").replace("Input should", "should").replace("Tuple", "the list")
    given = json.dumps(error["input"], default=str)
    return f"{key}: {message}" + (f", not {given}" if len(given) < 80 else "")


def _did_you_mean(word: Any, choices: list[str]) -> str:
    hint = nearest(str(word), choices)
    return hint if "did you mean" in hint else ""


def _fields(model: type[BaseModel], path: list[str | int]) -> list[str]:
    """The keys that are valid at this place of a schema."""
    for key in path:
        if isinstance(key, str) and key in model.model_fields:
            inner = [kind for kind in _models_in(model.model_fields[key].annotation)]
            model = inner[0] if inner else model
    return list(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)
