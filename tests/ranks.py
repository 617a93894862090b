"""One rank of a small training run, started by test_train.py as a process of its own: python ranks.py <arguments>."""

import sys
from pathlib import Path
from typing import Any

import torch

from mixbench.data.loader import TrainLoader
from mixbench.data.store import Images, load
from mixbench.suite.trial import Trial
from mixbench.train import loop
from mixbench.train.classification import evaluate
from mixbench.train.distributed import connect
from mixbench.train.engine import make_engine
from mixbench.train.model import build_model


def run(trial_file: Path, folder: Path, rank: int, size: int) -> None:
    """Train a trial and save this rank's losses and scores, and its weights and buffers around the last evaluation."""
    trial = Trial.model_validate_json(trial_file.read_text())
    world = connect(folder / "meeting.json", rank, size, rank, size)
    engine = make_engine(build_model(trial, world), trial, world)
    data = load(trial.data)
    dataset, recipe = trial.data, trial.recipe
    loader = TrainLoader(data.train, dataset, recipe.augment, recipe.global_batch_size, rank, size, recipe.drop_last)
    odd = Images(data.test.images[:359], data.test.labels[:359])  # not a multiple of the world size
    seen: dict[str, Any] = {"losses": []}

    def noted(*arguments: Any) -> dict[str, float]:
        seen["trained"] = {name: value.clone() for name, value in engine.module.state_dict().items()}
        seen["scores"] = evaluate(*arguments)
        seen["after"] = {name: value.clone() for name, value in engine.module.state_dict().items()}
        return seen["scores"]

    vars(loop)["evaluate"] = noted
    loop.fit(engine, None, trial, loader, odd, world, lambda epoch, loss, speed: seen["losses"].append(loss))
    torch.save(seen, folder / f"rank{rank}.pt")


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
