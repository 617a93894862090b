"""`mixbench doctor`: check this machine, or a cluster, and print what was found."""

from dataclasses import asdict
from functools import partial
from pathlib import Path

from mixbench.cli.terminal import console, print_rows
from mixbench.launch.checks import checks
from mixbench.launch.slurm.cluster_profile import find_cluster
from mixbench.system.signals import interrupt_on_stop_signals


def print_checks(suite: str | None, cluster: str, out: Path, wait: float, as_json: bool) -> bool:
    """Run the checks and print a row for each.  Return True if all are good."""
    where = find_cluster(cluster)
    if isinstance(where, str):
        found = checks(suite)
    else:
        from mixbench.launch.slurm.doctor import examine

        interrupt_on_stop_signals()
        found = examine(where, suite, out, wait, partial(console(stderr=True).print, soft_wrap=True))
    facts = [asdict(check) for check in found]
    shown = facts if as_json else [row | {"ok": "ok" if row["ok"] else "FAILED"} for row in facts]
    print_rows(shown, as_json, styles={"ok": "green", "FAILED": "bold red"})
    return all(check.ok for check in found)
