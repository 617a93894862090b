"""The verbs: each parses, calls one function, prints.  Heavy imports stay inside the verbs that need them."""

import json
import os
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import click

from mixbench.errors import RequestError
from mixbench.streams import make_usable, outlive_readers

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
EXIT_FAILED_TRIALS, EXIT_REQUEST, EXIT_INTERRUPTED = 1, 2, 130

json_option = click.option("--json", "as_json", is_flag=True, help="Print the facts as JSON.")
set_option = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a key of the suite, such as recipe.epochs=1 or models.0.ratio=3/5, as if the file said so: "
    "a model's or dataset's own recipe still wins over the suite's.",
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="mixbench", prog_name="mixbench")
def cli() -> None:
    """Compare Mixer-family vision models: accuracy, parameters, MACs and throughput, from one YAML suite."""


@cli.command()
@click.argument("suite")
@click.option("--cluster", default="local", show_default=True, help="Where trials run: local or debug.")
@click.option("--out", type=click.Path(path_type=Path), help="The run folder  [default: runs/<suite>].")
@click.option("--only", metavar="EXPR", help="Run a part of the plan, such as 'model=splitmixer_*,seed=0'.")
@set_option
@click.option("--dry-run", is_flag=True, help="Print the plan and the work in it; write and start nothing.")
@json_option
def run(
    suite: str,
    cluster: str,
    out: Path | None,
    only: str | None,
    assignments: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Run SUITE, or go on with it, and report.

    SUITE is a file, or the name of a bundled suite.  Trials that are done are kept.
    """
    from mixbench.claim import Taken
    from mixbench.session import Session
    from mixbench.suite import load

    loaded, trials = load(suite, assignments)
    session = Session(loaded, trials, cluster, out or Path("runs") / loaded.name, only)
    if dry_run:
        from mixbench.estimate import print_plan

        print_plan(session, as_json)
        return
    outlive_readers()
    for stop in STOPS:
        if signal.getsignal(stop) != signal.SIG_IGN:  # as a shell's background jobs ignore Ctrl-C, and nohup's SIGHUP
            signal.signal(stop, _interrupt)
    try:
        counts = session.run_all(quiet=as_json)
    except (KeyboardInterrupt, Taken):
        click.echo(session.how_to_go_on(), err=True)
        sys.exit(EXIT_INTERRUPTED)
    if as_json:
        click.echo(json.dumps({"run": str(session.run.folder), "trials": counts}))
    sys.exit(EXIT_FAILED_TRIALS if counts["failed"] or session.problems else 0)


@cli.command()
@click.argument("suite")
@set_option
@json_option
def validate(suite: str, assignments: tuple[str, ...], as_json: bool) -> None:
    """Check SUITE; name every problem and its line."""
    from mixbench.suite import load

    loaded, trials = load(suite, assignments)
    if as_json:
        click.echo(json.dumps({"name": loaded.name, "trials": len(trials)}))
    else:
        click.echo(f"{suite} is good: {loaded.name}, {len(trials)} trials")


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@json_option
def status(run: Path, as_json: bool) -> None:
    """Show how far the run in folder RUN is."""
    from mixbench.results import collect
    from mixbench.run import Run
    from mixbench.status import print_status

    print_status(Run(run), collect(Run(run)), as_json)


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="Write one report of all RUNS together into this folder.")
@click.option(
    "--format",
    "forms",
    multiple=True,
    type=click.Choice(["html", "csv", "markdown", "latex", "tensorboard", "timm"]),
    help="What to write; may be given several times  [default: html, csv and markdown].",
)
@json_option
def report(runs: tuple[Path, ...], out: Path | None, forms: tuple[str, ...], as_json: bool) -> None:
    """Write the tables and the page of RUNS anew.

    They are made from whatever records there are, at any moment of a run.  Each run has its report in its own folder;
    with --out there is one of all, whose rows say which run they are of.
    """
    from mixbench.report import DEFAULT, write
    from mixbench.run import Run

    found = [Run(folder) for folder in runs]
    if out and Run(out).plan_file.exists():
        raise RequestError(f"--out {out} is a run's folder, where its own report stands: another folder is wanted")
    forms = forms or DEFAULT
    together = [(found, out)] if out else [([run], None) for run in found]
    written = [path for some, folder in together for path in write(*some, out=folder, forms=forms)]
    click.echo(json.dumps([str(path) for path in written]) if as_json else "\n".join(map(str, written)))


@cli.command()
@click.argument("run_a", type=click.Path(path_type=Path))
@click.argument("run_b", type=click.Path(path_type=Path))
@click.option(
    "--fail-below",
    "limits",
    multiple=True,
    metavar="METRIC:CHANGE",
    help="Exit with 1 where RUN_B is worse by more than this: train_samples_per_sec:-5% (of RUN_A's mean), top1:-0.5 "
    "(points), peak_memory_bytes:+10%.  May be given several times.",
)
@json_option
def compare(run_a: Path, run_b: Path, limits: tuple[str, ...], as_json: bool) -> None:
    """Compare the trials that RUN_A and RUN_B share.

    Trial by trial, then over their seeds, with what else was not the same.  Accuracy is compared across devices,
    throughput and memory are not.
    """
    from mixbench.compare import print_comparison
    from mixbench.run import Run

    if not print_comparison(Run(run_a), Run(run_b), limits, as_json):
        sys.exit(EXIT_FAILED_TRIALS)


@cli.command(name="list")
@click.argument("what", type=click.Choice(["models", "suites", "datasets"]))
@click.argument("pattern", default="*")
@json_option
def list_(what: str, pattern: str, as_json: bool) -> None:
    """List models, suites or datasets.

    PATTERN picks names, as in a shell: 'splitmixer_*'.
    """
    from mixbench.listing import rows

    found = rows(what, pattern)
    if not found and not as_json:
        raise RequestError(f"no {what} match {pattern!r}; `mixbench list {what}` shows all")
    _print_rows(found, as_json)


@cli.command()
@click.argument("model")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Override an argument: ratio=3/5.")
@click.option("--image-size", type=click.IntRange(min=1), help="Pixels a side  [default: the model's own].")
@click.option("--num-classes", type=click.IntRange(min=1), help="Classes  [default: the model's own].")
@json_option
def profile(
    model: str, assignments: tuple[str, ...], image_size: int | None, num_classes: int | None, as_json: bool
) -> None:
    """Count MODEL's parameters and MACs by layer.

    MACs are multiply-accumulates of one image through the model.
    """
    from mixbench.listing import profile_of

    profile_of(model, assignments, image_size, num_classes, as_json)


@cli.command()
@json_option
def doctor(as_json: bool) -> None:
    """Check what a run needs on this machine."""
    from mixbench.doctor import checks

    found = checks()
    facts = [asdict(check) for check in found]
    _print_rows(facts if as_json else [row | {"ok": "ok" if row["ok"] else "FAILED"} for row in facts], as_json)
    sys.exit(0 if all(check.ok for check in found) else EXIT_FAILED_TRIALS)


@cli.group()
def data() -> None:
    """List, check or fetch datasets."""


@data.command(name="list")
@click.argument("names", nargs=-1)
@json_option
def data_list(names: tuple[str, ...], as_json: bool) -> None:
    """Show where the datasets NAMES lie, or how to get them  [default: all]."""
    from mixbench.data.check import list_data
    from mixbench.terminal import sizes

    rows = list_data(names)
    _print_rows(rows if as_json else sizes(rows), as_json)


@data.command()
@click.argument("names", nargs=-1)
@json_option
def check(names: tuple[str, ...], as_json: bool) -> None:
    """Verify the datasets NAMES, and the caches made of them.

    Checksums are compared where there are any.  Exit code 1 where one is damaged, or one of NAMES is missing.
    """
    from mixbench.data.check import check_data
    from mixbench.terminal import sizes

    rows = check_data(names)
    _print_rows(rows if as_json else sizes(rows), as_json)
    bad = {"damaged", "missing"} if names else {"damaged"}
    sys.exit(EXIT_FAILED_TRIALS if any(row["status"] in bad for row in rows) else 0)


@data.command()
@click.argument("names", nargs=-1, required=True)
def fetch(names: tuple[str, ...]) -> None:
    """Download the datasets NAMES.

    On a machine with internet, such as a login node: a run never downloads anything.  What has come is kept, so the
    same command goes on after a break.
    """
    from mixbench.data.fetch import fetch as fetch_data
    from mixbench.data.meter import Meter

    with Meter() as meter:
        fetch_data(names, meter.say, meter.show)


def _print_rows(rows: list[dict[str, Any]], as_json: bool) -> None:
    from mixbench.terminal import console, print_table

    if as_json:
        click.echo(json.dumps(rows, indent=1))
    else:
        shown = [{key.replace("_", " "): value for key, value in row.items() if value is not False} for row in rows]
        print_table(shown, console())


def _interrupt(*_: object) -> NoReturn:
    """Stop, once: a second Ctrl-C would stop the stopping, and leave processes behind."""
    for stop in STOPS:
        signal.signal(stop, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    """The entry point: a wrong request is one message and exit code 2, never a traceback."""
    make_usable()
    try:
        cli(prog_name="mixbench", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_REQUEST)
    except RequestError as error:
        click.echo(f"mixbench: {error}", err=True)
        sys.exit(EXIT_REQUEST)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # whoever read the output has had enough of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        click.echo(f"mixbench: {where}{error.strerror or error}", err=True)
        sys.exit(EXIT_REQUEST)
