"""YAML as data: what is read, where each value stands, what is refused."""

from pathlib import Path

import pytest

from mixbench.errors import RequestError
from mixbench.suite.document import parse, parse_value, read


def test_every_value_knows_its_line() -> None:
    document = parse("name: x\nmodels:\n  - a\n  - name: b\n    ratio: 3/5\n", "s.yaml")
    assert document.data == {"name": "x", "models": ["a", {"name": "b", "ratio": "3/5"}]}
    assert document.place(("name",)) == "s.yaml:1"
    assert document.place(("models", 1, "ratio")) == "s.yaml:5"


def test_a_path_that_is_not_there_stands_at_the_nearest_thing_around_it() -> None:
    document = parse("name: x\nmodels:\n  - {name: b}\n", "s.yaml")
    assert document.place(("models", 0, "recipe", "lr")) == "s.yaml:3"
    assert document.place(("datasets",)) == "s.yaml:1"


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("3/5", "3/5"), ("0.5", 0.5), ("[0, 1]", [0, 1]), ("{lr: 0.1}", {"lr": 0.1}), ("true", True),
     ("", None), ("2026-11-21", "2026-11-21"), ("'3'", "3")],
)  # fmt: skip
def test_a_value_on_the_command_line_reads_as_in_a_file(text: str, value: object) -> None:
    assert parse_value(text, "--set x") == value


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("a: 1\na: 2\n", "s.yaml:2", "'a' is given twice (first at s.yaml:1)"),
        ("a: {b: 1,\n b: 2}\n", "s.yaml:2", "'b' is given twice"),
        ("a: !!python/name:os.system x\n", "s.yaml:1", "tags"),
        ("a: 1\nb: !mine {c: 1}\n", "s.yaml:2", "tags"),
        ("a: &x 1\nb: *x\n", "s.yaml:1", "anchors"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "s.yaml:1", "anchors"),
        ("[1]: 2\n", "s.yaml:1", "a key is a plain word"),
        ("- a\n- b\n", "s.yaml:1", "a mapping (key: value) is wanted"),
        ("just words", "s.yaml:1", "a mapping (key: value) is wanted"),
        ("", "s.yaml", "is empty"),
        ("# nothing but this\n", "s.yaml", "is empty"),
        ("a: 1\nb: [1, 2\n", "s.yaml:3", "not YAML"),
        ("a: 1\n\tb: 2\n", "s.yaml:2", "not YAML"),
        ("a: 1\n---\nb: 2\n", "s.yaml:2", "not YAML"),
        ("a: 1\nb: \0\n", "s.yaml:2", "0x00"),
        ("a: " + "[" * 5000, "s.yaml", "nested too deeply"),
    ],
)
def test_what_is_no_plain_mapping_is_refused_with_its_place(text: str, place: str, said: str) -> None:
    with pytest.raises(RequestError) as refused:
        parse(text, "s.yaml")
    assert str(refused.value).startswith(place)
    assert said in str(refused.value)


def test_files_that_are_no_text_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "b.yaml"
    binary.write_bytes(b"\x89PNG\r\n\x1a\n\xff")
    for path, said in ((binary, "not a text file"), (tmp_path, "is a folder"), (tmp_path / "no", "no such file")):
        with pytest.raises(RequestError, match=said):
            read(path)


def test_two_values_on_the_command_line_are_not_one() -> None:
    for text in ("1\nother: 2", "a: b", "[1"):
        with pytest.raises(RequestError, match="--set x"):
            parse_value(text, "--set x")
