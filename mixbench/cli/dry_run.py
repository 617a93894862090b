"""`mixbench run --dry-run`: print the planned trials, their MACs, and their training time if a speed is known."""

import json
from contextlib import suppress
from typing import Any

import click

from mixbench.cli.run import Session
from mixbench.cli.terminal import console, print_fitting, word
from mixbench.cli.validate import folder_json
from mixbench.errors import RequestError
from mixbench.launch.cost import TRAINING_COST, macs_of, trained_epochs, training_macs
from mixbench.run.record import Record
from mixbench.suite.axes import AXES, point
from mixbench.suite.datasets import folder_facts, training_images
from mixbench.suite.trial import Trial
from mixbench.system.words import decimal_size, plural


def print_plan(session: Session, as_json: bool) -> None:
    """Print a row per trial, then the totals."""
    macs = macs_of(session.chosen)
    records = {trial.id: session.inventory.record(trial.id) for trial in session.chosen}
    speeds = _speeds(session.chosen, records)
    rows = [_row(trial, macs[trial.id], records[trial.id], speeds.get(point(trial))) for trial in session.chosen]
    work = sum(row["train_macs"] for row in rows)
    folders = [dataset for dataset in dict.fromkeys(trial.data for trial in session.chosen) if dataset.folder]
    if as_json:
        facts = dict(suite=session.suite.name, trials=rows, train_macs=work, images=list(map(folder_json, folders)))
        click.echo(json.dumps(facts, indent=1))
        return
    settings = {axis.column: axis.heading for axis in AXES if axis.name not in ("model", "dataset", "seed")}
    settings["gradient_accumulation"] = "gradient accumulation"
    vary = [column for column in settings if len({row[column] for row in rows}) > 1]
    table = [
        {"model": row["label"], "dataset": row["dataset"], "seed": row["seed"]}
        | {settings[column]: row[column] for column in vary}
        | {key: row[key] for key in ("epochs", "state")}
        | {"MACs/image": row["macs"], "training MACs": "" if row["macs"] is None else f"{row['train_macs']:.2e}"}
        for row in rows
    ]
    print_fitting(table, console(), ("training MACs", "MACs/image"))
    alike = [f"{name} {word(rows[0][column])}" for column, name in settings.items() if column not in vary]
    click.echo(f"\nin all: {', '.join(alike)}")
    trials = plural(len(rows), "trial")
    click.echo(f"{trials}, {work:.2e} MACs of training ({TRAINING_COST} × epochs × images × MACs)")
    if known := [row["hours"] for row in rows if row["hours"] is not None]:
        trials = plural(len(known), "trial")
        click.echo(f"about {sum(known):.2f} device-hours of training in the {trials} whose speed is known")
    for dataset in folders:
        click.echo(folder_facts(dataset))
    if todo := _to_be_decoded(session.chosen):
        click.echo(todo)


def _to_be_decoded(trials: list[Trial]) -> str:
    """Return a line with the disk space of images yet to be decoded; empty if there are none, or data are missing."""
    from mixbench.data.pixel_cache import to_be_decoded

    with suppress(RequestError):  # `mixbench run` names missing data
        if caches := to_be_decoded(dict.fromkeys(trial.data for trial in trials if "accuracy" in trial.measure)):
            size = decimal_size(sum(cache.bytes_to_decode() for cache in caches))
            return f"about {size} of images are decoded once, into {caches[0].path.parent}"
    return ""


def _speeds(trials: list[Trial], records: dict[str, Record | None]) -> dict[str, float]:
    """Return training images per second by point (trials that differ only in their seed), if measured for any seed."""
    speeds = ((point(trial), record.train_samples_per_sec) for trial in trials if (record := records[trial.id]))
    return {key: speed for key, speed in speeds if speed}


def _row(trial: Trial, macs: int | None, record: Record | None, speed: float | None) -> dict[str, Any]:
    images = training_images(trial.data, trial.recipe)
    epochs = trained_epochs(trial)
    return {
        "trial_id": trial.id,
        "label": trial.label,
        **{axis.column: axis.value(trial) for axis in AXES},
        "state": _state(trial, record),
        "gradient_accumulation": trial.recipe.gradient_accumulation,
        "epochs": epochs,
        "images": images,
        "macs": macs,
        "train_macs": training_macs(trial, macs),
        "hours": epochs * images / speed / 3600 if speed else None,
    }


def _state(trial: Trial, record: Record | None) -> str:
    if record is None:
        return "new"
    if record.is_of_other_code(trial):
        return "source changed"
    return "pending" if record.status == "done" and record.missing(trial.measure) else record.status
