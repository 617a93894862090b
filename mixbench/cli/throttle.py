"""`mixbench throttle`: change how many of a run's jobs in SLURM may run at a time."""

import json
from pathlib import Path

import click

from mixbench.cli.terminal import json_option


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("most", metavar="N", type=click.IntRange(min=1))
@json_option
def throttle(run: Path, most: int, as_json: bool) -> None:
    """Let N jobs of each array of RUN in SLURM run at a time.

    Instead of `array_parallelism` in the profile they were submitted with.  Jobs that run already are not ended.
    """
    from mixbench.launch.slurm.parallelism import set_parallelism
    from mixbench.run.folder import Run
    from mixbench.system.words import plural

    arrays = set_parallelism(Run(run), most)
    facts = {"run": str(run), "arrays": arrays, "array_parallelism": most}
    click.echo(json.dumps(facts) if as_json else f"{plural(len(arrays), 'array')} of {run}: at most {most} at a time")
