"""Counts and sizes in words: nouns in the plural, decimal and binary units."""

import pytest

from mixbench.run.timings import Conditions, GpuConditions, ThroughputSamples
from mixbench.suite.axes import AXES
from mixbench.system.words import binary_size, decimal_size, plural
from tests.fake_runs import trial


@pytest.mark.parametrize(
    ("count", "noun", "text"),
    [
        (0, "trial", "0 trials"),
        (1, "trial", "1 trial"),
        (1200, "trial", "1,200 trials"),
        (2, "process", "2 processes"),
        (3, "published accuracy", "3 published accuracies"),
    ],
)
def test_a_count_agrees_with_its_noun(count: int, noun: str, text: str) -> None:
    assert plural(count, noun) == text


def test_one_of_anything_is_no_plural_in_flags_and_names() -> None:
    conditions = Conditions(seconds=1.0, cores=1, others=0.9, gpu=GpuConditions(foreign_processes=1))
    timed = ThroughputSamples(
        infer_step_ms=[1.0], train_step_ms=[], warmup=1, interleaved_with=0, settled=False, conditions=conditions
    )
    assert [flag.detail for flag in timed.flags] == [
        "1 round of warm-up", "others kept 0.9 of 1 core busy", "1 other process on the GPU"
    ]  # fmt: skip
    [processes] = [axis for axis in AXES if axis.name == "world_size"]
    assert processes.text(trial()) == "1 × 1 process"


@pytest.mark.parametrize(
    ("size", "decimal", "binary"),
    [
        (0, "0.0 MB", "0 B"),
        (1_500_000, "1.5 MB", "1.43 MiB"),
        (999_000_000, "999.0 MB", "953 MiB"),
        (1_000_000_000, "1.0 GB", "954 MiB"),
        (2**30, "1.1 GB", "1.00 GiB"),
        (150_000_000_000, "150.0 GB", "140 GiB"),
    ],
)
def test_bytes_are_said_in_the_unit_that_they_are_counted_in(size: int, decimal: str, binary: str) -> None:
    assert (decimal_size(size), binary_size(size)) == (decimal, binary)
