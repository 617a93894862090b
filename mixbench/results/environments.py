"""The conditions of measurements besides a trial's settings: device, software, threads, the source of the model.

A row's speeds are all measured under the same ones, so rows are split by them.  Accuracies may share a row, flagged.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from mixbench.run.flags import Flag, Kind
from mixbench.run.parts import Environment
from mixbench.run.record import Record

OF_ENVIRONMENT = {
    "threads": "threads",
    "cpu_quota": "CPU quota",
    "mixbench_version": "mixbench",
    "git_commit": "commit",
    "python_version": "Python",
    "torch_version": "torch",
    "deepspeed_version": "DeepSpeed",
    "torchvision_version": "torchvision",
    "timm_version": "timm",
    "cuda_version": "CUDA",
    "driver": "driver",
}
"""Fields of Environment → their names in tables."""
DEVICE, SOURCE = "device", "model source"
NAMES = (DEVICE, SOURCE, *OF_ENVIRONMENT.values())
Conditions = dict[str, str]
T = TypeVar("T")


def conditions(record: Record, but: str = "") -> Conditions:
    """Return the conditions by which rows are split, by name; "" if unknown, or if no speed was measured."""
    of_speed = record.details.environment.get("throughput")
    return {DEVICE: record.device, SOURCE: record.model_code[:8]} | _of(of_speed) | ({but: ""} if but else {})


def _of(environment: Environment | None) -> Conditions:
    return {name: _text(getattr(environment, field, "")) for field, name in OF_ENVIRONMENT.items()}


def _text(value: object) -> str:
    return "" if value is None else str(value)[:12]  # of a commit


def split(alike: Sequence[T], of: Callable[[T], Conditions]) -> list[list[T]]:
    """Split trials by their conditions.  Where some are unknown, a trial stays with the first ones that it fits."""
    found: list[tuple[Conditions, list[T]]] = []
    for each in alike:
        own = of(each)
        for known, members in found:
            if not any(own[name] and known.get(name) and own[name] != known[name] for name in own):
                known.update({name: value for name, value in own.items() if value})
                members.append(each)
                break
        else:
            found.append((own, [each]))
    return [members for _, members in found]


def of_row(row: Sequence[Record]) -> Conditions:
    """Return a row's conditions, "" if they are unknown of all its trials."""
    found = dict.fromkeys(NAMES, "")
    for record in row:
        found |= {name: value for name, value in conditions(record).items() if value}
    return found


def in_words(name: str, value: str) -> str:
    """A condition as the name of a row says it; "" if it is unknown."""
    if not value or name == DEVICE:
        return value
    return f"{value} thread{'s' * (value != '1')}" if name == "threads" else f"{name} {value}"


def are_the_same(records: Iterable[Record]) -> bool:
    """Return True if all parts of all trials were measured in one environment."""
    places = (place for record in records for place in record.details.environment.values())
    return len({tuple(getattr(place, field) for field in OF_ENVIRONMENT) for place in places}) < 2


def difference_flags(row: Sequence[Record]) -> list[Flag]:
    """Return a flag if the same part of two of a row's trials was measured under different conditions."""
    found = []
    for field, name in OF_ENVIRONMENT.items():
        for part in ("accuracy", "throughput", "complexity"):
            places = [record.details.environment[part] for record in row if part in record.details.environment]
            values = list(dict.fromkeys(text for place in places if (text := _text(getattr(place, field)))))
            if len(values) > 1:
                found.append(f"{name} {' and '.join(values)}")
                break
    return [Flag(Kind.SEEDS_DIFFER, ", ".join(found))] if found else []
