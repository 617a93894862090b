"""Resolve each model of a suite for each of its datasets: its arguments, a trial build on the meta device, its weights.

Loads plugins; writes and starts nothing.
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
from mixbench.suite.schema import DatasetSpec, ModelSpec, Suite
from mixbench.suite.trial import display_name
from mixbench.system.checksum import fingerprint
from mixbench.zoo.contract import Limit, training_limits, wrong_forward
from mixbench.zoo.pretrained import find_pretrained
from mixbench.zoo.registry import SHAPE_ARGUMENTS, Entry, build, find, load_plugin, load_zoo, resolve
from mixbench.zoo.weights import Origin, check, origin

Problem = tuple[KeyPath, str]
"""The path of a key, and a message that says what is wrong with it."""


@dataclass(frozen=True)
class Subject:
    """A model resolved for one dataset.

    `overrides`: the arguments that differ from the variant's own.  `identity`: the arguments that a trial's id hashes.
    `weights`: the file to evaluate and the fingerprint of its contents, both empty if the model is trained.
    `test_crop`: the `test_crop` with which these weights are to be evaluated, if known.  `model_code`: hash of the
    model's source.  `limits`: why it cannot be trained, and from which ZeRO stage on.
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
    model_code: str = ""
    limits: tuple[Limit, ...] = ()


def fit(suite: Suite) -> tuple[dict[tuple[int, int], Subject], list[Problem]]:
    """Resolve each model for each dataset, as (dataset's index, model's index) → Subject, and return all problems.

    Raises RequestError if a file of the folder `models`, or an installed package with models, cannot be imported.
    """
    load_zoo()
    problems = list(_plugin_problems(suite))
    datasets: dict[int, Dataset] = {}
    for d, asked in enumerate(suite.datasets):
        try:
            datasets[d] = _find(asked)
        except RequestError as error:
            problems.append((("datasets", d, "image_folder" if asked.image_folder else "name"), str(error)))
        except OSError as error:
            problems.append((("datasets", d, "image_folder"), f"image_folder: {error.filename}: {error.strerror}"))
    problems += [*_name_conflicts(datasets), *_unused_datasets(suite)]
    subjects: dict[tuple[int, int], Subject] = {}
    for m, spec in enumerate(suite.models):
        entry_problems = [*_entry_problems(spec, ("models", m)), *_dataset_problems(suite, spec, ("models", m))]
        asked_for = {d: each for d, each in datasets.items() if not spec.datasets or each.name in spec.datasets}
        built, build_problems = _subjects(spec, ("models", m), asked_for)
        if not entry_problems:
            subjects |= {(d, m): subject for d, subject in built.items()}
        problems += entry_problems + build_problems
    return subjects, problems


def _find(asked: DatasetSpec) -> Dataset:
    return find_dataset(asked.name, asked.image_size, asked.image_folder, asked.decoded, asked.bits or 0)


def _name_conflicts(datasets: dict[int, Dataset]) -> Iterator[Problem]:
    """Yield folders of images that share a name: neither a trial's id nor a table would tell them apart."""
    first: dict[str, int] = {}
    for d, dataset in datasets.items():
        other = first.setdefault(dataset.name, d)
        if dataset.folder != datasets[other].folder:
            folder = datasets[other].folder
            yield ("datasets", d, "name"), f"{dataset.name!r} is datasets.{other} already, of the images in {folder}"


def _unused_datasets(suite: Suite) -> Iterator[Problem]:
    """Yield the datasets that no model is measured on, unless a model names one that there is not."""
    named = {name for spec in suite.models for name in spec.datasets}
    if not suite.models or not all(spec.datasets for spec in suite.models):
        return
    if named <= {dataset.name for dataset in suite.datasets}:
        for d, dataset in enumerate(suite.datasets):
            if dataset.name not in named:
                yield ("datasets", d, "name"), f"{dataset.name}: every model has other datasets"


def _plugin_problems(suite: Suite) -> Iterator[Problem]:
    for index, plugin in enumerate(suite.plugins):
        try:
            load_plugin(Path(plugin))
        except RequestError as error:
            yield ("plugins", index), str(error)
        except OSError as error:
            yield ("plugins", index), f"plugin {plugin}: {error.strerror}"


def _dataset_problems(suite: Suite, spec: ModelSpec, path: KeyPath) -> Iterator[Problem]:
    names = list(dict.fromkeys(dataset.name for dataset in suite.datasets))
    for index, name in enumerate(spec.datasets):
        if name not in names:
            yield (*path, "datasets", index), f"datasets: the suite has none called {name!r}{nearest(name, names)}"


