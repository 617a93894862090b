"""Stand-ins for SLURM's commands: a queue in a file, with the limits and the slowness that a test wants.

The real SLURM of tests/slurm/ takes minutes; these show what is asked, how often, and what is done with an answer.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

BEGIN = '#!/bin/bash\ncd "$(dirname "$0")"\necho "${0##*/} $*" >> calls\n[ ! -e "hang-${0##*/}" ] || exec sleep 60\n'
COMMANDS = {
    "sbatch": """
script="${@: -1}"
name=$(sed -n 's/^#SBATCH --job-name=//p' "$script")
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
if (( $(wc -l < queue) + last + 1 > $(cat limit) )); then
    echo "sbatch: error: AssocMaxSubmitJobLimit" >&2
    echo "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy" >&2
    exit 1
fi
id=$(( $(cat number) + 1 ))
echo $id > number
for index in $(seq 0 $last); do echo "$name|$index|$id|PENDING||Priority" >> queue; done
cat banner
echo $id
""",
    "squeue": """
for word in "$@"; do case $word in --name=*) names=${word#--name=};; esac; done
awk -F'|' -v names=",$names," 'index(names, "," $1 ",")' queue
""",
    "scancel": """
for word in "$@"; do case $word in --name=*) name=${word#--name=};; esac; done
[ -e deaf ] || sed -i "/^$name|/d" queue
""",
    "scontrol": 'case "$*" in *config) echo "MaxArraySize = 1001";; esac\n',
    "sacct": "cat accounts\n",
}


@dataclass(frozen=True)
class Commands:
    folder: Path

    @classmethod
    def on_path(cls, folder: Path, monkeypatch: pytest.MonkeyPatch) -> "Commands":
        folder.mkdir()
        for name, script in COMMANDS.items():
            (folder / name).write_text(BEGIN + script.lstrip("\n"))
            (folder / name).chmod(0o755)
        for name in ("calls", "queue", "banner", "accounts"):
            (folder / name).write_text("")
        (folder / "limit").write_text("1000")
        (folder / "number").write_text("19")
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return cls(folder)

    def set(self, name: str, text: str | int = "") -> None:
        """`limit`: jobs that the queue takes; `banner`: what sbatch prints first; `accounts`: what sacct prints;
        `hang-sacct`: it does; `deaf`: scancel does nothing."""
        (self.folder / name).write_text(str(text))

    def calls(self, program: str) -> list[str]:
        """The words that it was called with, since the test last asked."""
        lines = (self.folder / "calls").read_text().splitlines()
        (self.folder / "calls").write_text("".join(f"{line}\n" for line in lines if not line.startswith(f"{program} ")))
        return [line.removeprefix(f"{program} ") for line in lines if line.startswith(f"{program} ")]

    def queue(self) -> list[str]:
        """The queue as number_index STATE."""
        lines = (self.folder / "queue").read_text().splitlines()
        return [f"{number}_{index} {state}" for _, index, number, state, *_ in (line.split("|") for line in lines)]

    def becomes(self, job: str, state: str) -> None:
        """Change a job's state in the queue; empty: it has left it."""
        number, _, index = job.partition("_")
        pattern = re.compile(rf"^([^|\n]*\|{index}\|{number}\|)[A-Z]+(.*\n)", re.MULTILINE)
        text = (self.folder / "queue").read_text()
        (self.folder / "queue").write_text(pattern.sub(rf"\g<1>{state}\2" if state else "", text))
