"""The models of a suite as each of its datasets needs them: arguments resolved, tried on the meta device, with weights.

Plugins are loaded; nothing is written or started.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from mixbench.errors import RequestError, cut, described, nearest
from mixbench.suite.datasets import Dataset, find_dataset
from mixbench.suite.document import KeyPath
from mixbench.suite.schema import ModelSpec, Suite
from mixbench.suite.trial import display_name
from mixbench.system.checksum import fingerprint
from mixbench.zoo.pretrained import find_pretrained
from mixbench.zoo.registry import SHAPE_ARGUMENTS, Entry, build, find, load_plugin, resolve
from mixbench.zoo.weights import check

Problem = tuple[KeyPath, str]
"""What is wrong, with the path of the key it lies in."""


@dataclass(frozen=True)
class Subject:
    """A model as one dataset needs it.  `overrides` are those that differ from the variant's own arguments.

    `weights`: the file that is evaluated, and what tells its contents from another's; empty where it is trained.
    `test_crop`: how the images were cut that these weights are to see, where that is known.
    """

    label: str
    model: str
    family: str
    overrides: dict[str, Any]
    arguments: dict[str, Any]
    identity: dict[str, Any]
    dataset: Dataset
    weights: tuple[str, str] = ("", "")
    test_crop: float | None = None


def fit(suite: Suite) -> tuple[dict[tuple[int, int], Subject], list[Problem]]:
    """Each model on each dataset, and what does not fit."""
    problems = list(_plugin_problems(suite))
    datasets: dict[int, Dataset] = {}
    for d, asked in enumerate(suite.datasets):
        try:
            datasets[d] = find_dataset(asked.name, asked.image_size, asked.image_folder, asked.decoded)
        except RequestError as error:
            problems.append((("datasets", d, "image_folder" if asked.image_folder else "name"), str(error)))
        except OSError as error:
            problems.append((("datasets", d, "image_folder"), f"image_folder: {error.filename}: {error.strerror}"))
    problems += _namesakes(datasets)
    subjects: dict[tuple[int, int], Subject] = {}
    for m, spec in enumerate(suite.models):
        wrong = list(_entry_problems(spec, ("models", m)))
        fitting, misfits = _subjects(spec, ("models", m), datasets)
        if not wrong:
            subjects |= {(d, m): subject for d, subject in fitting.items()}
        problems += wrong + misfits
    return subjects, problems


def _namesakes(datasets: dict[int, Dataset]) -> Iterator[Problem]:
    """Folders of one name: nothing in a trial's id or in a table would tell them apart."""
    first: dict[str, int] = {}
    for d, dataset in datasets.items():
        other = first.setdefault(dataset.name, d)
        if dataset.folder != datasets[other].folder:
            folder = datasets[other].folder
            yield ("datasets", d, "name"), f"{dataset.name!r} is datasets.{other} already, of the images in {folder}"


def _plugin_problems(suite: Suite) -> Iterator[Problem]:
    for index, plugin in enumerate(suite.plugins):
        try:
            load_plugin(Path(plugin))
        except RequestError as error:
            yield ("plugins", index), str(error)
        except OSError as error:
            yield ("plugins", index), f"plugin {plugin}: {error.strerror}"


def _entry_problems(spec: ModelSpec, path: KeyPath) -> Iterator[Problem]:
    """What is wrong with a model's name and overrides, each taken by itself."""
    try:
        entry = find(spec.name)
    except RequestError as error:
        yield (*path, "name"), str(error)
        return
    for key, value in spec.overrides.items():
        if key in SHAPE_ARGUMENTS:
            yield (*path, key), f"{key} is given by the dataset, not by the model: take it out"
        elif key not in entry.overridable:
            hint = nearest(key, [*entry.overridable, "label", "weights", "recipe"])
            yield (*path, key), f"{spec.name} has no argument {cut(key)!r}{hint}"
        else:
            try:
                resolve(spec.name, {key: value})
            except RequestError as error:
                yield (*path, key), str(error)
    try:
        _weights(spec, {})
    except RequestError as error:
        yield (*path, "weights"), str(error)


def _subjects(spec: ModelSpec, path: KeyPath, datasets: dict[int, Dataset]) -> tuple[dict[int, Subject], list[Problem]]:
    """The model on each dataset, as far as its overrides are known.  A misfit is named with its datasets."""
    try:
        entry = find(spec.name)
        known = {key: value for key, value in spec.overrides.items() if key in entry.overridable}
        resolve(spec.name, known)
        file, crop, datasets = _weights(spec, datasets)
    except RequestError:
        return {}, []  # _entry_problems has named it
    subjects, misfits = {}, dict[str, list[str]]()
    for d, dataset in datasets.items():
        shape = dict(image_size=dataset.image_size, in_chans=dataset.channels, num_classes=dataset.classes)
        arguments = resolve(spec.name, known | shape)
        if misfit := _misfit(entry, arguments, file):
            misfits.setdefault(misfit, []).append(dataset.name)
            continue
        plain = {key: _plain(value) for key, value in arguments.items()}
        overrides = {key: plain[key] for key in known if arguments[key] != entry.arguments[key]}
        label = spec.label or display_name(spec.name, overrides)
        identity = {key: plain[key] for key in entry.identity(arguments)}
        weights = (str(file), fingerprint(file)) if file else ("", "")
        subjects[d] = Subject(label, spec.name, entry.family, overrides, plain, identity, dataset, weights, crop)
    problems = []
    for misfit, names in misfits.items():
        where = "" if len(names) == len(datasets) > 1 else f" on {', '.join(names)}"
        guilty = [(*path, key) for key in (*known, "weights") if re.search(rf"\b{re.escape(key)}\b", misfit)]
        problems.append(((guilty or [path])[0], f"{spec.name}{where}: {misfit}"))
    return subjects, problems


def _weights(spec: ModelSpec, datasets: dict[int, Dataset]) -> tuple[Path | None, float | None, dict[int, Dataset]]:
    """The file of a model's weights, how they want test images cut, and the datasets with the images made their way."""
    if not spec.weights:
        return None, None, datasets
    if spec.weights != "timm":
        if not os.path.isfile(spec.weights):
            what = "is not a file" if os.path.lexists(spec.weights) else "does not exist"
            raise RequestError(f"weights: {spec.weights} {what}; a file of safetensors, or timm, is wanted")
        return Path(spec.weights), None, datasets
    found = find_pretrained(spec.name)
    looks: dict[str, Any] = dict(mean=found.mean, std=found.std, resampling=found.resampling)
    return found.file, found.test_crop, {d: replace(dataset, **looks) for d, dataset in datasets.items()}


def _misfit(entry: Entry, arguments: dict[str, Any], weights: Path | None) -> str:
    """What a model, built on the meta device, which costs no memory, or its file of weights says against it."""
    try:
        with torch.device("meta"):
            model = build(entry, arguments)
        if weights:
            check(weights, model)
    except RequestError as error:
        return f"weights: {error}"
    except ValueError as error:
        return cut(str(error).split("\n")[0], 300)
    except Exception as error:  # a plugin's model may raise anything
        return f"cannot be built: {described(error)}"
    return ""


def _plain(value: Any) -> Any:
    """A value as JSON has it: a tuple becomes a list, a Fraction its text, "3/5"."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)
