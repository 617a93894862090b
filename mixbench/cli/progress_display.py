"""Progress of a run: a live display in a terminal, plain lines elsewhere."""

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mixbench.cli.time_left import TimeLeft
from mixbench.errors import described
from mixbench.launch.job import current_trials
from mixbench.results.metrics import INFERENCE, PARAMS, QUALITY
from mixbench.run.flags import Kind, has_unsure_speed
from mixbench.run.folder import Run
from mixbench.run.progress import Progress, describe, named, stage
from mixbench.run.record import Record
from mixbench.suite.trial import Trial
from mixbench.system.words import clock, plural

PLAIN_SECONDS = 10.0


@dataclass
class Watch:
    """Shows a run's progress, read from its run folder.  A context manager: shows from entry to exit.

    `settings`: by trial id, the settings that tell a trial from others of its label and dataset.
    """

    run: Run
    trials: list[Trial]
    console: Console
    settings: Mapping[str, str] = field(default_factory=dict)
    ended: int = 0
    started: float = field(default_factory=time.time)
    _live: Live | None = None
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __post_init__(self) -> None:
        self._time_left = TimeLeft(self.run, self.trials, self.started)

    def __enter__(self) -> "Watch":
        if self.console.is_terminal:
            self._live = Live(console=self.console, get_renderable=self.render, refresh_per_second=4, transient=True)
            self._live.start()
        else:
            self._thread = threading.Thread(target=self._print_regularly, daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._live is not None:
            self._live.stop()
        if self._thread is not None:
            self._thread.join()

    def end(self, record: Record) -> None:
        """Count a trial that has ended, and print a line that stays."""
        self.ended += 1
        self._time_left.end(record, time.time())
        mark, style = ("✓", "green") if record.status == "done" else ("✗", "red")
        name = f" {self.ended}/{len(self.trials)} {record.label}"
        settings = "".join(f", {text}" for text in [self.settings.get(record.trial_id)] if text)
        data = (f" {record.dataset} seed {record.seed}{settings}", "dim")
        line = Text.assemble((mark, style), name, data)
        for text in self._fitting(line, Text("  "), _facts(record)):
            self.console.print(text, soft_wrap=True)
        for flag in record.flags:
            if flag.kind in (Kind.DAMAGED_CHECKPOINT, Kind.OTHER_ENVIRONMENT):
                self.console.print(Text(f"  {flag}", style="yellow"), soft_wrap=True)

    def render(self) -> RenderableType:
        """Return the live display, or why there is none: an error would end the thread that shows it, unseen."""
        try:
            return self._display()
        except Exception as error:
            return Text(_not_shown(error))

    def _display(self) -> RenderableType:
        """Return a progress bar of the suite, and a line per trial being measured."""
        now = self._running()
        self._time_left.see({trial.id: progress for trial, progress in now})
        bar = ProgressBar(total=max(1, len(self.trials)), completed=self.ended, width=min(24, self.console.width // 4))
        took = f"{clock(time.time() - self.started)}{self.time_left()}"
        head = Table.grid(padding=(0, 1))
        head.add_row(bar, Text(f"{self.ended}/{plural(len(self.trials), 'trial')}, {took}"))
        lines = [
            line
            for trial, progress in now
            for line in self._fitting(
                Text(f"{named(trial, self.settings.get(trial.id, ''))}:"), Text(" "), Text(stage(trial, progress))
            )
        ]
        for line in lines:
            line.no_wrap, line.overflow = True, "ellipsis"
        return Group(head, *lines)

    def _fitting(self, name: Text, between: Text, facts: Text) -> list[Text]:
        """Return one line, or in a terminal too narrow for it two: the facts, indented, are not to be cut off."""
        whole = Text.assemble(name, between, facts)
        if not self.console.is_terminal or whole.cell_len <= self.console.width:
            return [whole]
        return [name, Text.assemble("    ", facts)]

    def _running(self) -> list[tuple[Trial, Progress]]:
        """Return the trials being measured; reads only files of trials that a job works on."""
        current = current_trials(self.run)
        pairs = ((trial, self.run.progress(trial.id)) for trial in self.trials if trial.id in current)
        return [(trial, now) for trial, now in pairs if now is not None]

    def running(self) -> list[str]:
        """Return a line for each trial being measured."""
        return [describe(trial, now, self.settings.get(trial.id, "")) for trial, now in self._running()]

    def time_left(self) -> str:
        """Return the estimated time left, in words; empty before there is one."""
        seconds = self._time_left.seconds(time.time())
        return "" if seconds is None else f", about {clock(seconds)} left"

    def _print_regularly(self) -> None:
        printed: set[str] = set()
        while not self._stop.wait(PLAIN_SECONDS):
            try:
                lines = self.running()
            except Exception as error:
                lines = [_not_shown(error)]
            for line in lines:
                if line not in printed:
                    self.console.print(Text(f"  {line}"), soft_wrap=True)
            printed = set(lines)


def _not_shown(error: Exception) -> str:
    return f"progress cannot be shown, measuring goes on: {described(error)}"


def _facts(record: Record) -> Text:
    if record.status == "failed":
        return Text(record.error, style="red")
    facts = [plural(record.world_size, "process")] * (record.world_size > 1)
    if (quality := QUALITY.of(record)) is not None:
        facts.append(f"{QUALITY.name} {quality:.{QUALITY.decimals}f} {QUALITY.unit}".strip())
    if (speed := INFERENCE.of(record)) is not None:
        facts.append(f"{'≈ ' * has_unsure_speed(record.flags)}{speed:,.0f} {INFERENCE.unit}")
    if (params := PARAMS.of(record)) is not None:
        facts.append(f"{params:,} {PARAMS.brief}")
    return Text(", ".join(facts))
