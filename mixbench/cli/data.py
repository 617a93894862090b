"""`mixbench data list | check | fetch`."""

import sys

import click

from mixbench.cli.terminal import console, json_option, print_fitting, print_rows, sizes
from mixbench.errors import EXIT_FAILED


@click.group()
def data() -> None:
    """List, check or fetch datasets."""


@data.command(name="list")
@click.argument("names", nargs=-1)
@json_option
def data_list(names: tuple[str, ...], as_json: bool) -> None:
    """Show where the datasets NAMES are stored, or how to get them  [default: all]."""
    from mixbench.data.check import list_data, remedies

    rows = list_data(names)
    if as_json:
        print_rows(rows, as_json)
        return
    shown = sizes([{key: value for key, value in row.items() if key != "remedy"} for row in rows])
    print_fitting(shown, console(), ("held",))
    for line in remedies(names):
        click.echo(f"\n{line}")


@data.command()
@click.argument("names", nargs=-1)
@json_option
def check(names: tuple[str, ...], as_json: bool) -> None:
    """Verify the datasets NAMES, and the caches made from them.

    A name may be the path of a folder of images, train/CLASS/*.jpg and val/CLASS/*.jpg.  Checksums are compared if
    known, and all images decoded.  Exit code 1 if a dataset or cache is damaged, or one of NAMES is missing.
    """
    from mixbench.cli.transfer import Meter
    from mixbench.data.check import check_data

    with Meter(console(stderr=True), counts=True) as meter:
        rows = check_data(names, meter.show)
    print_rows(rows if as_json else sizes(rows), as_json)
    bad = {"damaged", "missing"} if names else {"damaged"}
    sys.exit(EXIT_FAILED if any(row["status"] in bad for row in rows) else 0)


@data.command()
@click.argument("names", nargs=-1, required=True)
def fetch(names: tuple[str, ...]) -> None:
    """Download the datasets NAMES.

    Use a machine with internet, such as a login node: a run never downloads anything.  The same command resumes an
    interrupted download.
    """
    from mixbench.cli.transfer import Meter
    from mixbench.data.fetch import fetch as fetch_data

    with Meter() as meter:
        fetch_data(names, meter.say, meter.show)
