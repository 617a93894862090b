"""`mixbench`: the verbs and their options.  Each parses, calls one function, prints; heavy imports are inside verbs."""

import gc
import json
import os
import sys
import traceback
from pathlib import Path

import click

from mixbench.cli.data import data
from mixbench.cli.terminal import FilePath, json_option
from mixbench.cli.throttle import throttle
from mixbench.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_REQUEST, RequestError, described
from mixbench.report import formats
from mixbench.system import environment
from mixbench.system.signals import interrupt_on_stop_signals
from mixbench.system.streams import ignore_write_errors, repair_streams

set_option = click.option(
    "--set",
    "assignments",
    multiple=True,
    metavar="KEY=VALUE",
    help="Change a key of the suite, such as recipe.epochs=1 or models.0.ratio=3/5: it holds over all of the file, "
    "a model's own recipe too.",
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
@click.option("--out", type=FilePath(), help="The run folder  [default: runs/<suite>].")
@click.option(
    "--only",
    multiple=True,
    metavar="EXPR",
    help="Run a part of the plan, such as 'model=splitmixer_*,seed=0'; given again, that part too.",
)
@set_option
@click.option("--dry-run", is_flag=True, help="Print the plan and the work in it; write and start nothing.")
@click.option("--detach", is_flag=True, help="Return once the jobs are submitted to SLURM: they finish the run.")
@json_option
def run(
    suite: str,
    cluster: str,
    out: Path | None,
    only: tuple[str, ...],
    assignments: tuple[str, ...],
    dry_run: bool,
    detach: bool,
    as_json: bool,
) -> None:
    """Run SUITE, or resume it, and write its report.

    SUITE is a file, or the name of a bundled suite.  Trials that are done are kept.
    """
    from mixbench.cli.run import Session
    from mixbench.launch.slurm.cluster_profile import find_cluster
    from mixbench.run.claim import Taken
    from mixbench.suite.load import load

    where = find_cluster(cluster)
    if detach and isinstance(where, str):
        raise RequestError(f"--detach: cluster {where!r} runs on this machine, and ends with this process")
    loaded, trials = load(suite, assignments, {} if isinstance(where, str) else where.resources)
    session = Session(loaded, trials, where, out or Path("runs") / loaded.name, only)
    if dry_run:
        from mixbench.cli.dry_run import print_plan

        print_plan(session, as_json)
        return
    ignore_write_errors()
    interrupt_on_stop_signals()
    try:
        typed = click.get_current_context().find_root().obj
        counts = session.run_all(quiet=as_json, detach=detach, typed=typed)
    except (KeyboardInterrupt, Taken):
        click.echo(session.how_to_resume(), err=True)
        sys.exit(EXIT_INTERRUPTED)
    if as_json:
        click.echo(json.dumps({"run": str(session.run.folder), "trials": counts}))
    sys.exit(EXIT_FAILED if counts["failed"] or session.problems else 0)


@cli.command()
@click.argument("suite")
@set_option
@json_option
def validate(suite: str, assignments: tuple[str, ...], as_json: bool) -> None:
    """Check SUITE and its folders of images; name every problem and its line."""
    from mixbench.cli.validate import print_validation

    print_validation(suite, assignments, as_json)


@cli.command()
@click.argument("run", type=FilePath())
@json_option
def status(run: Path, as_json: bool) -> None:
    """Show how far the run in folder RUN is."""
    from mixbench.cli.status import print_status
    from mixbench.run.folder import Run

    print_status(Run(run), as_json)


@cli.command()
@click.argument("run", type=FilePath())
@click.argument("trial")
@click.option(
    "--rank", default="0", show_default=True, help="Number of the rank, or batch: the job script that starts the ranks."
)
@click.option("--follow", "-f", is_flag=True, help="Keep printing until the trial has ended, or Ctrl-C.")
def logs(run: Path, trial: str, rank: str, follow: bool) -> None:
    """Print the output of the processes of TRIAL.

    TRIAL is an id as `mixbench status RUN --json` shows it, the beginning of one, or a pattern: 'convmixer*-s0-*'.
    """
    from mixbench.cli.logs import print_logs
    from mixbench.run.folder import Run

    print_logs(Run(run), trial, rank, follow)


@cli.command()
@click.argument("run", type=FilePath())
@json_option
def cancel(run: Path, as_json: bool) -> None:
    """End the jobs of RUN in SLURM.

    Records are kept, and each training up to its last checkpoint.
    """
    from mixbench.launch.slurm.cancel import cancel as cancel_jobs
    from mixbench.launch.slurm.cancel import summary
    from mixbench.run.folder import Run

    cancelled = cancel_jobs(Run(run))
    facts = {"run": str(run), "cancelled": [each.slurm_id for each in cancelled]}
    click.echo(json.dumps(facts) if as_json else summary(cancelled, run))


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=FilePath())
@click.option("--out", type=FilePath(), help="Write one report of all RUNS together into this folder.")
@click.option(
    "--format",
    "forms",
    multiple=True,
    type=click.Choice(sorted(file.stem for file in Path(*formats.__path__).glob("[!_]*.py"))),
    help="What to write; may be given several times  [default: html, csv and markdown].",
)
@json_option
def report(runs: tuple[Path, ...], out: Path | None, forms: tuple[str, ...], as_json: bool) -> None:
    """Write the tables and the page of RUNS again.

    They are made from the records so far, also while a run is in progress.  Each run has its report in its own folder;
    with --out there is one report of all, whose rows name their run.
    """
    from mixbench.cli.reports import write_reports
    from mixbench.run.folder import Run

    write_reports([Run(folder) for folder in runs], out, forms, as_json)