def _entry_problems(spec: ModelSpec, path: KeyPath) -> Iterator[Problem]:
    """Yield the problems of a model's name, overrides and weights, each checked by itself."""
    try:
        entry = find(spec.name)
    except RequestError as error:
        yield (*path, "name"), str(error)
        return
    for key, value in spec.overrides.items():
        if key in SHAPE_ARGUMENTS:
            yield (*path, key), f"{key} is given by the dataset, not by the model: take it out"
        elif key not in entry.overridable:
            hint = nearest(key, [*entry.overridable, *ModelSpec.model_fields])
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
    """Resolve a model for each dataset by its index, without unknown overrides; a problem names its datasets."""
    try:
        entry = find(spec.name)
        known = {key: value for key, value in spec.overrides.items() if key in entry.overridable}
        resolve(spec.name, known)
        file, crop, datasets = _weights(spec, datasets)
        of = origin(file) if file else None
    except RequestError:
        return {}, []  # _entry_problems has named it
    if of and of.model == spec.name:  # the file says with which overrides it was trained
        known = {key: value for key, value in of.overrides.items() if key in entry.overridable} | known
    subjects, failures = {}, dict[str, list[str]]()
    for d, dataset in datasets.items():
        shape = dict(image_size=dataset.image_size, in_chans=dataset.channels, num_classes=dataset.classes)
        arguments = resolve(spec.name, known | shape)
        plain = {key: _plain(value) for key, value in arguments.items()}
        other = _other_origin(of, entry, plain, dataset) if of else ""
        error, limits = _examined(entry, arguments, file)
        if failure := other or error:
            failures.setdefault(failure, []).append(dataset.name)
            continue
        overrides = {key: plain[key] for key in known if arguments[key] != entry.arguments[key]}
        label = spec.label or display_name(spec.name, overrides)
        identity = {key: plain[key] for key in entry.identity(arguments)}
        weights = (str(file), fingerprint(file)) if file else ("", "")
        subjects[d] = Subject(
            label,
            spec.name,
            entry.family,
            overrides,
            plain,
            identity,
            dataset,
            weights,
            test_crop=crop,
            model_code=entry.code,
            limits=limits,
        )
    problems = []
    for failure, names in failures.items():
        where = "" if len(names) == len(datasets) > 1 else f" on {', '.join(names)}"
        mentioned = [(*path, key) for key in (*known, "weights") if re.search(rf"\b{re.escape(key)}\b", failure)]
        problems.append(((mentioned or [path])[0], f"{spec.name}{where}: {failure}"))
    return subjects, problems


def _weights(spec: ModelSpec, datasets: dict[int, Dataset]) -> tuple[Path | None, float | None, dict[int, Dataset]]:
    """Return a model's weights file and its `test_crop`, and the datasets with the preprocessing of these weights.

    Raises RequestError if there is no such file, or timm has no such weights.
    """
    if not spec.weights:
        return None, None, datasets
    if spec.weights != "timm":
        if not os.path.isfile(spec.weights):
            reason = "is not a file" if os.path.lexists(spec.weights) else "does not exist"
            raise RequestError(
                f"weights: {spec.weights} {reason}; a file of safetensors, .pt or .pth, or timm, is wanted"
            )
        return Path(spec.weights), None, datasets
    found = find_pretrained(spec.name)
    preprocessing: dict[str, Any] = dict(mean=found.mean, std=found.std, resampling=found.resampling)
    return found.file, found.test_crop, {d: replace(dataset, **preprocessing) for d, dataset in datasets.items()}


def _other_origin(of: Origin, entry: Entry, arguments: dict[str, Any], dataset: Dataset) -> str:
    """Return in what the weights' model or classes are not those asked for, or ""."""
    apart = [*of.differences(entry.family, arguments), of.other_classes(list(dataset.class_images))]
    return f"weights: {'; '.join(filter(None, apart))}" if any(apart) else ""


def _examined(entry: Entry, arguments: dict[str, Any], weights: Path | None) -> tuple[str, tuple[Limit, ...]]:
    """Build the model on the meta device, without memory; check its output and its weights file.

    Return what is wrong, or "", and why it cannot be trained.
    """
    try:
        with torch.device("meta"):
            model = build(entry, arguments)
        if weights:
            check(weights, model)
        return "" if entry.in_zoo else wrong_forward(model, arguments), tuple(training_limits(model))
    except RequestError as error:
        return f"weights: {error}", ()
    except ValueError as error:
        return cut(str(error).split("\n")[0], 300), ()
    except Exception as error:  # a plugin's model may raise anything
        return f"cannot be built: {described(error)}", ()


def _plain(value: Any) -> Any:
    """A value as JSON can hold it: a tuple becomes a list, a Fraction its text, "3/5"."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if isinstance(value, bool | int | float | str | None) else str(value)
