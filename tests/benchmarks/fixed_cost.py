"""What a trial costs beside its work, from the start of its process to its first step, and from its last to its record.

Run with: python tests/benchmarks/fixed_cost.py [ROUNDS], 5 unless told.  A run trains 21 linear models on digits, two
steps each, one after the other in one process.  The first has it all: Python, torch and DeepSpeed loaded, everything
set up.  Of each of the others it is what lies between the record before and its own, less its steps.  The evaluation of
360 images is in both.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[2]))

from mixbench.system.device import device_name
from mixbench.zoo.registry import register_model
from tests.benchmarks.table import Line
from tests.trials import RECIPE, write_suite

TRIALS, STEPS = 21, 2
DIARY = "MIXBENCH_DIARY"


@register_model(variants={"timed_linear": dict(image_size=8, num_classes=10)}, family="Linear")
class TimedLinear(nn.Module):
    """Writes down when it is trained, and when its process began."""

    def __init__(self, image_size: int, in_chans: int = 1, num_classes: int = 10):
        super().__init__()
        self.head = nn.Linear(in_chans * image_size**2, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        if self.training and not images.is_meta and DIARY in os.environ:
            with open(os.environ[DIARY], "a", encoding="utf-8") as diary:
                diary.write(f"{time.time()} {psutil.Process().create_time()}\n")
        return self.head(images.flatten(1))


def costs(folder: Path) -> tuple[float, list[float]]:
    """Seconds of the first trial, and of each of the others."""
    suite = write_suite(
        folder,
        models=["timed_linear"],
        plugins=[__file__],
        seeds=list(range(TRIALS)),
        measure=["accuracy"],
        recipe=RECIPE | {"global_batch_size": 700},
    )
    command = [sys.executable, "-m", "mixbench", "run", str(suite), "--out", str(folder / "run")]
    environment = os.environ | {DIARY: str(folder / "diary")}
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    lines = [tuple(map(float, line.split())) for line in (folder / "diary").read_text().splitlines()]
    steps = [moment for moment, _ in lines]
    records = sorted(path.stat().st_mtime for path in folder.glob("run/trials/*/record.json"))
    assert len(steps) == STEPS * TRIALS and len(records) == TRIALS
    began = [lines[0][1], *records]
    seconds = [steps[STEPS * at] - began[at] + records[at] - steps[STEPS * at + STEPS - 1] for at in range(TRIALS)]
    return seconds[0], seconds[1:]


def main(rounds: int = 5) -> list[Line]:
    cold, warm = [], list[float]()
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            first, others = costs(Path(folder))
        cold.append(first)
        warm += others
    lines = [
        Line("a trial beside its work, the first of a process", cold, "{} s", 1, below=8),
        Line("… each after the first", warm, "{} s", below=1),
    ]
    table = Table("", "measured", "target", "", title=f"{device_name()}, {rounds} rounds")
    for line in lines:
        table.add_row(line.what, line.measured, line.target, line.verdict)
    Console(width=100).print(table)
    return lines


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
