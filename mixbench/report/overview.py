"""Overview of a run for its page: the head, missing results, environments, and the commands to run it again."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeVar

from mixbench.report import numbers
from mixbench.report.leaderboard import seeds
from mixbench.results.flag_counts import common
from mixbench.results.summary import Group
from mixbench.results.tables import Tables
from mixbench.run.commands import Command
from mixbench.run.parts import Environment
from mixbench.run.record import Record
from mixbench.suite.datasets import folder_facts
from mixbench.system.words import plural

T = TypeVar("T")
COMMAND = "mixbench run suite.yaml --out again"


@dataclass(frozen=True)
class Head:
    """Summary at the top of a report: what was run, when, on which devices, and what is missing."""

    done: int
    total: int
    models: list[str]
    datasets: list[str]
    images: list[str]
    seeds: list[int]
    devices: list[str]
    versions: list[str]
    commits: list[str]
    began: str
    ended: str
    hours: str
    missing: list[str]


@dataclass(frozen=True)
class Place:
    """An environment, and the number of trials measured in it."""

    environment: Environment
    trials: int


def head(tables: Tables) -> Head:
    records = tables.records
    places = [place.environment for place in environments(records)]
    return Head(
        done=tables.counts["done"],
        total=len(records),
        models=_unique(record.model for record in records),
        datasets=_unique(record.dataset for record in records),
        images=_unique(folder_facts(record.details.trial.data) for record in records if record.planned),
        seeds=sorted({record.seed for record in records}),
        devices=_unique(record.device for record in records),
        versions=_unique(f"mixbench {e.mixbench_version}, torch {e.torch_version}" for e in places),
        commits=_unique(e.git_commit[:12] + (" (dirty)" if e.git_dirty else "") for e in places if e.git_commit),
        began=min((record.started_at for record in records if record.started_at), default=""),
        ended=max((record.finished_at for record in records if record.finished_at), default=""),
        hours=device_hours(records),
        missing=missing(tables),
    )


def device_hours(records: list[Record]) -> str:
    """Hours of training × processes, without evaluation and start-up, which records do not hold; empty if none."""
    seconds = sum(numbers.finite([(record.train_seconds or 0.0) * record.world_size for record in records]))
    return numbers.hours(seconds) if seconds else ""


@dataclass(frozen=True)
class Origin:
    """The suite and commands of one run of a report, to reproduce it.

    `command` runs `suite_text`, saved as suite.yaml, again: a line for each commit that trials were measured with.
    `given` are the commands that made the run.
    """

    name: str
    suite_text: str
    command: str
    given: list[Command]


def origins(tables: Tables) -> list[Origin]:
    found = []
    for source in tables.sources:
        records = [record for record in tables.records if len(tables.sources) == 1 or record.run == source.name]
        command = "\n".join(_commands(records)) or COMMAND
        found.append(Origin(source.name, source.suite_text, command, source.commands))
    return found


def _commands(records: list[Record]) -> list[str]:
    """Return a command for each commit, that of the most trials first."""
    trials: dict[str, set[str]] = {}
    for record in records:
        for environment in record.details.environment.values():
            if environment.git_commit:
                trials.setdefault(environment.git_commit, set()).add(record.trial_id)
    found = sorted(trials.items(), key=lambda each: -len(each[1]))
    of = [f"  # {plural(len(ids), 'trial')}" if len(found) > 1 else "" for _, ids in found]
    return [f"git checkout {commit} && uv run {COMMAND}{text}" for (commit, _), text in zip(found, of, strict=True)]


def missing(tables: Tables) -> list[str]:
    """Sentences on results that are missing or need care: failed or pending trials, few seeds, damaged files."""
    counts, groups = tables.counts, tables.groups
    short = [group for group in groups if group.row.n_seeds < seeds(group) and _wants_accuracy(group)]
    single = [group for group in groups if group.row.n_seeds == 1]
    held_out = sum(group.row.split == "val" for group in groups)
    unplanned = sum(not record.planned for record in tables.records)
    sentences = [
        (not tables.records, "This run has no trials yet."),
        (counts["failed"], f"{plural(counts['failed'], 'trial')} failed."),
        (counts["running"], f"{plural(counts['running'], 'trial')} still running."),
        (counts["pending"], f"{plural(counts['pending'], 'trial')} not run yet."),
        (short, f"{plural(len(short), 'row')} of the leaderboard with fewer seeds than planned."),
        (single, f"{plural(len(single), 'row')} with a single seed: no spread can be given."),
        (
            held_out,
            f"{plural(held_out, 'row')} tested on a validation split, a part of the training set: compared with "
            "each other only, not with rows tested on the test set or with published figures.",
        ),
        (
            unplanned,
            f"{plural(unplanned, 'trial')} no longer in the plan: shown under Models, not in the leaderboard.",
        ),
        *((True, f"Every trial that ran: {flag}.") for flag in common(tables.records)),
        (
            tables.set_aside,
            f"{plural(tables.set_aside, 'damaged file')} set aside by an earlier run, as *.damaged-1 …",
        ),
        (
            tables.damaged,
            f"{plural(len(tables.damaged), 'file')} cannot be read; "
            "running the suite again sets aside what is damaged:",
        ),
    ]
    return [sentence for holds, sentence in sentences if holds] + [numbers.short(text, 400) for text in tables.damaged]


def environments(records: list[Record]) -> list[Place]:
    """All environments that trials were measured in, the most used first."""
    used: dict[str, tuple[Environment, set[str]]] = {}
    for record in records:
        for environment in record.details.environment.values():
            used.setdefault(environment.model_dump_json(), (environment, set()))[1].add(record.trial_id)
    places = [Place(environment, len(trials)) for environment, trials in used.values()]
    return sorted(places, key=lambda place: -place.trials)


def _wants_accuracy(group: Group) -> bool:
    return any("accuracy" in record.details.trial.measure for record in group.records)


def _unique(values: Iterable[T]) -> list[T]:
    return list(dict.fromkeys(value for value in values if value))
