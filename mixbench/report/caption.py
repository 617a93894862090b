"""The facts of a table's caption: device, settings, seeds, test images, versions."""

from collections.abc import Sequence

from mixbench.report import numbers, overview
from mixbench.report.leaderboard import usual_settings
from mixbench.results.summary import Group
from mixbench.results.tables import Tables


def caption(tables: Tables, groups: Sequence[Group]) -> list[str]:
    """Return sentences, without full stops, on some rows: device, settings, seeds, test images, versions, commit."""
    head = overview.head(tables)
    curves = [record.details.curve for group in groups for record in group.records]
    images = sorted({curve.test_images for curve in curves if curve})
    seeds = sorted({record.seed for group in groups for record in group.records})
    devices = list(dict.fromkeys(group.row.device for group in groups if group.row.device))
    facts = [
        (devices, f"on {', '.join(devices)}"),
        (groups, f"{usual_settings(groups)} unless a row says otherwise"),
        (seeds, f"seeds {', '.join(map(str, seeds))}"),
        (images, f"{' or '.join(map(numbers.exact, images))} test images"),
        (head.versions, "; ".join(head.versions)),
        (head.commits, f"commit {', '.join(head.commits)}"),
    ]
    return [text for known, text in facts if known]
