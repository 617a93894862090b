"""What a suite file may hold: its keys, their types and their defaults."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, ConfigDict, Field, PrivateAttr, field_validator

from mixbench.trial import Count, Measure, MemoryFormat, Precision, Strict, Throughput
from mixbench.yamltext import Document


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _as_entry(value: Any) -> Any:
    return {"name": value} if isinstance(value, str) else value


class ModelSpec(Strict):
    """A model by name.  Any other key overrides an argument of that model."""

    model_config = ConfigDict(extra="allow")

    name: str
    label: str | None = None
    recipe: dict[str, Any] = {}

    @property
    def overrides(self) -> dict[str, Any]:
        return dict(self.model_extra or {})


class DatasetSpec(Strict):
    """A dataset by name; its recipe is merged over the suite's."""

    name: str
    recipe: dict[str, Any] = {}


class Resources(Strict):
    """What each trial runs on: nodes × processes, one process a GPU (or one a share of the CPU's cores)."""

    nodes: Count = 1
    processes_per_node: Count = 1


Seed = Annotated[int, Field(ge=0, lt=2**32)]


class Suite(Strict):
    """A suite file.  Where a list is wanted, one value will do."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9_-]+$", max_length=100)]
    description: str = ""
    models: tuple[Annotated[ModelSpec, BeforeValidator(_as_entry)], ...] = Field(strict=False, min_length=1)
    datasets: tuple[Annotated[DatasetSpec, BeforeValidator(_as_entry)], ...] = Field(strict=False, min_length=1)
    seeds: Annotated[tuple[Seed, ...], BeforeValidator(_as_list)] = Field(default=(0,), strict=False, min_length=1)
    measure: Annotated[tuple[Measure, ...], BeforeValidator(_as_list)] = Field(
        default=("complexity", "throughput", "accuracy"), strict=False, min_length=1
    )
    recipe: Annotated[tuple[dict[str, Any], ...], BeforeValidator(_as_list)] = Field(
        default=({},), strict=False, min_length=1
    )
    throughput: Throughput = Throughput()
    resources: Resources = Resources()
    precision: Annotated[tuple[Precision, ...], BeforeValidator(_as_list)] = Field(default=("fp32",), strict=False)
    memory_format: Annotated[tuple[MemoryFormat, ...], BeforeValidator(_as_list)] = Field(
        default=("contiguous",), strict=False
    )
    compile: Annotated[tuple[bool, ...], BeforeValidator(_as_list)] = Field(default=(False,), strict=False)
    plugins: tuple[str, ...] = Field(default=(), strict=False)

    _document: Document = PrivateAttr(default_factory=lambda: Document("suite", {}))
    _text: str = PrivateAttr(default="")

    @field_validator("seeds", "measure", "precision", "memory_format", "compile")
    @classmethod
    def _no_repetition(cls, values: tuple[Any, ...]) -> tuple[Any, ...]:
        if repeated := sorted({str(value) for value in values if values.count(value) > 1}):
            raise ValueError(f"{', '.join(repeated)} is given more than once")
        return values

    @property
    def document(self) -> Document:
        """Where each key stands."""
        return self._document

    @property
    def text(self) -> str:
        """The whole suite as a YAML text that stands alone."""
        return self._text

    def plugin_paths(self) -> list[Path]:
        """The plugin files; a relative path starts at the suite file."""
        folder = Path(self._document.source).parent
        return [(folder / plugin).resolve() for plugin in self.plugins]
