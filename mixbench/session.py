"""One `mixbench run`: a suite brought into its run folder, launched, watched and reported."""

import shlex
from contextlib import closing
from fnmatch import fnmatch
from pathlib import Path

import yaml
from rich.console import Console

from mixbench.data.files import require
from mixbench.errors import RequestError, nearest
from mixbench.launch import check, launch
from mixbench.results import collect
from mixbench.run import Run
from mixbench.schema import Suite
from mixbench.terminal import console
from mixbench.trial import Trial
from mixbench.watch import Watch

ONLY_KEYS = ("id", "model", "label", "family", "dataset", "seed", "recipe", "precision")


class Session:
    """A suite and its run folder.

    Raises RequestError where the folder holds something else, or `only` matches none.
    """

    def __init__(self, suite: Suite, trials: list[Trial], cluster: str, folder: Path, only: str | None):
        self.suite, self.cluster = suite, cluster
        self.run = Run(folder)
        self.trials = trials
        self.chosen = trials if only is None else select(trials, only)
        if self.run.suite_file.exists():
            _refuse_another(self.run, suite)
        elif folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise RequestError(f"{folder} is not a run folder and not empty; choose another with --out")

    def unfinished(self) -> list[Trial]:
        """The chosen trials without a good record."""
        return [trial for trial in self.chosen if not self.run.is_done(trial)]

    def run_all(self, quiet: bool = False) -> dict[str, int]:
        """Launch what is unfinished, then write the report.  The number of trials by status, of those chosen.

        Raises RequestError, before anything is written, where the cluster cannot run them or data are missing.
        """
        check(self.trials, self.cluster)
        out = console(quiet=quiet)
        todo = self.unfinished()
        if "accuracy" in self.suite.measure:
            data = dict.fromkeys(trial.data for trial in todo)
            require(data)
            if any(dataset.decoded for dataset in data):
                from mixbench.data.decoded import require_decoded

                require_decoded(data)
        self.run.write_plan(self.suite.text, self.trials)
        kept = len(self.chosen) - len(todo)
        already = f" ({kept} are done already)" if kept else ""
        out.print(f"{self.suite.name}: {_trials(len(todo))} to run{already}, in {self.run.folder}", soft_wrap=True)
        if todo:
            with Watch(self.run, todo, out) as watch, closing(launch(todo, self.cluster, self.run)) as outcomes:
                for outcome in outcomes:
                    watch.end(outcome.record)
        return self._report(out)

    def _report(self, out: Console) -> dict[str, int]:
        from mixbench.report import write
        from mixbench.status import print_summary

        written = write(self.run)
        records = collect(self.run).records
        out.print()
        print_summary(records, out)
        out.print(f"\nreport: {next(path for path in written if path.suffix == '.html')}", soft_wrap=True)
        chosen = {trial.id for trial in self.chosen}
        counts = {"done": 0, "failed": 0, "running": 0, "pending": 0}
        for record in records:
            if record.trial_id in chosen:
                counts[record.status] += 1
        if counts["failed"]:
            failed = f"{_trials(counts['failed'])} failed; the same command tries again"
            out.print(failed, style="red", soft_wrap=True)
        return counts

    def how_to_go_on(self) -> str:
        """After Ctrl-C: what is kept, and what goes on."""
        left, all_ = len(self.unfinished()), _trials(len(self.chosen))
        next_ = f"The same command goes on with the other {left}.  To see what" if left else "To see what"
        return (
            f"\nstopped: {len(self.chosen) - left} of {all_} done; what was measured is kept in {self.run.folder}.\n"
            f"{next_} there is so far:\n  mixbench report {shlex.quote(str(self.run.folder))}"
        )


def select(trials: list[Trial], expression: str) -> list[Trial]:
    """The trials that match every `key=pattern` of a comma-separated expression.  Raises RequestError."""
    chosen = trials
    for term in expression.split(","):
        key, sign, pattern = (part.strip() for part in term.partition("="))
        if not sign:
            raise RequestError(f"--only {expression}: {term.strip()!r} is not written key=pattern, such as seed=0")
        if key not in ONLY_KEYS:
            raise RequestError(f"--only {expression}: no key is called {key!r}{nearest(key, ONLY_KEYS)}")
        chosen = [trial for trial in chosen if (text := _text(trial, key)) == pattern or fnmatch(text, pattern)]
    if not chosen:
        raise RequestError(f"--only {expression} matches none of the {_trials(len(trials))}")
    return chosen


def _text(trial: Trial, key: str) -> str:
    return trial.recipe.name if key == "recipe" else str(getattr(trial, key))


def _trials(count: int) -> str:
    return "1 trial" if count == 1 else f"{count} trials"


def _refuse_another(run: Run, suite: Suite) -> None:
    try:
        name = yaml.safe_load(run.suite_file.read_text(encoding="utf-8")).get("name")
    except (yaml.YAMLError, AttributeError, UnicodeDecodeError):
        name = None
    if name != suite.name:
        whose = f"the run of suite {name!r}" if name else "a suite.yaml that cannot be read"
        raise RequestError(f"{run.folder} holds {whose}, not the run of {suite.name!r}; choose another with --out")
