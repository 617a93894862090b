"""Progress of a running trial, and the line of text that shows it."""

from pydantic import BaseModel

from mixbench.suite.trial import Trial
from mixbench.system.words import clock

WARM_UP = "warm-up"


class Progress(BaseModel):
    """Progress of a running trial.  `updated_at` is seconds since 1970.

    `done` and `total`: epochs in training; in `throughput` the present round and all of them, in `warm-up` the present
    one and the most that there may be.  `seconds_left`: of these rounds, an estimate.
    """

    part: str
    done: int = 0
    total: int = 0
    loss: float | None = None
    samples_per_sec: float | None = None
    seconds_left: float | None = None
    updated_at: float


def describe(trial: Trial, progress: Progress, settings: str = "") -> str:
    """A line of text: `splitmixer_i_256_8 digits seed 0: epoch 3/12, loss 0.412, 5,210 images/s`.

    `settings`: those that tell the trial from others of its label and dataset.
    """
    return f"{named(trial, settings)}: {stage(trial, progress)}"


def named(trial: Trial, settings: str = "") -> str:
    """A trial's name in a line of progress: `splitmixer_i_256_8 digits seed 0, 32 px`."""
    return f"{trial.label} {trial.dataset} seed {trial.seed}{f', {settings}' if settings else ''}"


def stage(trial: Trial, progress: Progress) -> str:
    """The part that is being measured, and how far it is: `epoch 3/12, loss 0.412, 5,210 images/s`."""
    if progress.part in ("throughput", WARM_UP):
        return _rounds(trial, progress)
    steps = f"{progress.part} {progress.done:,}/{progress.total:,}" if progress.total else progress.part
    now = f"epoch {progress.done}/{progress.total}" if progress.part == "accuracy" else steps
    loss = "" if progress.loss is None else f", loss {progress.loss:.3f}"
    speed = "" if progress.samples_per_sec is None else f", {progress.samples_per_sec:,.0f} images/s"
    return f"{now}{loss}{speed}"


def _rounds(trial: Trial, progress: Progress) -> str:
    """`throughput, round 7 of 20, about 1:20 left, inference batch 256, training batch 512`."""
    warming = progress.part == WARM_UP
    facts = ["throughput, warm-up" if warming else "throughput"]
    if progress.done:
        facts.append(f"round {progress.done} of {'at most ' * warming}{progress.total}")
    if progress.seconds_left is not None:
        facts.append(f"{'at most' if warming else 'about'} {clock(progress.seconds_left)} left")
    facts.append(f"inference batch {trial.infer_batch_size}, training batch {trial.recipe.global_batch_size}")
    return ", ".join(facts)