@cli.command()
@click.argument("run_a", type=FilePath())
@click.argument("run_b", type=FilePath())
@click.option(
    "--fail-below",
    "limits",
    multiple=True,
    metavar="METRIC:CHANGE",
    help="Exit with 1 if RUN_B is worse by more than this: train_samples_per_sec:-5% (of RUN_A's mean), top1:-0.5 "
    "(points), peak_memory_bytes:+10%; or lacks a value that RUN_A has, as a trial failed or is not planned.  "
    "May be given several times.",
)
@click.option("--strict", is_flag=True, help="Exit with 1 also if it can't be told whether a limit is crossed.")
@json_option
def compare(run_a: Path, run_b: Path, limits: tuple[str, ...], strict: bool, as_json: bool) -> None:
    """Compare the trials that RUN_A and RUN_B share.

    By trial, then over their seeds, with all other differences.  Accuracy is compared across devices, throughput and
    memory are not.
    """
    from mixbench.cli.compare import print_comparison
    from mixbench.run.folder import Run

    if not print_comparison(Run(run_a), Run(run_b), limits, strict, as_json):
        sys.exit(EXIT_FAILED)


@cli.command(name="list")
@click.argument("what", type=click.Choice(["models", "suites", "datasets"]))
@click.argument("terms", nargs=-1)
@click.option("--family", default="*", help="Models of this family: 'ViP', 'S2*'.")
@click.option("--plugin", type=FilePath(), help="A Python file whose models are listed, too.")
@json_option
def list_(what: str, terms: tuple[str, ...], family: str, plugin: Path | None, as_json: bool) -> None:
    """List models, suites or datasets.

    TERMS select by name, as in a shell, and by number: 'splitmixer_*' 'params<30M' 'year>=2022'.
    """
    from mixbench.cli.listing import print_list

    print_list(what, terms, family, plugin, as_json)


@cli.command()
@click.argument("model")
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="Override an argument: ratio=3/5.")
@click.option("--image-size", type=click.IntRange(min=1), help="Pixels a side  [default: the model's own].")
@click.option("--num-classes", type=click.IntRange(min=1), help="Classes  [default: the model's own].")
@click.option("--plugin", type=FilePath(), help="The Python file that has the model, if it is the user's own.")
@json_option
def profile(
    model: str,
    assignments: tuple[str, ...],
    image_size: int | None,
    num_classes: int | None,
    plugin: Path | None,
    as_json: bool,
) -> None:
    """Count MODEL's parameters and MACs by layer.

    MACs are multiply-accumulates of one image through the model.
    """
    from mixbench.cli.profile import profile_of

    profile_of(model, assignments, image_size, num_classes, plugin, as_json)


@cli.command()
@click.argument("suite", required=False)
@click.option("--cluster", default="local", help="A profile, slurm/x.yaml: check that cluster, with two small jobs.")
@click.option("--out", type=FilePath(), default="runs", help="Where run folders are  [default: runs].")
@click.option("--wait", type=float, default=300, metavar="SECONDS", help="Time for a job to start  [default: 300].")
@json_option
def doctor(suite: str | None, cluster: str, out: Path, wait: float, as_json: bool) -> None:
    """Check what a run needs on this machine, or on a cluster.

    With SUITE, its data are checked too, on a cluster the resources of its trials as well.
    """
    from mixbench.cli.checkup import print_checks

    sys.exit(0 if print_checks(suite, cluster, out, wait, as_json) else EXIT_FAILED)


cli.add_command(data)
cli.add_command(throttle)


def main() -> None:
    """The entry point: a wrong request is one message and exit code 2, never a traceback."""
    gc.set_threshold(50_000)  # loading a verb's modules makes many objects, and no garbage
    repair_streams()
    try:
        environment.prepare()
        cli(prog_name="mixbench", standalone_mode=False, obj=sys.argv[1:])
    except SystemExit as error:
        if where := _exited_elsewhere(error):
            click.echo(f"mixbench: {where} calls sys.exit({error.code}): code of a model must not", err=True)
            sys.exit(EXIT_REQUEST)
        raise
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_REQUEST)
    except RequestError as error:
        click.echo(f"mixbench: {error}", err=True)
        sys.exit(EXIT_REQUEST)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:  # the reader of the output has closed it, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except OSError as error:
        where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
        click.echo(f"mixbench: {where}{error.strerror or error}", err=True)
        sys.exit(EXIT_REQUEST)
    except Exception as error:
        if variables := environment.blamed(error):
            click.echo(f"mixbench: {variables}{described(error)}", err=True)
            sys.exit(EXIT_REQUEST)
        raise


def _exited_elsewhere(error: SystemExit) -> str:
    """The place as file:line if sys.exit was called by no verb, whose exit codes mean something; else ""."""
    *_, (frame, line) = traceback.walk_tb(error.__traceback__)
    verb = frame.f_globals.get("__name__", "").startswith(("mixbench.cli.", "click."))
    return "" if verb else f"{frame.f_code.co_filename}:{line}"
