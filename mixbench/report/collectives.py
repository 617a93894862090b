"""What the processes of a trial send in a training step: a row for each of the leaderboard's that sends."""

from dataclasses import dataclass
from statistics import median, quantiles

from mixbench.report.row_names import by_images, names
from mixbench.report.scaling_model import communications
from mixbench.report.step_times import samples
from mixbench.results.tables import Tables


@dataclass(frozen=True)
class Sent:
    """One row: bytes and milliseconds of one process; `share` in percent of the training step's median."""

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
        return self.step_bytes / self.gradient_bytes


def communication(tables: Tables) -> list[Sent]:
    """In the leaderboard's order of datasets; empty where every trial ran in one process."""
    found = []
    for images, groups in by_images(tables.groups).items():
        for group, name in zip(groups, names(groups), strict=True):
            if not (parts := communications(group)):
                continue
            reduced = [ms for part in parts for ms in part.allreduce_ms]
            low, middle, high = quantiles(reduced, n=4, method="inclusive") if len(reduced) > 1 else reduced * 3
            steps = samples("train", group.records)
            found.append(
                Sent(
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
