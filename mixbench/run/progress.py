"""Progress of a running trial, and the line of text that shows it."""

from pydantic import BaseModel

from mixbench.suite.trial import Trial


class Progress(BaseModel):
    """Progress of a running trial.  `done` and `total` count epochs or repeats; `updated_at` is seconds since 1970."""

    part: str
    done: int = 0
    total: int = 0
    loss: float | None = None
    samples_per_sec: float | None = None
    updated_at: float


def describe(trial: Trial, progress: Progress) -> str:
    """A line of text: `splitmixer_i_256_8 digits seed 0: epoch 3/12, loss 0.412, 5,210 images/s`."""
    steps = f"{progress.part} {progress.done:,}/{progress.total:,}" if progress.total else progress.part
    rounds = f"throughput, {progress.done}/{progress.total} rounds" if progress.done else "throughput"
    stage = {"accuracy": f"epoch {progress.done}/{progress.total}", "throughput": rounds}.get(progress.part, steps)
    loss = "" if progress.loss is None else f", loss {progress.loss:.3f}"
    speed = "" if progress.samples_per_sec is None else f", {progress.samples_per_sec:,.0f} images/s"
    return f"{trial.label} {trial.dataset} seed {trial.seed}: {stage}{loss}{speed}"
