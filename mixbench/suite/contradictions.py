"""Settings that contradict each other in effect: one of them would silently not hold.

Only the merged recipe shows them, as its parts may stand at the suite, the dataset and the model.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from mixbench.suite.datasets import HELD_OUT
from mixbench.suite.document import KeyPath
from mixbench.suite.recipe import ONLY_FOR, Recipe
from mixbench.suite.resolve import Problem, Subject
from mixbench.suite.schema import ModelSpec

OF_TRAINING = ("epochs", "schedule", "ema", "evaluate_every", "drop_last")
"""Keys of a recipe that mean nothing to a model whose given weights are evaluated."""
Layers = Sequence[tuple[KeyPath, Recipe]]


def contradictions(
    layers: Layers, recipe: Recipe, subject: Subject, spec: ModelSpec, sizes: Sequence[int]
) -> Iterator[Problem]:
    """Yield the problems of a merged recipe.  `layers`: the recipes it is made of, the lowest first, with their paths.

    `spec`: the model's entry; `sizes`: numbers of processes that it is trained by.
    """
    owners = _owners(layers)
    yield from _without_effect(owners, recipe)
    schedule = recipe.schedule
    if schedule.name == "cosine" and schedule.warmup_epochs and schedule.warmup_epochs >= recipe.epochs:
        where = _last(owners, ("schedule", "warmup_epochs"), ("epochs",))
        yield where, f"a warm-up of {schedule.warmup_epochs:g} epochs does not end within epochs: {recipe.epochs}"
    if recipe.augment.crop_padding >= (side := subject.dataset.image_size):
        yield (
            _last(owners, ("augment", "crop_padding")),
            f"crop_padding {recipe.augment.crop_padding} is not less than the {side} pixels of an image of "
            f"{subject.dataset.name}: some crops would hold nothing of it",
        )
    mixes = [key for key in ("mixup", "cutmix") if getattr(recipe.augment, key)]
    alone = [size for size in sizes if recipe.on(size).global_batch_size == size * recipe.gradient_accumulation]
    if mixes and alone:
        why = f"mixes the images that a process takes at a time, which is one (on {alone[0]} × accumulation)"
        yield _last(owners, ("augment", mixes[0])), f"{mixes[0]} {why}: a larger batch, or no {mixes[0]}"
    images = [train for train, _ in subject.dataset.class_images.values()]
    if recipe.split == "val" and images and max(images) < HELD_OUT:
        yield (
            _last(owners, ("split",)),
            f"split: val holds out a tenth of each class, and no class has {HELD_OUT} images",
        )
    path, own = layers[-1]
    if subject.weights[0] and (keys := [key for key in OF_TRAINING if key in own.model_fields_set]):
        yield (*path, keys[0]), f"weights are evaluated without training, so {keys[0]} has no effect: take out one"
    given = spec.overrides.get("drop_path")
    if given is not None and recipe.drop_path is not None and given != recipe.drop_path:
        yield (
            (*path[:-1], "drop_path"),
            f"drop_path is {given} here and {recipe.drop_path} in the recipe, which would hold: take out one",
        )


Key = tuple[str, ...]
Owners = dict[Key, tuple[int, KeyPath]]


def _owners(layers: Layers) -> Owners:
    """Return for each key of a recipe that is set, also inside optimizer etc., the last layer and path that set it."""
    found: Owners = {}
    for at, (path, recipe) in enumerate(layers):
        for key in _keys(recipe.model_dump(exclude_unset=True)):
            found[key] = at, (*path, *key)
    return found


def _keys(values: dict[str, Any], inside: Key = ()) -> Iterator[Key]:
    for key, value in values.items():
        yield (*inside, key)
        if isinstance(value, dict):
            yield from _keys(value, (*inside, key))


def _last(owners: Owners, *keys: Key) -> KeyPath:
    """Return the path of the uppermost of these keys."""
    return max(owners[key] for key in keys if key in owners)[1]


def _without_effect(owners: Owners, recipe: Recipe) -> Iterator[Problem]:
    """Yield options of another optimizer or schedule, unless it was replaced in a layer above the option's."""
    for part, only_for in ONLY_FOR.items():
        chosen, default = getattr(recipe, part), getattr(Recipe(), part)
        for option, names in only_for.items():
            if chosen.name in names or getattr(chosen, option) == getattr(default, option):
                continue
            at, path = owners[part, option]
            if at >= owners.get((part, "name"), (-1, ()))[0]:
                yield path, f"{option} is for {' and '.join(names)}, and has no effect on {chosen.name}: take it out"
