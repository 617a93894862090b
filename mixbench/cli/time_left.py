"""The time that a run still takes, estimated from the epochs that its trials have trained."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from math import exp, log
from statistics import fmean, median
from threading import Lock

from mixbench.launch.cost import trained_epochs
from mixbench.run.folder import Run
from mixbench.run.inventory import Inventory
from mixbench.run.progress import Progress
from mixbench.run.record import Record
from mixbench.suite.axes import point
from mixbench.suite.datasets import training_images
from mixbench.suite.trial import Trial

GLIDE_SECONDS = 10.0
"""Time constant with which the time shown approaches a revised estimate."""
PRIOR = 2.0
"""Weight of the first guess of the power of MACs with which an epoch's time grows, in squared logarithms of MACs."""


@dataclass
class _Network:
    """Trials that differ only in their seed: images of an epoch, MACs of one, images/s if timed, epochs seen so far."""

    trial_id: str
    images: int
    macs: int | None = None
    speed: float | None = None
    epochs: int = 0
    seconds: float = 0.0


class TimeLeft:
    """Estimates the seconds that a run's trials still take: the rest of the running ones, and those that wait.

    An epoch of a network takes what its epochs took so far, of all its seeds; before it has any, as long as its cost
    (see `_costs`) beside that of the networks seen.  Where nothing is trained, the mean of the trials that have ended.
    Between two epochs it counts down, and stands still where an epoch takes longer than expected.
    """

    def __init__(self, run: Run, trials: Sequence[Trial], began: float):
        self.run, self._inventory, self._lock = run, Inventory(run), Lock()
        self._trials = {trial.id: trial for trial in trials}
        self._epochs_left = {trial.id: epochs for trial in trials if (epochs := trained_epochs(trial))}
        self._names = {trial_id: point(self._trials[trial_id]) for trial_id in self._epochs_left}
        self._networks: dict[str, _Network] = {}
        for trial_id, name in self._names.items():
            trial = self._trials[trial_id]
            self._networks.setdefault(name, _Network(trial_id, training_images(trial.data, trial.recipe)))
        self._running: dict[str, Progress] = {}
        self._resumed: set[str] = set()  # trials whose next epoch seen follows those of an earlier job
        self._at_once = 1
        self._shown: tuple[float, float] | None = None  # seconds left, and when
        self._ended, self._began, self._last_end = 0, began, began

    def see(self, running: Mapping[str, Progress]) -> None:
        """Take note of the progress of the trials being measured, by their ids."""
        with self._lock:
            training = {key: now for key, now in running.items() if now.part == "accuracy" and key in self._epochs_left}
            self._at_once = max(self._at_once, len(training))
            for trial_id, now in training.items():
                before = self._running.get(trial_id)
                if before is None:
                    self._learn()
                if before is None or now.done < before.done:
                    self._resumed |= {trial_id} if self.run.has_checkpoint(self._trials[trial_id]) else set()
                elif now.done > before.done:
                    self._count(trial_id, now.done - before.done, now.updated_at - before.updated_at)
                self._running[trial_id] = now
                self._epochs_left[trial_id] = now.total - now.done

    def end(self, record: Record, now: float) -> None:
        """Take note of a trial that has ended, at `now`, seconds since 1970."""
        with self._lock:
            self._ended, self._last_end = self._ended + 1, now
            epochs = self._epochs_left.pop(record.trial_id, 0)
            before = self._running.pop(record.trial_id, None)
            if before is not None and record.status == "done":
                self._count(record.trial_id, epochs, now - before.updated_at)

    def seconds(self, now: float) -> float | None:
        """Return the estimate at `now`, seconds since 1970; None before an epoch, or else two trials, have ended."""
        with self._lock:
            if not self._networks:
                return self._by_ended_trials(now)
            costs = self._costs()
            known = sum(network.epochs * costs[name] for name, network in self._networks.items())
            if not known:
                return None
            pooled = sum(network.seconds for network in self._networks.values()) / known
            seconds = 0.0
            for trial_id, epochs in self._epochs_left.items():
                name = self._names[trial_id]
                network, running = self._networks[name], self._running.get(trial_id)
                an_epoch = (network.seconds + costs[name] * pooled) / (network.epochs + 1)
                into_it = max(0.0, min(an_epoch, now - running.updated_at)) if running and epochs else 0.0
                seconds += epochs * an_epoch - into_it
            return self._glided(seconds / max(1, min(self._at_once, len(self._epochs_left))), now)

    def _glided(self, estimate: float, now: float) -> float:
        """Return what is shown: it approaches the estimate, instead of jumping when that is revised."""
        if self._shown is not None:
            shown, at = self._shown
            on = shown - (now - at)
            estimate = max(0.0, on + (estimate - on) * (1.0 - exp(-(now - at) / GLIDE_SECONDS)))
        self._shown = estimate, now
        return estimate

    def _by_ended_trials(self, now: float) -> float | None:
        if self._ended < 2:
            return None
        mean = (self._last_end - self._began) / self._ended
        return max(0.0, mean * (len(self._trials) - self._ended) - (now - self._last_end))

    def _count(self, trial_id: str, epochs: int, seconds: float) -> None:
        if trial_id in self._resumed:
            self._resumed.discard(trial_id)
            return
        network = self._networks[self._names[trial_id]]
        network.epochs += epochs
        network.seconds += seconds

    def _learn(self) -> None:
        """Read the MACs and the speeds of networks that have been counted or timed since the last look."""
        for network in self._networks.values():
            if network.macs is None or network.speed is None:
                with suppress(OSError):
                    if record := self._inventory.record(network.trial_id):
                        network.macs, network.speed = record.macs, record.train_samples_per_sec

    def _costs(self) -> dict[str, float]:
        """Return what an epoch of each network costs beside the others: by its timed speed where all were timed.

        Else by its images and a power of its MACs below 1, since loading, augmentation and launches take time too: at
        first a half, then what fits the networks seen (least squares of logarithms, with PRIOR as the half's weight).
        """
        networks = self._networks
        if all(network.speed for network in networks.values()):
            return {name: network.images / (network.speed or 1.0) for name, network in networks.items()}
        seen = [each for each in networks.values() if each.epochs and each.seconds > 0 and each.macs]
        middle = fmean([log(each.macs or 1) for each in seen] or [0.0])
        slope, weight = 0.5 * PRIOR, PRIOR
        for each in seen:
            distance = log(each.macs or 1) - middle
            slope += distance * log(each.seconds / each.epochs / each.images)
            weight += distance**2
        power = min(1.0, max(0.0, slope / weight))
        usual = median([each.macs for each in networks.values() if each.macs] or [1])
        return {name: network.images * (network.macs or usual) ** power for name, network in networks.items()}
