"""Table of the communication between the processes of a trial: a row for each row of the leaderboard that has any."""

from dataclasses import dataclass
from statistics import median, quantiles

from mixbench.report.row_names import by_images, names
from mixbench.report.scaling_model import communications
from mixbench.report.step_times import samples
from mixbench.results.tables import Tables


@dataclass(frozen=True)
class CommunicationRow:
    """Bytes per training step and milliseconds, of one process.

    `share`: the all-reduce in percent of the median training step.  `kinds`: names of the collectives.
    """

    name: str
    key: str
    dataset: str
    processes: int
    gradient_bytes: int
    step_bytes: int
    kinds: list[str]
    allreduce_ms: float
    quartiles: tuple[float, float] | None
    latency_ms: float
    share: float | None

    @property
    def times(self) -> float:
        """Bytes sent in a step as a multiple of the gradients' bytes."""
        return self.step_bytes / self.gradient_bytes


def communication(tables: Tables) -> list[CommunicationRow]:
    """Rows in the suite's order of datasets; empty if every trial ran in one process."""
    found = []
    for images, groups in by_images(tables.groups).items():
        for group, name in zip(groups, names(groups), strict=True):
            if not (parts := communications(group)):
                continue
            reduced = [ms for part in parts for ms in part.allreduce_ms]
            low, middle, high = quantiles(reduced, n=4, method="inclusive") if len(reduced) > 1 else reduced * 3
            steps = samples("train", group.records)
            found.append(
                CommunicationRow(
                    name=name,
                    key=group.key,
                    dataset=images,
                    processes=group.row.world_size,
                    gradient_bytes=parts[0].gradient_bytes,
                    step_bytes=sum(parts[0].step_bytes.values()),
                    kinds=sorted(parts[0].step_bytes),
                    allreduce_ms=middle,
                    quartiles=(low, high) if len(reduced) > 1 else None,
                    latency_ms=median(ms for part in parts for ms in part.latency_ms),
                    share=100 * middle / median(steps) if steps else None,
                )
            )
    return found
