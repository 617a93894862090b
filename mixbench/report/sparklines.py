"""Small drawings for tables, as SVG text: a learning curve in a cell, a histogram of timings.

Written without matplotlib, which is too slow for thousands of them.
"""

import math
from collections.abc import Sequence

from mixbench.report import numbers
from mixbench.report.numbers import finite

WIDTH, HEIGHT = 120, 28
MOST_BINS = 24


def curve(points: Sequence[tuple[float, float]], name: str) -> str:
    """Draw a line through points of rising x, scaled to their range of y; empty for fewer than two points."""
    known = [(x, y) for x, y in points if math.isfinite(y)]
    if len(known) < 2:
        return ""
    step = max(1, len(known) // WIDTH)
    thinned = known[::-step][::-1]  # the last point is always kept
    across, heights = zip(*thinned, strict=True)
    low, high = min(heights), max(heights)
    span = high - low if high > low else 1.0  # not multiplied by its reciprocal, which may overflow
    width = (WIDTH - 4) / (across[-1] - across[0])
    places = [((x - across[0]) * width + 2, HEIGHT - 2 - (y - low) / span * (HEIGHT - 4)) for x, y in thinned]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    label = f"{name}: from {numbers.percent(known[0][1])} to {numbers.percent(known[-1][1])}"
    return _svg(WIDTH, HEIGHT, label, f'<polyline points="{line}"/>')


def histogram(values: Sequence[float], name: str) -> str:
    """Draw a histogram of milliseconds, with the lowest and highest below it; empty for fewer than two values."""
    known = finite(values)
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    bins = min(MOST_BINS, max(4, round(len(known) ** 0.5) * 2))
    counts = [0] * bins
    for value in known:
        counts[min(bins - 1, int((value - low) / (high - low) * bins)) if high > low else 0] += 1
    wide, tall = 240, 64
    edges = [round(index * wide / bins) for index in range(bins + 1)]
    bars = "".join(
        f"M{left} {tall}V{round(tall - tall * n / max(counts))}H{right - 1}V{tall}"
        for left, right, n in zip(edges, edges[1:], counts, strict=False)
        if n
    )
    ends = (
        f'<text x="0" y="{tall + 13}">{numbers.step(low)}</text>'
        f'<text x="{wide}" y="{tall + 13}" text-anchor="end">{numbers.step(high)}</text>'
        f'<line x1="0" x2="{wide}" y1="{tall}" y2="{tall}"/>'
    )
    label = f"{name}: {len(known)} samples from {numbers.step(low)} to {numbers.step(high)}"
    return _svg(wide, tall + 16, label, f'<path d="{bars}"/>{ends}', "histogram")


def accuracy_by_confidence(bins: Sequence[tuple[float, float, int]], name: str) -> str:
    """Draw a reliability diagram, of (mean probability, share that is right, images) of each bin that has images.

    A point lies on the diagonal where the probabilities can be believed, below it where the model is too sure; its area
    grows with the bin's images.
    """
    side, most = 160, max(images for *_, images in bins)
    places = [(4 + x * side, 4 + side - y * side, 1.5 + 5 * math.sqrt(images / most)) for x, y, images in bins]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y, _ in places)
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r:.1f}"/>' for x, y, r in places)
    inside = (
        f'<rect x="4" y="4" width="{side}" height="{side}"/><line x1="4" y1="{side + 4}" x2="{side + 4}" y2="4"/>'
        f'<polyline points="{line}"/>{dots}<text x="4" y="{side + 18}">0</text>'
        f'<text x="{side / 2 + 4}" y="{side + 18}" text-anchor="middle">probability</text>'
        f'<text x="{side + 4}" y="{side + 18}" text-anchor="end">1</text>'
    )
    return _svg(side + 8, side + 22, name, inside, "reliability")


def _svg(width: int, height: int, label: str, inside: str, kind: str = "spark") -> str:
    """An svg element.  `label` and `inside` are not escaped: they must not hold text from users."""
    return (
        f'<svg class="{kind}" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        f'aria-label="{label}">{inside}</svg>'
    )
