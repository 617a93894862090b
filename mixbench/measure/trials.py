"""Measure what each trial still misses, part by part."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from mixbench.errors import TrialError
from mixbench.measure.recorder import Recorder
from mixbench.run.parts import Complexity, not_finite
from mixbench.suite.trial import Trial
from mixbench.system.checksum import fingerprint

if TYPE_CHECKING:
    from mixbench.train.distributed import World


def measure(trials: list[Trial], recorder: Recorder) -> None:
    """Measure what each trial still misses: complexity, then throughput side by side, then accuracy one by one."""
    from mixbench.zoo.registry import load_plugin

    for plugin in dict.fromkeys(plugin for trial in trials for plugin in trial.plugins):
        load_plugin(Path(plugin))
    for trial in trials:
        recorder.start(trial)
    counts = _measure_complexity(trials, recorder)
    _measure_throughput([trial for trial in trials if recorder.misses(trial, "throughput")], counts, recorder)
    _measure_accuracy([trial for trial in trials if recorder.misses(trial, "accuracy")], recorder)
    for trial in trials:
        recorder.finish(trial)


def code_of(trial: Trial, world: "World") -> str:
    """Return the hash of the model's source as it was loaded.  Raises TrialError if that is not the planned one."""
    from mixbench.zoo.registry import find

    code = find(trial.model).code
    if any(loaded != trial.model_code for loaded in world.gather(code)) and trial.model_code:
        raise TrialError(
            f"the source of {trial.model} has changed since this trial was planned: the same command plans it anew"
        )
    return code


def _measure_complexity(trials: list[Trial], recorder: Recorder) -> dict[str, Complexity]:
    """Return each trial's counts by its id; throughput needs all, to know which models fit on a device together."""
    from mixbench.measure import complexity

    count = complexity.once_each(complexity.profile_of)
    counts: dict[str, Complexity] = {}
    for trial in trials:
        with recorder.attempt(trial, "complexity"):
            recorder.records[trial.id].model_code = code_of(trial, recorder.world)
            counted = count(trial)
            if recorder.misses(trial, "complexity"):
                recorder.records[trial.id].add_complexity(counted)
                recorder.save(trial, "complexity")
            counts[trial.id] = counted
    return counts


def _measure_throughput(trials: list[Trial], counts: dict[str, Complexity], recorder: Recorder) -> None:
    """Measure the speed of all trials, in interleaved rounds of as many as fit on the device together."""
    from mixbench.measure import throughput

    def report(trial: Trial, part: str, present: int, rounds: int, left: float | None) -> None:
        recorder.progress(trial, part, present, rounds, left=left)

    for group in throughput.groups(trials, {trial.id: counts[trial.id].params for trial in trials}):
        for trial, samples in throughput.measure(group, recorder.world, report, recorder.fail):
            if wrong := not_finite(samples):
                recorder.fail(trial, TrialError(f"throughput: {wrong}"))
                continue
            recorder.records[trial.id].add_throughput(samples)
            recorder.save(trial, "throughput")


def _measure_accuracy(trials: list[Trial], recorder: Recorder) -> None:
    """Train and evaluate the trials one after the other; each record is finished before the next trial."""
    from mixbench.measure import accuracy
    from mixbench.train.checkpoint import Checkpoints

    for trial in trials:
        with recorder.attempt(trial, "accuracy"):
            data = recorder.data(trial)

            def report(epoch: int, loss: float, speed: float, trial: Trial = trial) -> None:
                recorder.progress(trial, "accuracy", epoch, trial.recipe.epochs, loss, speed)

            recorder.progress(trial, "accuracy", 0, trial.recipe.epochs)
            kept = recorder.run.weights_file(trial.id) if trial.keep_weights else None
            write = partial(recorder.run.write_predictions, trial.id) if trial.keep_predictions else None
            checkpoints = Checkpoints(recorder.run, trial, recorder.world)
            curve = accuracy.measure(trial, data, recorder.world, report, kept, checkpoints, write)
            if wrong := not_finite(curve):
                raise TrialError(f"accuracy: {wrong}")
            recorder.records[trial.id].add_accuracy(curve)
            if kept and recorder.world.is_main:
                recorder.records[trial.id].details.weights = fingerprint(kept)
            recorder.records[trial.id].flags += checkpoints.flags
            recorder.save(trial, "accuracy")
            recorder.finish(trial)
