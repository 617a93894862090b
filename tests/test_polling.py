"""Polling with a deadline: at once, then after each pause, and once more when the time is up."""

import time

from mixbench.system.polling import polls


def test_without_time_there_is_one_look() -> None:
    assert len(list(polls(60, 0))) == 1


def test_the_last_look_comes_when_the_time_is_up() -> None:
    begun = time.monotonic()
    looks = [time.monotonic() - begun for _ in polls(0.02, 0.1)]
    assert looks[0] < 0.02 and len(looks) >= 2 and looks[-1] >= 0.1
