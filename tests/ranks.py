"""One rank of a small training run, started by test_train.py as a process of its own: python ranks.py <arguments>."""

import sys
from pathlib import Path

import torch

from mixbench.data.loader import TrainLoader
from mixbench.data.store import Images, load
from mixbench.measure.accuracy import evaluate
from mixbench.suite.trial import Trial
from mixbench.train.checkpoint import Position
from mixbench.train.distributed import connect
from mixbench.train.engine import build_model, make_engine
from mixbench.train.loop import train_epoch


def run(trial_file: Path, folder: Path, rank: int, size: int) -> None:
    """Train a trial's epochs and save this rank's weights, buffers and evaluation."""
    trial = Trial.model_validate_json(trial_file.read_text())
    world = connect(folder / "meeting.json", rank, size, rank, size)
    engine = make_engine(build_model(trial, world), trial, world)
    data = load(trial.data)
    dataset, recipe = trial.data, trial.recipe
    loader = TrainLoader(data.train, dataset, recipe.augment, recipe.global_batch_size, rank, size, recipe.drop_last)
    losses = [train_epoch(engine, trial, loader, world, Position(epoch))[0] for epoch in range(recipe.epochs)]
    trained = {name: value.clone() for name, value in engine.module.state_dict().items()}
    odd = Images(data.test.images[:359], data.test.labels[:359])  # not a multiple of the world size
    scores = evaluate(engine, trial, odd, world)
    after = {name: value.clone() for name, value in engine.module.state_dict().items()}
    torch.save({"trained": trained, "losses": losses, "scores": scores, "after": after}, folder / f"rank{rank}.pt")


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
