"""Suites drawn from the schema itself: each key's own choices and ranges; and values that a key cannot hold."""

import math
from importlib.util import find_spec
from typing import Any

from hypothesis import strategies as st

from mixbench.suite.recipe import ONLY_FOR, Recipe
from mixbench.suite.schema import Suite

SCHEMA = Suite.model_json_schema()
Drawn = st.SearchStrategy[Any]
BOUNDS = {"minimum": "ge", "maximum": "le", "exclusiveMinimum": "gt", "exclusiveMaximum": "lt"}
BY_HAND = {"models", "datasets", "name", "base", "plugins", "label", "weights", "image_folder", "image_size"} | {
    "test_crop",  # of streamed images
    "drop_path",  # of models that have it
}
"""Keys that other keys decide: `suites` gives those that a suite of these models and datasets can have."""


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The schema itself, behind a reference or a `null`."""
    if "$ref" in schema:
        return dict(SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]])
    if "anyOf" in schema:
        return resolved(next(choice for choice in schema["anyOf"] if choice.get("type") != "null"))
    return schema


def bounds(schema: dict[str, Any]) -> dict[str, float]:
    return {BOUNDS.get(key, key): schema[key] for key in [*BOUNDS, *BOUNDS.values()] if key in schema}


def values(schema: dict[str, Any], key: str = "") -> Drawn:
    """What this key may hold."""
    schema = resolved(schema)
    if key in DRAWN_BY_HAND:
        return DRAWN_BY_HAND[key]
    if "enum" in schema:
        there = [choice for choice in schema["enum"] if choice not in ("lamb", "lion") or find_spec("timm")]
        return st.sampled_from(there)
    match schema["type"]:
        case "boolean":
            return st.booleans()
        case "integer":
            given = bounds(schema)
            return st.integers(int(given.get("ge", 0)), min(int(given.get("le", given.get("lt", 51) - 1)), 50))
        case "number":
            given = bounds(schema)
            low, high = given.get("ge", given.get("gt", 0.0)), given.get("le", given.get("lt", 1e6))
            return st.floats(low, high, exclude_min="gt" in given, exclude_max="lt" in given, allow_subnormal=False)
        case "array" if "prefixItems" in schema:
            return st.tuples(*map(values, schema["prefixItems"])).map(list)
        case "array":
            items = values(schema["items"])
            least = schema.get("minItems", schema.get("minLength", 0))  # pydantic calls it so behind a validator
            return st.lists(items, min_size=least, max_size=3, unique_by=str)
        case "object":
            keys = {name: values(inner, name) for name, inner in schema["properties"].items() if name not in BY_HAND}
            if "enum" in resolved(schema["properties"].get("name", {})):
                keys["name"] = values(schema["properties"]["name"])
            return st.fixed_dictionaries({}, optional=keys)
    return st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cf"]), max_size=20)


def points() -> Drawn:
    shares = st.lists(st.floats(0.01, 0.99), max_size=3, unique=True).map(lambda inner: [0, *sorted(inner), 1])
    return shares.flatmap(
        lambda xs: st.tuples(*[st.tuples(st.just(x), st.floats(0, 5)).map(list) for x in xs]).map(list)
    )


def pairs(most: float) -> Drawn:
    return st.tuples(st.floats(0.01, most), st.floats(0.01, most)).map(sorted)


DRAWN_BY_HAND = {"points": points(), "scale": pairs(1.0), "ratio": pairs(10.0)}
ANY_KEYS = values(SCHEMA)


def titles() -> Drawn:
    kept = st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cf"])
    return st.text(kept, min_size=1, max_size=30).filter(str.strip)


@st.composite
def suites(draw: st.DrawFn) -> dict[str, Any]:
    """A good suite of a few small models; of its recipe what goes together."""
    suite = draw(ANY_KEYS)
    suite["name"] = draw(st.from_regex(r"\A[a-z0-9_-]{1,20}\Z"))
    depths = draw(st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True))
    suite["models"] = [{"name": "convmixer_256_8", "depth": depth, "dim": 8} for depth in depths]
    for model, title in zip(suite["models"], draw(st.lists(titles(), max_size=2, unique=True)), strict=False):
        model["label"] = title
    suite["datasets"] = draw(st.lists(st.sampled_from(["digits", "mnist", "cifar10"]), min_size=1, unique=True))
    suite["datasets"] = [draw(st.sampled_from([name, {"name": name, "image_size": 16}])) for name in suite["datasets"]]
    suite["checkpoint"] = {"minutes": draw(st.sampled_from([0, 0.5, 60])), "epochs": draw(st.sampled_from([0, 1, 7]))}
    suite.get("throughput", {}).pop("train_batch_sizes", None)  # for speed alone
    if "accuracy" not in suite.get("measure", ["accuracy"]):
        suite.pop("keep_weights", None)
    processes = draw(st.lists(st.sampled_from([1, 2, 4]), min_size=1, unique=True))
    suite["resources"] = [{"processes_per_node": each} for each in processes]
    for index, recipe in enumerate(suite.get("recipe", [])):
        recipe |= {"name": f"r{index}", "epochs": index + 1, "global_batch_size": draw(st.sampled_from([64, 512]))}
        recipe.pop("batch_size_per_process", None)  # which says the same
        recipe["gradient_accumulation"] = draw(st.sampled_from([1, 2, 8]))
        recipe["zero_stage"] = 0  # which some optimizers, ema, clipping and kept weights exclude
        for part, only_for in ONLY_FOR.items():
            chosen = recipe.get(part, {})
            name = chosen.get("name", getattr(Recipe(), part).name)
            for option in [option for option in chosen if name not in only_for.get(option, (name,))]:
                del chosen[option]
        if recipe.get("optimizer", {}).get("nesterov"):
            recipe["optimizer"]["momentum"] = 0.9
        if "warmup_epochs" in recipe.get("schedule", {}):
            recipe["schedule"]["warmup_epochs"] = index / 2
        if "crop_padding" in (recipe.get("augment") or {}):
            recipe["augment"]["crop_padding"] %= 8
        if recipe.get("ema"):
            suite["precision"] = ["fp32", "amp-bf16"]
    return dict(draw(st.permutations(list(suite.items()))))


def wrong(schema: dict[str, Any]) -> Drawn:
    """What no key of this schema may hold."""
    if any(choice.get("type") == "null" for choice in schema.get("anyOf", [])):
        return wrong(resolved(schema)).filter(lambda value: value is not None)
    schema = resolved(schema)
    nonsense = st.sampled_from([[[]], {"surprise": 1}, [[[[1]]]]])
    if "enum" in schema:
        return nonsense | st.text("xyz", min_size=1) | st.integers()
    match schema["type"]:
        case "boolean":
            return nonsense | st.integers() | st.sampled_from(["maybe", "", 0.5, None])
        case "integer":
            return nonsense | st.sampled_from([1.5, "x", "1e3", None, True, math.nan, math.inf]) | outside(schema, 1)
        case "number":
            return nonsense | st.sampled_from(["x", "1%", None, True, math.nan, -math.inf]) | outside(schema, 1e-3)
        case "string":
            return nonsense | st.integers() | st.booleans()
        case "array" if "prefixItems" in schema:
            return nonsense | st.just([]) | st.just("x")
        case "array":
            return wrong(schema["items"]).map(lambda value: [value])
    return nonsense | st.integers() | st.just("x-x")


def outside(schema: dict[str, Any], step: float) -> Drawn:
    """Beyond a key's range, by a little and by far."""
    given, beyond = bounds(schema), []
    beyond += [given["ge"] - step, given["ge"] - 10**6] if "ge" in given else []
    beyond += [given["gt"], given["gt"] - 1] if "gt" in given else []
    beyond += [given["le"] + step, given["le"] * 1000 + 1] if "le" in given else []
    beyond += [given["lt"], given["lt"] * 1000 + 1] if "lt" in given else []
    return st.sampled_from([type(step)(value) for value in beyond]) if beyond else st.nothing()


def leaves(schema: dict[str, Any], path: tuple[str, ...] = ()) -> dict[tuple[str, ...], dict[str, Any]]:
    """Each key of the schema by its path; lists count as what they hold."""
    found = {}
    for name, inner in resolved(schema).get("properties", {}).items():
        found[*path, name] = inner
        held = resolved(inner)
        held = resolved(held["items"]) if "items" in held else held
        if name != "recipe" or not path:
            found |= leaves(held, (*path, name))
    return found
