"""The reference and the editors' schema are what the classes say, and say the same as `mixbench validate`."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from pydantic import BaseModel

from mixbench.cli import reference
from mixbench.results.summary import SUMMARY_COLUMNS
from mixbench.run.record import COLUMNS
from mixbench.suite.schema import Suite
from mixbench.system.content import content
from tests.bad_values import ENTRIES, RECIPE, SUITE
from tests.refusals import suite_with

VALIDATOR = Draft202012Validator(json.loads((content("suites") / "schema.json").read_text(encoding="utf-8")))
PLAINLY_WRONG = ("is wanted", "unknown key", "is not one of", "it must be", "is missing", "choose from", "did you mean")
KNOWS_MORE = re.compile(
    r"finite|name is wanted|path (of a suite file )?is wanted|0 to|is at most 1|no (argument|dataset|model)|digits"
    r"|sixties|octal|mean (conv|split)mixer"
)
"""What is said of what a schema cannot know: infinities, what is registered, what values have to do with each other."""
OF_A_MODEL = re.compile(r"models: \{name: \w+, (patch_size: 2, )?(?!label|weights|recipe|patch_size: 2,)")
"""Lines that override a model's arguments: which there are is known by its code."""
WHOLE = re.compile(r"\b\d+\.0\b.*a whole number")
"""JSON schema takes 8.0 for a whole number."""


def test_the_files_in_the_tree_are_those_that_would_be_written() -> None:
    assert "README.md" in reference.files()
    for name, text in reference.files().items():
        there = (content("models").parent / name).read_text(encoding="utf-8")
        assert there == text, "run: python -m mixbench.cli.reference"


def test_a_stale_file_is_said_and_written_anew(tmp_path: Path) -> None:
    for folder in ("models", "suites", "reports"):
        shutil.copytree(content(folder), tmp_path / folder)
    schema = tmp_path / "suites" / "schema.json"
    schema.write_text("{}")
    command = [sys.executable, "-m", "mixbench.cli.reference"]
    environment = {"MIXBENCH_CONTENT": str(tmp_path), "PATH": ""}

    def run(*more: str) -> tuple[int, str]:
        done = subprocess.run([*command, *more], capture_output=True, text=True, env=environment)
        return done.returncode, done.stdout + done.stderr

    assert run("--check") == (1, "suites/schema.json is stale: python -m mixbench.cli.reference\n")
    assert run() == (0, "wrote suites/schema.json\n")
    assert run("--check") == (0, "")
    assert schema.read_bytes() == (content("suites") / "schema.json").read_bytes()


def test_every_key_and_column_stands_in_the_reference_with_its_meaning() -> None:
    keys, columns = reference.keys(), reference.columns()
    for part in reference.parts().values():
        table = keys.split(f"\n## {part.__name__}\n")[1].split("\n## ")[0]
        for key, meaning in reference.meanings(part).items():
            [row] = [line for line in table.splitlines() if line.startswith(f"| `{key}` |")]
            assert row.endswith(f" | {meaning.replace('<', chr(92) + '<')} |") and len(meaning) > 5
    for name, expected in (("results.csv", COLUMNS), ("summary.csv", SUMMARY_COLUMNS)):
        table = columns.split(f"\n## {name}\n")[1].split("\n## ")[0]
        assert [line.split("`")[1] for line in table.splitlines() if line.startswith("| `")] == expected


class Wordless(BaseModel):
    said: int = 0  # what it means
    # what that one means, in a line above
    above: tuple[int, ...] = (
        1,
        2,
    )
    silent: int = 0


def test_a_key_without_a_comment_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"Wordless: no comment says what is meant by silent$"):
        reference.meanings(Wordless)


@pytest.mark.parametrize("path", sorted(content("suites").glob("*.yaml")), ids=lambda path: path.stem)
def test_the_schema_accepts_the_bundled_suites(path: Path) -> None:
    VALIDATOR.validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "suite",
    [
        {"name": "s", "models": "convmixer_256_8", "datasets": {"name": "digits", "image_size": None}},
        {"name": "s", "base": "other.yaml", "seeds": 3, "recipe": {"epochs": 1}},
        {"name": "s", "models": [{"name": "mixer_s4", "depth": 3, "weights": None}], "datasets": ["digits"]},
    ],
)
def test_the_schema_accepts_one_value_for_a_list_and_a_name_for_a_mapping(suite: dict[str, Any]) -> None:
    VALIDATOR.validate(suite)


CASES = [
    line
    for line, _, said in SUITE + ENTRIES + RECIPE
    if any(words in said for words in PLAINLY_WRONG)
    and not (KNOWS_MORE.search(said) or OF_A_MODEL.match(line) or WHOLE.search(f"{line} {said}"))
]


def test_the_schema_refuses_what_validate_refuses_for_its_type_its_range_or_its_key() -> None:
    taken = []
    for line in CASES:
        try:
            found = yaml.safe_load(suite_with(line))
        except yaml.YAMLError:
            continue
        if VALIDATOR.is_valid(found):
            taken.append(line)
    assert len(CASES) > 120 and taken == []


def test_the_schemas_own_words_are_json_schemas() -> None:
    Draft202012Validator.check_schema(VALIDATOR.schema)
    text = json.dumps(VALIDATOR.schema)
    assert not [word for word in ('"ge":', '"gt":', '"le":', '"lt":') if word in text]
    assert set(VALIDATOR.schema["properties"]) == set(Suite.model_fields)
