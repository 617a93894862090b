"""Measure what each trial still misses, part by part."""

from pathlib import Path

from mixbench.measure.recorder import Desk
from mixbench.run.parts import Complexity
from mixbench.suite.trial import Trial
from mixbench.system.checksum import fingerprint


def measure(trials: list[Trial], desk: Desk) -> None:
    """Measure what each trial still misses: counts, then speed side by side, then accuracy one by one."""
    from mixbench.zoo.registry import load_plugin

    for plugin in dict.fromkeys(plugin for trial in trials for plugin in trial.plugins):
        load_plugin(Path(plugin))
    for trial in trials:
        desk.take(trial)
    counts = _count(trials, desk)
    _time([trial for trial in trials if desk.misses(trial, "throughput")], counts, desk)
    _learn([trial for trial in trials if desk.misses(trial, "accuracy")], desk)
    for trial in trials:
        desk.finish(trial)


def _count(trials: list[Trial], desk: Desk) -> dict[str, Complexity]:
    """Each trial's counts: all need them, to know what fits on a device together."""
    from mixbench.measure import complexity

    known: dict[str, Complexity] = {}
    for trial in trials:
        with desk.at(trial, "complexity"):
            alike = trial.built_alike
            if alike not in known:
                known[alike] = complexity.profile(trial.model, **trial.arguments)
            if desk.misses(trial, "complexity"):
                desk.records[trial.id].add_complexity(known[alike])
                desk.save(trial, "complexity")
            known[trial.id] = known[alike]
    return known


def _time(trials: list[Trial], counts: dict[str, Complexity], desk: Desk) -> None:
    from mixbench.measure import throughput

    def now(trial: Trial, done: int, total: int) -> None:
        desk.progress(trial, "throughput", done, total)

    for lot in throughput.groups(trials, {trial.id: counts[trial.id].params for trial in trials}):
        for trial, samples in throughput.measure(lot, desk.world, now, desk.fail):
            desk.records[trial.id].add_throughput(samples)
            desk.save(trial, "throughput")


def _learn(trials: list[Trial], desk: Desk) -> None:
    from mixbench.measure import accuracy
    from mixbench.train.checkpoint import Checkpoints

    for trial in trials:
        with desk.at(trial, "accuracy"):
            data = desk.data(trial)

            def report(epoch: int, loss: float, speed: float, trial: Trial = trial) -> None:
                desk.progress(trial, "accuracy", epoch, trial.recipe.epochs, loss, speed)

            desk.progress(trial, "accuracy", 0, trial.recipe.epochs)
            kept = desk.run.weights_file(trial.id) if trial.keep_weights else None
            checkpoints = Checkpoints(desk.run, trial, desk.world)
            curve = accuracy.measure(trial, data, desk.world, report, kept, checkpoints)
            desk.records[trial.id].add_accuracy(curve)
            if kept and desk.world.is_main:
                desk.records[trial.id].details.weights = fingerprint(kept)
            desk.records[trial.id].flags += checkpoints.notes
            desk.save(trial, "accuracy")
            desk.finish(trial)
