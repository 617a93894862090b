"""`mixbench validate`: check a suite, and decode the images of its folders once."""

import json
from typing import Any

import click

from mixbench.cli.terminal import console
from mixbench.cli.transfer import Meter
from mixbench.suite.datasets import Dataset, folder_facts
from mixbench.suite.load import load
from mixbench.system.words import plural


def print_validation(name: str, assignments: tuple[str, ...], as_json: bool) -> None:
    """Print that a suite is good, and what its image folders hold.  Raises RequestError with all its problems."""
    suite, trials = load(name, assignments)
    folders = [dataset for dataset in dict.fromkeys(trial.data for trial in trials) if dataset.folder]
    if folders:
        from mixbench.data.verify import require_readable

        with Meter(console(stderr=True), counts=True) as meter:
            require_readable(folders, meter.show)
    if as_json:
        click.echo(json.dumps({"name": suite.name, "trials": len(trials), "images": list(map(folder_json, folders))}))
        return
    click.echo(f"{name} is good: {suite.name}, {plural(len(trials), 'trial')}")
    for dataset in folders:
        click.echo(folder_facts(dataset))


def folder_json(dataset: Dataset) -> dict[str, Any]:
    """What an `image_folder` holds: training and test images of each class, and the numbers of names not used."""
    facts = dict(classes=dataset.class_images, skipped=dataset.skipped, not_read=dataset.not_read)
    return {"dataset": dataset.name, "folder": dataset.folder} | facts
