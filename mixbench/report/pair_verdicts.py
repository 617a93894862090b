"""The verdict on every pair of rows, packed for the page's script: 340 rows have 57,630 pairs."""

import base64
import math
from collections.abc import Sequence
from itertools import combinations
from typing import Any, get_args

import numpy as np

from mixbench.results.comparisons import Comparisons
from mixbench.results.simultaneous import Outcome
from mixbench.results.summary import Group

OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)


def pair_verdicts(groups: Sequence[Group], compared: Comparisons) -> dict[str, Any]:
    """Return the verdicts of rows on the same images, each pair once, in the order (0, 1), (0, 2), … (1, 2), ….

    `keys`: of the rows.  `outcomes`: names, by number.  `outcome`: a byte for each pair, of first - second;
    `half_width`: a little-endian 32-bit float in points, NaN where there is none; both in base64.
    """
    ranked = [group for group in groups if group.row.quality is not None]
    found = [compared.of(*pair).verdict for pair in combinations(ranked, 2)]
    widths = [math.nan if each.half_width is None else each.half_width for each in found]
    numbers = [OUTCOMES.index(each.outcome) for each in found]
    return {
        "keys": [group.key for group in ranked],
        "outcomes": OUTCOMES,
        "outcome": base64.b64encode(bytes(numbers)).decode(),
        "half_width": base64.b64encode(np.array(widths, "<f4").tobytes()).decode(),
    }
