"""Waiting for what another process or another machine does."""

import math
import time
from collections.abc import Iterator


def polls(every: float, seconds: float = math.inf) -> Iterator[None]:
    """One iteration at once, then one after each pause of `every` seconds, the last when `seconds` are over.

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
