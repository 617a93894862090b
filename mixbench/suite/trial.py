"""A trial: one point of a suite, its timing and checkpoint settings, and the hash that its id is made of."""

import hashlib
import json
from functools import lru_cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mixbench.errors import shown
from mixbench.suite.datasets import Dataset
from mixbench.suite.fields import AsList, Count, Distinct, NonNegative, Strict
from mixbench.suite.recipe import Recipe
from mixbench.system.files import file_name

Precision = Literal["fp32", "tf32", "bf16", "amp-bf16", "amp-fp16"]
MemoryFormat = Literal["contiguous", "channels_last"]
Measure = Literal["complexity", "throughput", "accuracy"]


def _count_or_max(value: Any) -> Any:
    if value == "max" or (type(value) is int and 1 <= value <= 1_000_000):
        return value
    raise ValueError(f"a whole number from 1 to 1,000,000, or max, is wanted, not {shown(value)}")


BatchSize = Annotated[Count | Literal["max"], BeforeValidator(_count_or_max)]


class Throughput(Strict):
    """Settings of the speed measurement; the batch sizes are axes of the suite, the rest is the protocol.

    A round visits each trial and times a step of it; on a GPU as many as take 20 ms, at most 20.  Warm-up lasts until
    the medians of the last `warmup` visits and of those before them agree within 2 %.  A batch that does not fit in
    memory is reported in a flag; with several processes, which must stay in step, it ends their job.
    """

    # images per inference step, or max for as many as fit in memory (on a CPU 1 GiB of tensors); a trial for each
    batch_sizes: Annotated[tuple[BatchSize, ...], AsList, Distinct] = Field(default=(256,), strict=False, min_length=1)
    warmup: Annotated[int, Field(ge=0, le=1_000_000)] = 5  # visits in each of the two medians that must agree
    # images per training step, instead of the recipe's global_batch_size, if only speed is measured; a trial for each
    train_batch_sizes: Annotated[tuple[Count, ...], AsList, Distinct] = Field(default=(), strict=False)
    # largest number of warm-up rounds, or twice warmup if that is more; a trial still unstable then is flagged
    warmup_cap: Annotated[int, Field(ge=0, le=1_000_000)] = 20
    repeats: Count = 20  # timed rounds


class Checkpointing(Strict):
    """When checkpoints are written, from which an interrupted training resumes.

    Every `minutes` (0 for never), and at the end of every so many `epochs` (0 for none).
    """

    minutes: NonNegative = 10.0  # between two checkpoints; 0 for never
    epochs: Annotated[int, Field(ge=0, le=1_000_000)] = 0  # between two checkpoints; 0 for never


class Trial(BaseModel):
    """One point of a suite, with everything that a process needs to measure it.

    `digest`: 32 hex digits, of which `id` has the first 8, or 16 if another trial of the plan has the same 8.
    `model_code`: hash of the source of the model's class when the trial was planned.  Both are "" in older plans.
    """

    model_config = ConfigDict(frozen=True)

    id: str
    suite: str
    model: str
    overrides: dict[str, Any]
    arguments: dict[str, Any]
    label: str
    family: str
    dataset: str
    data: Dataset
    seed: int
    recipe: Recipe
    precision: Precision
    memory_format: MemoryFormat
    compile: bool
    infer_batch_size: BatchSize
    nodes: int
    processes_per_node: int
    measure: tuple[Measure, ...]
    throughput: Throughput
    plugins: tuple[str, ...] = ()
    weights: str = ""
    keep_weights: bool = False
    keep_predictions: bool = True
    checkpoint: Checkpointing = Checkpointing()
    digest: str = ""
    model_code: str = ""

    @property
    def world_size(self) -> int:
        return self.nodes * self.processes_per_node

    @property
    def trains(self) -> bool:
        """True if a part is measured that needs a recipe."""
        return "accuracy" in self.measure or "throughput" in self.measure

    @property
    def built_alike(self) -> str:
        """A key that is the same for trials of one network: its registry name and arguments."""
        return f"{self.model} {sorted(self.arguments.items())}"

    @property
    def display_name(self) -> str:
        """The registry name, overrides in brackets: `splitmixer_i_256_8[ratio=3/5]`."""
        return display_name(self.model, self.overrides)


def display_name(model: str, overrides: dict[str, Any]) -> str:
    inside = ",".join(f"{key}={overrides[key]}" for key in sorted(overrides))
    return f"{model}[{inside}]" if inside else model


def trial_name(model: str, overrides: dict[str, Any], dataset: str, seed: int) -> str:
    """Return `<model>-<dataset>-s<seed>`, the part of an id for readers."""
    return f"{file_name(display_name(model, overrides))[:120]}-{file_name(dataset)}-s{seed}"


def trial_digest(model: str, arguments: dict[str, Any], dataset: str, seed: int, recipe: Recipe, **points: Any) -> str:
    """Return a hash, in 32 hex digits, of all that can change a result and nothing else.

    A point at the default of its field in Trial is left out, so a new field with a default changes no earlier id.
    """
    identity = {
        "model": model,
        "arguments": arguments,
        "dataset": dataset,
        "seed": seed,
        "recipe": _without_defaults(recipe),
        **{key: value for key, value in points.items() if not _is_default(key, value)},
    }
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:32]


def _is_default(key: str, value: Any) -> bool:
    field = Trial.model_fields.get(key)
    return field is not None and not field.is_required() and field.default == value


@lru_cache(maxsize=256)
def _without_defaults(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as ids hash it, without its name and defaults; cached, since many trials share a recipe."""
    return recipe.model_dump(mode="json", exclude={"name"}, exclude_defaults=True)
