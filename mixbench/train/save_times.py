"""When a training saves a checkpoint: by the clock, at an epoch's end, or because its job is told to end."""

import time

import torch

from mixbench.suite.trial import Trial
from mixbench.train.distributed import World

AGREE_STEPS, AGREE_SECONDS = 16, 2.0
"""Several ranks agree on whether to save after this many steps at most, about this often: it costs a message."""


class SaveTimes:
    """When one trial's training saves, the same on all ranks.  `stopping`: the job was told to end."""

    def __init__(self, trial: Trial, world: World):
        self.world, self.last_epoch = world, trial.recipe.epochs
        self.minutes, self.epochs = trial.checkpoint.minutes, trial.checkpoint.epochs
        self.stopping = False
        self._saved_at = self._asked_at = time.monotonic()
        self._asked: int | None = None
        self._ask_next = 0

    def due_after_step(self, step: int) -> bool:
        """True where the minutes are over, or the job is told to end.  `step` counts from the run's first."""
        stop = self.world.stop
        if (not self.minutes and stop is None) or (self.world.size > 1 and step < self._ask_next):
            return False
        now = time.monotonic()
        stopping, over = bool(stop and stop.signal), bool(self.minutes) and now - self._saved_at >= 60 * self.minutes
        if self.world.size > 1:
            pace = AGREE_SECONDS if self._asked is None else (now - self._asked_at) / max(1, step - self._asked)
            said = self.world.max(torch.tensor([stopping, over, pace], device=self.world.device)).tolist()
            stopping, over = bool(said[0]), bool(said[1])
            self._asked, self._asked_at = step, now
            self._ask_next = step + int(min(AGREE_STEPS, max(1.0, AGREE_SECONDS / max(said[2], 1e-6))))
        self.stopping = stopping
        return stopping or over

    def due_after_epoch(self, epoch: int) -> bool:
        """True where the recipe asks for a checkpoint at this epoch's end, counted from 1; never after the last one."""
        return bool(self.epochs) and epoch % self.epochs == 0 and epoch < self.last_epoch

    def saved(self) -> None:
        """Start the interval anew."""
        self._saved_at = time.monotonic()
