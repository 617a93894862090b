"""Stands in for the benchmarks: they go wrong in all the ways there are, but for one.  Light: each has a process."""

import os
import sys
from types import SimpleNamespace

from tests.benchmarks.table import Line


def environment() -> SimpleNamespace:
    return SimpleNamespace(
        cuda_version="", device="a CPU", torch_version="2.15.0", deepspeed_version="0.19.8", git_commit="1f0c2d3e4b5a"
    )


def lines_of(name: str, arguments: tuple[int, ...]) -> list[Line]:
    if name == "dies":
        os._exit(9)
    if name == "leaves":
        sys.exit("nothing to compare")
    if name == "raises":
        raise ValueError("a | b\nmore of it")
    return [Line("all is well", [1.0, 3.0], "{} s", below=4)]
