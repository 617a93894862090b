"""Every key of a suite refuses what it cannot hold: at its line, by its name, with what would be right."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel

from mixbench.suite.schema import Suite, models_in
from tests.bad_values import ENTRIES, RECIPE, SUITE
from tests.refusals import Refuse, refuse, suite_with

__all__ = ["refuse"]
CASES = SUITE + ENTRIES + RECIPE
PROSE = {"models.name": "model", "datasets.name": "dataset"}
"""Keys that a message need not name: it calls the thing what it is."""


def keys_of(model: type[BaseModel], path: str = "") -> Iterator[str]:
    """The dotted name of each key of a schema, those of a model's and dataset's recipe but once."""
    for name, field in model.model_fields.items():
        yield path + name
        for inner in models_in(field.annotation):
            if path + name not in ("models.recipe", "datasets.recipe"):
                yield from keys_of(inner, f"{path}{name}.")


def named(key: str) -> str:
    return re.sub(r"\.\d+", "", key)


@pytest.mark.parametrize(("line", "key", "said"), CASES, ids=[case[0][:70] for case in CASES])
def test_a_value_that_cannot_be_is_refused_at_its_line(
    refuse: Refuse, tmp_path: Path, line: str, key: str, said: str
) -> None:
    text = suite_with(line)
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    message = refuse("s.yaml")
    assert message.startswith(f"mixbench: s.yaml:{text.count(chr(10))}: "), message
    assert key in message or PROSE.get(key, key) in message, message
    assert said in message
    assert message.count("\n") == 1, "one thing is wrong, and one is said"


def test_every_key_of_the_schema_has_a_value_that_it_refuses() -> None:
    tried = {named(key) for _, key, _ in CASES}
    assert sorted(set(keys_of(Suite)) - tried) == [], "give each new key its cases in tests/bad_values.py"


@pytest.mark.parametrize("value", ["{surprise: 1}", "[[[]]]", '"\\x01"'])
@pytest.mark.parametrize("key", list(keys_of(Suite)))
def test_no_key_takes_just_anything(refuse: Refuse, tmp_path: Path, key: str, value: str) -> None:
    first, *inner = key.split(".")
    line = value
    for part in reversed(inner):
        other = {"models": "name: convmixer_256_8, ", "datasets": "name: digits, "}.get(first, "")
        line = f"{{{other if part == inner[0] and part != 'name' else ''}{part}: {line}}}"
    text = suite_with(f"{first}: {line}")
    (tmp_path / "s.yaml").write_text(text, encoding="utf-8")
    message = refuse("s.yaml")
    assert f"s.yaml:{text.count(chr(10))}: " in message
    assert inner[-1] in message if inner else first in message


def test_there_are_more_than_two_hundred_cases_and_no_two_alike() -> None:
    lines = [case[0] for case in CASES]
    assert len(set(lines)) == len(lines) > 200


def test_a_key_that_the_schema_gets_later_is_missed_by_these_tests() -> None:
    class Later(Suite):
        later: str = ""

    assert set(keys_of(Later)) - set(keys_of(Suite)) == {"later"}
