"""The plan before anything runs: its trials, their work, and their time where a speed is known."""

import json
from typing import Any

import click

from mixbench.data.datasets import find_dataset
from mixbench.listing import print_table
from mixbench.record import DamagedRecord
from mixbench.run import Run
from mixbench.session import Session
from mixbench.trial import Trial

TRAINING_COST = 3  # a training step is about three forward passes: forward, and backward to inputs and to weights


def print_plan(session: Session, as_json: bool) -> None:
    """One row per trial; then the totals."""
    macs = _macs(session.chosen)
    rows = [_row(trial, macs[trial.id], session.run) for trial in session.chosen]
    work = sum(row["train_macs"] for row in rows)
    known = [row["hours"] for row in rows if row["hours"] is not None]
    if as_json:
        click.echo(json.dumps({"suite": session.suite.name, "trials": rows, "train_macs": work}, indent=1))
        return
    print_table(
        [
            {
                "model": row["label"],
                "dataset": row["dataset"],
                "seed": row["seed"],
                "epochs": row["epochs"],
                "MACs/image": row["macs"],
                "training MACs": f"{row['train_macs']:.2e}",
                "state": row["state"],
            }
            for row in rows
        ]
    )
    hours = f", {sum(known):.2f} device-hours of training for the {len(known)} whose speed was measured" if known else ""
    click.echo(f"\n{len(rows)} trials, {work:.2e} MACs of training (epochs × images × MACs × {TRAINING_COST}){hours}")


def _row(trial: Trial, macs: int, run: Run) -> dict[str, Any]:
    trains = "accuracy" in trial.measure
    images = find_dataset(trial.dataset).train_images
    epochs = trial.recipe.epochs if trains else 0
    try:
        record = run.record(trial.id)
    except DamagedRecord:
        record = None
    speed = record.train_samples_per_sec if record else None
    return {
        "trial_id": trial.id,
        "label": trial.label,
        "dataset": trial.dataset,
        "seed": trial.seed,
        "state": "done" if run.is_done(trial) else record.status if record else "new",
        "epochs": epochs,
        "images": images,
        "macs": macs,
        "train_macs": TRAINING_COST * epochs * images * macs,
        "hours": epochs * images / speed / 3600 if speed else None,
    }


def _macs(trials: list[Trial]) -> dict[str, int]:
    """Each trial's MACs an image, counted on torch's meta device."""
    import torch

    from mixbench.measure.complexity import count
    from mixbench.registry import create_model

    counted: dict[str, int] = {}
    result = {}
    for trial in trials:
        key = f"{trial.model} {sorted(trial.arguments.items())}"
        if key not in counted:
            with torch.device("meta"):
                model = create_model(trial.model, **trial.arguments)
            size, channels = trial.arguments["image_size"], trial.arguments["in_chans"]
            counted[key] = count(model, size, channels, ptflops=False).macs
        result[trial.id] = counted[key]
    return result
