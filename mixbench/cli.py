"""The verbs: each parses, calls one function, prints.  Heavy imports stay inside the verbs that need them."""

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

import click

from mixbench.errors import RequestError
from mixbench.stop import heed_stops
from mixbench.streams import make_usable, outlive_readers

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
@click.option(
    "--cluster", default="local", show_default=True, help="Where trials run: local, debug, or a profile: slurm/x.yaml."
)
@click.option("--out", type=click.Path(path_type=Path), help="The run folder  [default: runs/<suite>].")
@click.option("--only", metavar="EXPR", help="Run a part of the plan, such as 'model=splitmixer_*,seed=0'.")
@set_option
@click.option("--dry-run", is_flag=True, help="Print the plan and the work in it; write and start nothing.")
@click.option("--detach", is_flag=True, help="Leave when SLURM has the jobs: they finish the run.")
@json_option
def run(
    suite: str,
    cluster: str,
    out: Path | None,
    only: str | None,
    assignments: tuple[str, ...],
    dry_run: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Run SUITE, or go on with it, and report.

    SUITE is a file, or the name of a bundled suite.  Trials that are done are kept.
    """
    from mixbench.claim import Taken
    from mixbench.session import Session
    from mixbench.slurm.profile import find_cluster
    from mixbench.suite import load

    where = find_cluster(cluster)
    if detach and isinstance(where, str):
        raise RequestError(f"--detach: cluster {where!r} runs on this machine, and ends with this process")
    loaded, trials = load(suite, assignments, {} if isinstance(where, str) else where.resources)
    session = Session(loaded, trials, where, out or Path("runs") / loaded.name, only)
    if dry_run:
        from mixbench.estimate import print_plan

        print_plan(session, as_json)
        return
    outlive_readers()
    heed_stops()
    try:
        counts = session.run_all(quiet=as_json, detach=detach)
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
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("trial")
@click.option(
    "--rank", default="0", show_default=True, help="Whose: a rank's number, or batch: the script around them."
)
@click.option("--follow", "-f", is_flag=True, help="Go on until the trial has ended, or Ctrl-C.")
def logs(run: Path, trial: str, rank: str, follow: bool) -> None:
    """Print what the processes of TRIAL printed.

    TRIAL is an id as `mixbench status RUN --json` has it, the beginning of one, or a pattern: 'convmixer*-s0-*'.
    """
    from mixbench.logs import print_logs
    from mixbench.run import Run

    print_logs(Run(run), trial, rank, follow)


@cli.command()
@click.argument("run", type=click.Path(path_type=Path))
@json_option
def cancel(run: Path, as_json: bool) -> None:
    """End the jobs of RUN in SLURM.

    What was measured is kept, and what was trained up to its last checkpoint.
    """
    from mixbench.run import Run
    from mixbench.slurm.cancel import cancel as cancel_jobs
    from mixbench.slurm.cancel import told

    cancelled = cancel_jobs(Run(run))
    facts = {"run": str(run), "cancelled": [each.slurm_id for each in cancelled]}
    click.echo(json.dumps(facts) if as_json else told(cancelled, run))


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=click.Path(path_type=Path))
@json_option
def report(runs: tuple[Path, ...], as_json: bool) -> None:
    """Write the tables and the page of RUNS anew.

    They are made from whatever records there are, at any moment of a run.
    """
    from mixbench.report import write
    from mixbench.run import Run

    written = [path for folder in runs for path in write(Run(folder))]
    click.echo(json.dumps([str(path) for path in written]) if as_json else "\n".join(map(str, written)))


@cli.command(name="list")
@click.argument("what", type=click.Choice(["models", "suites", "datasets"]))
@click.argument("pattern", default="*")
@json_option
def list_(what: str, pattern: str, as_json: bool) -> None:
    """List models, suites or datasets.

    PATTERN picks names, as in a shell: 'splitmixer_*'.
    """
    from mixbench.listing import rows
    from mixbench.terminal import print_rows

    found = rows(what, pattern)
    if not found and not as_json:
        raise RequestError(f"no {what} match {pattern!r}; `mixbench list {what}` shows all")
    print_rows(found, as_json)


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
@click.argument("suite", required=False)
@click.option("--cluster", default="local", help="A profile, slurm/x.yaml: check that cluster, with two small jobs.")
@click.option("--out", type=click.Path(path_type=Path), default="runs", help="Where run folders are  [default: runs].")
@click.option("--wait", type=float, default=300, metavar="SECONDS", help="For a job of it to start  [default: 300].")
@json_option
def doctor(suite: str | None, cluster: str, out: Path, wait: float, as_json: bool) -> None:
    """Check what a run needs on this machine, or on a cluster.

    Of SUITE, which may be given with a cluster, the data and what its trials ask for.
    """
    from mixbench.doctor import checks
    from mixbench.slurm.profile import find_cluster
    from mixbench.terminal import print_rows

    where = find_cluster(cluster)
    if isinstance(where, str):
        if suite:
            raise RequestError(f"SUITE {suite!r} is checked on a cluster: give --cluster slurm/x.yaml, too")
        found = checks()
    else:
        from mixbench.slurm.doctor import examine

        heed_stops()
        found = examine(where, suite, out, wait)
    facts = [asdict(check) for check in found]
    print_rows(facts if as_json else [row | {"ok": "ok" if row["ok"] else "FAILED"} for row in facts], as_json)
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
    from mixbench.terminal import print_rows, sizes

    rows = list_data(names)
    print_rows(rows if as_json else sizes(rows), as_json)


@data.command()
@click.argument("names", nargs=-1)
@json_option
def check(names: tuple[str, ...], as_json: bool) -> None:
    """Verify the datasets NAMES, and the caches made of them.

    Checksums are compared where there are any.  Exit code 1 where one is damaged, or one of NAMES is missing.
    """
    from mixbench.data.check import check_data
    from mixbench.terminal import print_rows, sizes

    rows = check_data(names)
    print_rows(rows if as_json else sizes(rows), as_json)
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
