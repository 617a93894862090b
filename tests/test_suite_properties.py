"""Of any suite: a good one plans what it says, a bad one is explained, and nothing else ever happens."""

import copy
import random
import re
from math import prod
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from mixbench.errors import RequestError
from mixbench.suite.load import load
from mixbench.suite.trial import Trial
from tests.suite_strategies import SCHEMA, leaves, suites, wrong

PHASES = (Phase.explicit, Phase.generate, Phase.shrink)  # no explaining, which takes minutes
settings.register_profile("mixbench", derandomize=True, deadline=None, database=None, phases=PHASES)
settings.load_profile("mixbench")
LEAVES = leaves(SCHEMA)
PLACE = re.compile(r"^(\d+ problems\n)?(\S*s\.yaml:\d+|--set )", re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("suites")


def plan_of(folder: Path, text: str | bytes, *assignments: str) -> list[Trial]:
    file = folder / "s.yaml"
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return load(str(file), assignments)[1]


def written(data: Any) -> str:
    return yaml.safe_dump(data, sort_keys=False)


def shuffled(data: Any, order: random.Random) -> Any:
    """The same mapping, its keys in another order at every level."""
    if isinstance(data, list):
        return [shuffled(item, order) for item in data]
    if not isinstance(data, dict):
        return data
    keys = order.sample(list(data), len(data))
    return {key: shuffled(data[key], order) for key in keys}


def length(suite: dict[str, Any], key: str) -> int:
    return len(suite.get(key, [None]))


@given(suites())
@settings(max_examples=120)
def test_a_good_suite_plans_each_point_of_it_once(folder: Path, suite: dict[str, Any]) -> None:
    trials = plan_of(folder, written(suite))
    axes = ("models", "datasets", "seeds", "recipe", "resources", "precision", "memory_format", "compile")
    expected = prod(length(suite, axis) for axis in axes) * length(suite.get("throughput", {}), "batch_sizes")
    assert len(trials) == expected
    assert len({trial.id.casefold() for trial in trials}) == expected, "also where file systems ignore case"
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,255}", trial.id) for trial in trials)


@given(suites(), st.randoms(use_true_random=False))
@settings(max_examples=60)
def test_neither_the_order_of_keys_nor_a_comment_changes_a_plan(
    folder: Path, suite: dict[str, Any], order: random.Random
) -> None:
    plain = plan_of(folder, written(suite))
    commented = "# why\n\n" + re.sub(r"(?m)^(?=\w+:)", "# about this key\n", written(shuffled(suite, order)))
    assert plan_of(folder, commented) == plain


@given(suites())
@settings(max_examples=60)
def test_the_suite_that_is_kept_gives_the_same_plan(folder: Path, suite: dict[str, Any]) -> None:
    file = folder / "s.yaml"
    file.write_text(written(suite), encoding="utf-8")
    for assignments in ((), ("description=a b",)):
        loaded, trials = load(str(file), assignments)
        (folder / "kept").mkdir(exist_ok=True)
        assert plan_of(folder / "kept", loaded.text) == trials


@st.composite
def broken(draw: st.DrawFn) -> tuple[str, str]:
    """A good suite's text, but that one key holds what it cannot, is missing, unknown or there twice; and that key."""
    suite = copy.deepcopy(draw(suites()))
    kind = draw(st.sampled_from(["wrong"] * 6 + ["missing", "unknown", "twice", "anchor", "tag"]))
    if kind in ("wrong", "unknown"):
        path = draw(st.sampled_from(sorted(LEAVES)))
        here: Any = suite
        for part in path[:-1]:
            start = {"models": [{"name": "convmixer_256_8"}], "datasets": ["digits"], "recipe": [{}]}.get(part, {})
            here = here.setdefault(part, start)
            if isinstance(here, list):
                here[0] = {"name": here[0]} if isinstance(here[0], str) else here[0]
                here = here[0]
        if kind == "wrong":
            here[path[-1]] = draw(wrong(LEAVES[path]))
            return written(suite), path[-1]
        here[path[-1] + "zz"] = 1
        return written(suite), path[-1] + "zz"
    if kind == "missing":
        gone = draw(st.sampled_from(["name", "models", "datasets"]))
        del suite[gone]
        return written(suite), gone
    text = written(suite)
    return text + {"twice": "name: s\n", "anchor": "description: &a b\n", "tag": "description: !a b\n"}[kind], ""


@given(broken())
@settings(max_examples=300)
def test_a_bad_suite_is_explained_at_a_line_by_its_key(folder: Path, bad: tuple[str, str]) -> None:
    text, key = bad
    with pytest.raises(RequestError) as refused:
        plan_of(folder, text)
    assert PLACE.search(str(refused.value))
    assert key.removesuffix("s") in str(refused.value) or key == "name"


WORDS = ["name", "models", "datasets", "recipe", "s", "digits", "convmixer_256_8", "0", "1e3", "~", "on", "010", "1:2"]
MARKS = [
    ":",
    ": ",
    "- ",
    "\n",
    "\n  ",
    ", ",
    "{",
    "}",
    "[",
    "]",
    "&a ",
    "*a",
    "!!x ",
    "? ",
    "| ",
    "> ",
    "<<",
    "'",
    '"',
    "#",
]


@given(st.lists(st.sampled_from(WORDS + MARKS), max_size=40).map("".join) | st.text() | st.binary())
@settings(max_examples=300)
def test_any_text_is_a_suite_or_is_refused(folder: Path, text: str | bytes) -> None:
    bytes_ = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    try:
        plan_of(folder, bytes_)
    except RequestError as error:
        assert str(error)


DATA = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS) | st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(suites(), st.sampled_from(sorted({path[0] for path in LEAVES})), DATA)
@settings(max_examples=200)
def test_any_data_under_a_key_are_taken_or_refused_at_a_line(
    folder: Path, suite: dict[str, Any], key: str, data: Any
) -> None:
    try:
        plan_of(folder, written(suite | {key: data}))
    except RequestError as error:
        assert PLACE.search(str(error))


@given(
    suites(),
    st.lists(
        st.sampled_from([*{path[-1] for path in LEAVES}, "0", "1", "-1", "", "__class__"]), min_size=1, max_size=4
    ),
    DATA,
)
@settings(max_examples=200)
def test_any_set_is_taken_or_refused(folder: Path, suite: dict[str, Any], path: list[str], data: Any) -> None:
    try:
        plan_of(folder, written(suite), f"{'.'.join(path)}={yaml.safe_dump(data, default_flow_style=True)}")
    except RequestError as error:
        assert str(error)
