"""What a suite file may hold: its keys, their types and their defaults; and in words what is wrong with one."""

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr

from mixbench.errors import cut, nearest, shown, wanted
from mixbench.suite.document import KeyPath, dotted
from mixbench.suite.fields import AsList, Count, Distinct, PathText, Strict, Title
from mixbench.suite.recipe import Recipe
from mixbench.suite.trial import Checkpointing, Measure, MemoryFormat, Precision, Throughput


def as_entry(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class ModelSpec(Strict):
    """A model by name.  Any other key overrides an argument of that model; its recipe is merged over all others.

    `weights`, a file of safetensors or `timm`, are evaluated without training.
    """

    model_config = ConfigDict(extra="allow")

    name: str  # a registered model: `mixbench list models`
    label: Title | None = None  # what tables call it; by default its name and overrides
    weights: PathText | None = None  # a file of safetensors, or `timm`: evaluated as they are
    recipe: Recipe = Recipe()  # merged over the suite's and the dataset's

    @property
    def overrides(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class DatasetSpec(Strict):
    """A dataset by name; its recipe is merged over the suite's.

    `image_folder` is a folder of train/CLASS/*.jpg and val/CLASS/*.jpg, under a name of the suite's choice.
    `decoded: true` decodes images that are streamed once, onto the disk: faster, and no other result.
    """

    name: Title  # a dataset: `mixbench list datasets`; of an image_folder, any name
    image_size: Annotated[int, Field(ge=1, le=16_384)] | None = None  # pixels a side; by default the dataset's own
    image_folder: PathText | None = None  # a folder of train/CLASS/*.jpg and val/CLASS/*.jpg
    decoded: bool = False  # decode streamed images once, onto the disk: the same results, faster
    recipe: Recipe = Recipe()  # merged over the suite's


class Resources(Strict):
    """What each trial runs on: nodes × processes, one process a GPU (or one a share of the CPU's cores)."""

    nodes: Count = 1  # machines a trial runs on
    processes_per_node: Count = 1  # processes on each: one a GPU, or a share of the CPU's cores

    @property
    def processes(self) -> int:
        return self.nodes * self.processes_per_node


Seed = Annotated[int, Field(ge=0, lt=2**32)]
AsEntry = BeforeValidator(as_entry)
OneOrMore = Field(strict=False, min_length=1)


class Suite(Strict):
    """A suite file.  Where a list is wanted, one value will do."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$", max_length=100)]  # the run folder's name: runs/<name>
    base: str = ""  # another suite's file, relative to this one, that this one is laid over
    description: str = ""  # for readers
    # models, each a name, or a mapping with overrides
    models: Annotated[tuple[Annotated[ModelSpec, AsEntry], ...], AsList, OneOrMore]
    # datasets, each a name, or a mapping
    datasets: Annotated[tuple[Annotated[DatasetSpec, AsEntry], ...], AsList, OneOrMore]
    seeds: Annotated[tuple[Seed, ...], AsList, OneOrMore, Distinct] = (0,)  # a trial for each
    # what is measured of each trial
    measure: Annotated[tuple[Measure, ...], AsList, OneOrMore, Distinct] = ("complexity", "throughput", "accuracy")
    # how models are trained; a trial for each of a list
    recipe: Annotated[tuple[Recipe, ...], AsList, OneOrMore] = (Recipe(),)
    throughput: Throughput = Throughput()  # how speed is measured
    # what each trial runs on; a trial for each
    resources: Annotated[tuple[Resources, ...], AsList, OneOrMore, Distinct] = (Resources(),)
    # of arithmetic; a trial for each
    precision: Annotated[tuple[Precision, ...], AsList, OneOrMore, Distinct] = ("fp32",)
    # of images and weights; a trial for each
    memory_format: Annotated[tuple[MemoryFormat, ...], AsList, OneOrMore, Distinct] = ("contiguous",)
    compile: Annotated[tuple[bool, ...], AsList, OneOrMore, Distinct] = (False,)  # by torch.compile; a trial for each
    # Python files that register models, relative to this file
    plugins: Annotated[tuple[PathText, ...], AsList, Field(strict=False), Distinct] = ()
    keep_weights: bool = False  # keep what was trained, as safetensors in the trial's folder
    checkpoint: Checkpointing = Checkpointing()  # when a training under way is saved

    _text: str = PrivateAttr(default="")

    @property
    def text(self) -> str:
        """The whole suite as a YAML text that stands alone."""
        return self._text


def explain(error: Any, path: KeyPath, schema: type[BaseModel] = Suite) -> str:
    """One of pydantic's errors about a Suite, or another schema, in a person's words, with the nearest valid choice.

    `path` is where it lies in the file, which may name one model where the schema has a list.
    """
    kind, given, inside, key = error["type"], error["input"], dotted(path[:-1]), dotted(path)
    if kind == "extra_forbidden":
        valid = _fields(schema, error["loc"][:-1])
        word = cut(str(path[-1]))
        return f"{inside}: unknown key {word!r}".removeprefix(": ") + nearest(word, valid)
    if kind == "missing":
        named = f"key {path[-1]!r} is missing" if isinstance(path[-1], str) else f"value {path[-1]} is missing"
        return f"{inside}: {named}".removeprefix(": ")
    if kind == "too_short":
        return f"{key}: at least {_some(error['ctx']['min_length'])} wanted"
    if kind == "too_long":
        return f"{key}: at most {_some(error['ctx']['max_length'])} wanted"
    if kind == "value_error":
        return f"{key}: {error['ctx']['error']}"
    if kind == "model_type" and error["loc"][:-1] in (("models",), ("datasets",)):
        return f"{key}: a name, or a mapping that holds one, is wanted, not {shown(given)}"
    if kind == "literal_error":
        choices = re.findall("'([^']*)'", error["ctx"]["expected"])
        return f"{key}: {shown(given)} is not one of {', '.join(choices)}"
    return f"{key}: {wanted(error)}, not {shown(given)}"


def _some(count: int) -> str:
    return "one is" if count == 1 else f"{count} are"


def _fields(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys that are valid at this place of a schema."""
    for key in path:
        if isinstance(key, str) and key in model.model_fields:
            model = next(models_in(model.model_fields[key].annotation), model)
    return list(model.model_fields)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from models_in(argument)
