"""One `mixbench run`: a suite brought into its run folder, launched, watched and reported."""

from fnmatch import fnmatch
from pathlib import Path

import yaml
from rich.console import Console

from mixbench.errors import RequestError
from mixbench.launch import launch
from mixbench.registry import nearest
from mixbench.results import collect
from mixbench.run import Run
from mixbench.schema import Suite
from mixbench.trial import Trial
from mixbench.watch import Watch

ONLY_KEYS = ("id", "model", "label", "family", "dataset", "seed", "recipe", "precision")


class Session:
    """Raises RequestError where the folder holds another suite, or `only` is not an expression or matches nothing."""

    def __init__(self, suite: Suite, trials: list[Trial], cluster: str, folder: Path, only: str | None):
        self.suite, self.cluster = suite, cluster
        self.run = Run(folder)
        self.trials = trials
        self.chosen = select(trials, only) if only else trials
        if self.run.suite_file.exists():
            _refuse_another(self.run, suite)
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RequestError(f"{folder} is not a run folder and not empty; choose another with --out")

    def unfinished(self) -> list[Trial]:
        """The chosen trials without a good record."""
        return [trial for trial in self.chosen if not self.run.is_done(trial)]

    def run_all(self, quiet: bool = False) -> dict[str, int]:
        """Launch what is unfinished, then write the report.  The number of trials by status, of those chosen."""
        from mixbench.data.store import require

        console = Console(quiet=quiet)
        todo = self.unfinished()
        if "accuracy" in self.suite.measure:
            for dataset in sorted({trial.dataset for trial in todo}):
                require(dataset)
        self.run.write_plan(self.suite.text, self.trials)
        console.print(f"{self.suite.name}: {len(todo)} of {len(self.chosen)} trials to run, in {self.run.folder}", soft_wrap=True)
        if todo:
            with Watch(self.run, todo, console) as watch:
                for outcome in launch(todo, self.cluster, self.run):
                    watch.end(outcome.record)
        return self._report(console)

    def _report(self, console: Console) -> dict[str, int]:
        from mixbench.report import write
        from mixbench.status import summary_table

        written = write(self.run)
        console.print(summary_table(self.run, console.width))
        console.print(f"\nreport: {next(path for path in written if path.suffix == '.html')}", soft_wrap=True)
        chosen = {trial.id for trial in self.chosen}
        counts = {"done": 0, "failed": 0, "running": 0, "pending": 0}
        for record in collect(self.run).records:
            if record.trial_id in chosen:
                counts[record.status] += 1
        if counts["failed"]:
            console.print(f"[red]{counts['failed']} trials failed;[/] the same command runs them again")
        return counts

    def say_how_to_go_on(self, name: str, assignments: tuple[str, ...]) -> None:
        """After Ctrl-C: what is kept, and the command that goes on."""
        left = len(self.unfinished())
        console = Console(stderr=True)
        console.print(
            f"\nstopped; {len(self.chosen) - left} of {len(self.chosen)} trials are finished and kept in {self.run.folder}.\n"
            f"The same command goes on with the other {left}; `mixbench report {self.run.folder}` shows what is there.",
            soft_wrap=True,
            highlight=False,
        )


def select(trials: list[Trial], expression: str) -> list[Trial]:
    """The trials that match every `key=pattern` of a comma-separated expression.  Raises RequestError."""
    chosen = trials
    for term in expression.split(","):
        key, sign, pattern = (part.strip() for part in term.partition("="))
        if not sign or key not in ONLY_KEYS:
            hint = nearest(key, ONLY_KEYS)
            raise RequestError(f"--only {expression}: {term.strip()!r} is not key=pattern{hint}")
        chosen = [trial for trial in chosen if fnmatch(_text(trial, key), pattern)]
    if not chosen:
        raise RequestError(f"--only {expression} matches none of the {len(trials)} trials")
    return chosen


def _text(trial: Trial, key: str) -> str:
    return trial.recipe.name if key == "recipe" else str(getattr(trial, key))


def _refuse_another(run: Run, suite: Suite) -> None:
    try:
        name = yaml.safe_load(run.suite_file.read_text(encoding="utf-8")).get("name")
    except (yaml.YAMLError, AttributeError, UnicodeDecodeError):
        name = None
    if name != suite.name:
        raise RequestError(f"{run.folder} holds the run of suite {name!r}, not of {suite.name!r}; choose another with --out")
