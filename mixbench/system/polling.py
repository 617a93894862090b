"""Waiting for what another process or another machine does."""

import math
import time
from collections.abc import Iterator


def polls(every: float, seconds: float = math.inf, slowest: float = 0.0) -> Iterator[None]:
    """One iteration at once, then one after each pause of `every` seconds, the last when `seconds` are over.

    Given `slowest`, each pause is twice as long as the one before, up to so many seconds.

    for _ in polls(1.0, 60.0):
        if path.exists():
            break
    """
    deadline = time.monotonic() + seconds
    while True:
        yield
        if time.monotonic() >= deadline:
            return
        time.sleep(every)
        every = max(every, min(2 * every, slowest))
