"""How long `mixbench run quick` takes, from its start to its report, and how many of its trials come to 95 % top-1.

Run with: python tests/benchmarks/quick.py [ROUNDS], 3 unless told.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from mixbench.results.tables import tables
from mixbench.run.folder import Run
from tests.benchmarks.table import Line


def main(rounds: int = 3) -> list[Line]:
    seconds, tops = [], list[float]()
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            subprocess.run([sys.executable, "-m", "mixbench", "run", "quick", "--out", folder], check=True)
            seconds.append(time.perf_counter() - began)
            tops += [each.top1 or 0.0 for group in tables(Run(Path(folder))).groups for each in group.records]
    line = Line(f"mixbench run quick, {len(tops) // rounds} trials", seconds, "{} s", 0, below=120)
    good = sum(top >= 95 for top in tops)
    print(f"{line.what}: {line.measured}, target {line.target}; {good} of {len(tops)} come to 95 % top-1")
    return [line]


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
