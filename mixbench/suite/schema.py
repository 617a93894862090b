"""Schema of a suite file: its keys, their types and defaults; and messages for what is wrong with one."""

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
    """A model or dataset as a mapping, if only its name is given."""
    return {"name": value} if isinstance(value, str) else value


class ModelSpec(Strict):
    """A model by name.  Any other key overrides an argument of the model; its recipe is merged over all others.

    `weights`, a file or `timm`, are evaluated without training.  Those that a run kept say which overrides they have:
    these need not be repeated, and others are refused, as are other classes of an image_folder.
    """

    model_config = ConfigDict(extra="allow")

    name: str  # a registered model: `mixbench list models`
    label: Title | None = None  # its name in tables; by default `name` with the overrides
    # names of the suite's datasets that it is measured on; by default all of them
    datasets: Annotated[tuple[Title, ...], AsList, Field(strict=False), Distinct] = ()
    weights: PathText | None = None  # a file (safetensors, .pt, .pth), or `timm`: evaluated without training
    recipe: Recipe = Recipe()  # merged over the suite's and the dataset's

    @property
    def overrides(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class DatasetSpec(Strict):
    """A dataset by name; its recipe is merged over the suite's.

    `image_folder` is a folder of train/CLASS/*.jpg and val/CLASS/*.jpg, under a name of the suite's choice.
    `decoded: true` decodes the images of a streamed dataset once, into a cache on disk: faster, with the same results.
    """

    name: Title  # a dataset: `mixbench list datasets`; of an image_folder, any name
    image_size: Annotated[int, Field(ge=1, le=16_384)] | None = None  # pixels a side; by default the dataset's own
    image_folder: PathText | None = None  # a folder of train/CLASS/*.jpg and val/CLASS/*.jpg
    decoded: bool = False  # decode streamed images once, into a cache on disk: faster, with the same results
    # bits that the values of an image_folder's 16-bit grey images use, such as 12 of microscopes; by default all 16
    bits: Annotated[int, Field(ge=8, le=16)] | None = None
    recipe: Recipe = Recipe()  # merged over the suite's


class Resources(Strict):
    """Processes of each trial: nodes × processes per node; each process has one GPU, or a share of the CPU's cores."""

    nodes: Count = 1  # machines that a trial runs on
    processes_per_node: Count = 1  # processes on each: one per GPU, or per share of the CPU's cores

    @property
    def processes(self) -> int:
        return self.nodes * self.processes_per_node


Seed = Annotated[int, Field(ge=0, lt=2**32)]
AsEntry = BeforeValidator(as_entry)
OneOrMore = Field(strict=False, min_length=1)


class Suite(Strict):
    """A suite file.  A list of one value may be written as that value."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$", max_length=100)]  # the run folder's name: runs/<name>
    base: str = ""  # another suite file, relative to this one; this one is merged over it
    description: str = ""  # a note for readers
    # models, each a name, or a mapping with overrides
    models: Annotated[tuple[Annotated[ModelSpec, AsEntry], ...], AsList, OneOrMore]
    # datasets, each a name, or a mapping
    datasets: Annotated[tuple[Annotated[DatasetSpec, AsEntry], ...], AsList, OneOrMore]
    seeds: Annotated[tuple[Seed, ...], AsList, OneOrMore, Distinct] = (0,)  # a trial for each seed
    # what is measured in each trial
    measure: Annotated[tuple[Measure, ...], AsList, OneOrMore, Distinct] = ("complexity", "throughput", "accuracy")
    # how models are trained; a trial for each recipe
    recipe: Annotated[tuple[Recipe, ...], AsList, OneOrMore] = (Recipe(),)
    throughput: Throughput = Throughput()  # how speed is measured
    # nodes and processes of a trial; a trial for each
    resources: Annotated[tuple[Resources, ...], AsList, OneOrMore, Distinct] = (Resources(),)
    # number format of the arithmetic; a trial for each
    precision: Annotated[tuple[Precision, ...], AsList, OneOrMore, Distinct] = ("fp32",)
    # memory layout of images and weights; a trial for each
    memory_format: Annotated[tuple[MemoryFormat, ...], AsList, OneOrMore, Distinct] = ("contiguous",)
    compile: Annotated[tuple[bool, ...], AsList, OneOrMore, Distinct] = (False,)  # use torch.compile; a trial for each
    # Python files that register models, relative to this file
    plugins: Annotated[tuple[PathText, ...], AsList, Field(strict=False), Distinct] = ()
    keep_weights: bool = False  # keep the trained weights, as safetensors in the trial's folder
    # keep the class and probability predicted for each test image, in the trial's folder: 5 to 8 bytes an image
    keep_predictions: bool = True
    checkpoint: Checkpointing = Checkpointing()  # when checkpoints of a training are written

    _text: str = PrivateAttr(default="")

    @property
    def text(self) -> str:
        """The suite with its base and `--set` values, as the text of a YAML file."""
        return self._text


def explain(error: Any, path: KeyPath, schema: type[BaseModel] = Suite) -> str:
    """Return a message for one of pydantic's errors in a Suite, or another schema, with the nearest valid choice.

    `path` is its place in the file, in which a single value may stand for the schema's list.
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
    """Valid keys at this place of a schema."""
    for key in path:
        if isinstance(key, str) and key in model.model_fields:
            model = next(models_in(model.model_fields[key].annotation), model)
    return list(model.model_fields)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Yield the pydantic models that a type annotation contains."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from models_in(argument)
