"""What is no suite, no base, no plugin, no option: refused with its place, at once, nothing run and nothing written."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mixbench.suite.load import load
from mixbench.zoo import registry
from tests.refusals import Refuse, refuse, snapshot, suite_with

__all__ = ["refuse"]
GOOD = suite_with("seeds: [0, 1]")
ROOT = Path(__file__).resolve().parent.parent
PLUGIN = """
from torch import nn
from mixbench.zoo.registry import register_model

@register_model(variants={"plugged": {}})
class Plugged(nn.Module):
    def __init__(self, image_size: int = 8, in_chans: int = 3, num_classes: int = 10):
        super().__init__()
"""


def write(folder: Path, text: str | bytes, name: str = "s.yaml") -> None:
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)


# -- the file


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("", "s.yaml", "is empty; a mapping with name, models and datasets is wanted"),
        ("\n\n", "s.yaml", "is empty"),
        ("# a comment\n", "s.yaml", "is empty"),
        ("---\n...\n", "s.yaml:2", "a mapping (key: value) is wanted here"),
        ("null\n", "s.yaml:1", "a mapping (key: value) is wanted here"),
        ("words\n", "s.yaml:1", "a mapping (key: value) is wanted here"),
        ("- a\n- b\n", "s.yaml:1", "a mapping (key: value) is wanted here"),
        ("{}\n", "s.yaml:1", "key 'name' is missing"),
        (GOOD + "---\n" + GOOD, "s.yaml:5", "not YAML"),
        ("%YAML 9.0\n---\n" + GOOD, "s.yaml:1", "not YAML: found incompatible YAML document"),
        (GOOD + "\trecipe: 1\n", "s.yaml:5", "not YAML"),
        (GOOD + "recipe: {epochs: 1\n", "s.yaml:6", "not YAML"),
        (GOOD + "recipe: 'one\n", "s.yaml:6", "not YAML"),
        (GOOD + "recipe: {epochs: 1}}\n", "s.yaml:5", "not YAML"),
        (GOOD + "recipe: @x\n", "s.yaml:5", "not YAML"),
        (GOOD + " indented: 1\n", "s.yaml:5", "not YAML"),
        # twice
        (GOOD + "name: t\n", "s.yaml:5", "key 'name' is given twice (first at s.yaml:1)"),
        (GOOD + "recipe: {epochs: 1, epochs: 2}\n", "s.yaml:5", "key 'epochs' is given twice (first at s.yaml:5)"),
        (GOOD + "recipe:\n  optimizer:\n    lr: 1\n    'lr': 2\n", "s.yaml:8", "key 'lr' is given twice"),
        ("models: [{name: a, label: x, label: y}]\n", "s.yaml:1", "key 'label' is given twice"),
        # tags, anchors, merges, keys
        (GOOD + "recipe: !!python/object/apply:os.system ['touch run']\n", "s.yaml:5", "tags (tag:yaml.org,2002:pyth"),
        (GOOD + "recipe: !!python/name:os.system\n", "s.yaml:5", "tags (tag:yaml.org,2002:python/name:os.system)"),
        (GOOD + "description: !!str x\n", "s.yaml:5", "tags (tag:yaml.org,2002:str) are not allowed"),
        (GOOD + "keep_weights: !!bool y\n", "s.yaml:5", "tags (tag:yaml.org,2002:bool) are not allowed"),
        (GOOD + "description: !!binary aGk=\n", "s.yaml:5", "tags (tag:yaml.org,2002:binary) are not allowed"),
        (GOOD + "seeds2: !!set {a, b}\n", "s.yaml:5", "tags (tag:yaml.org,2002:set) are not allowed"),
        (GOOD + "recipe: !mine {}\n", "s.yaml:5", "tags (!mine) are not allowed"),
        (GOOD + "!!str description: x\n", "s.yaml:5", "tags (tag:yaml.org,2002:str) are not allowed"),
        (GOOD + "description: ! x\n", "s.yaml:5", "tags (!) are not allowed"),
        (GOOD + "recipe: !none!x 1\n", "s.yaml:5", "not YAML: found undefined tag handle"),
        (GOOD + "recipe: &a {epochs: 1}\n", "s.yaml:5", "anchors and aliases (& and *) are not allowed"),
        (GOOD + "recipe: *a\n", "s.yaml:5", "anchors and aliases (& and *) are not allowed"),
        (GOOD + "recipe: &a [*a]\n", "s.yaml:5", "anchors and aliases (& and *) are not allowed"),
        (GOOD + "recipe: {<<: {epochs: 1}}\n", "s.yaml:5", "merge keys (<<) are not allowed"),
        (GOOD + "? [a, b]\n: 1\n", "s.yaml:5", "a key is a plain word here, not a list or a mapping"),
        (GOOD + "? {a: b}\n: 1\n", "s.yaml:5", "a key is a plain word here"),
        # bombs
        ("a: &a [x,x]\n" + "".join(f"{c}: &{c} [*{b},*{b}]\n" for b, c in zip("abcdefgh", "bcdefghi", strict=True)),
         "s.yaml:1", "anchors and aliases"),
        ("a: " + "[" * 10_000_000, "s.yaml", "has more than 262,144 characters: that is no suite"),
        ("a: " + "[" * 200_000, "s.yaml:1", "nested too deeply: more than 30 levels"),
        ("a: " + "{a: " * 50_000, "s.yaml:1", "nested too deeply"),
        ("".join(" " * n + "a:\n" for n in range(500)), "s.yaml:30", "nested too deeply"),
        ("- " * 100_000, "s.yaml:1", "nested too deeply"),
        (GOOD + "# " + "x" * 10_000_000, "s.yaml", "has more than 262,144 characters"),
        (GOOD + "seeds2: " + "9" * 10_000_000, "s.yaml", "has more than 262,144 characters"),
        (GOOD + "seeds2: " + "9" * 200_000, "s.yaml:5", "a whole number has at most 18 digits"),
        (GOOD + "seeds2: " + "1:" * 100_000 + "1", "s.yaml:5", "a whole number has at most 18 digits"),
        (GOOD + "seeds2: " + "1_" * 100_000 + "1", "s.yaml:5", "a whole number has at most 18 digits"),
        # bytes
        (GOOD.encode() + b"description: a\0b\n", "s.yaml:5", "not a text: it holds the character 0x00"),
        (b"\0" * 1000, "s.yaml:1", "not a text: it holds the character 0x00"),
        (GOOD.encode() + b"description: \x1b[31m\n", "s.yaml:5", "not a text: it holds the character 0x1b"),
        (GOOD.encode("utf-16"), "s.yaml", "is not a text file in UTF-8: byte 0 is 0xff; save it as UTF-8"),
        (GOOD.encode("utf-16-be"), "s.yaml:1", "not a text: it holds the character 0x00"),
        (GOOD.encode() + "description: caf\xe9\n".encode("latin-1"), "s.yaml", "is not a text file in UTF-8: byte"),
        (b"\x89PNG\r\n\x1a\n", "s.yaml", "is not a text file in UTF-8: byte 0 is 0x89"),
        (b"\x80\x04\x95cposix\nsystem\n", "s.yaml", "is not a text file in UTF-8"),
    ],
    ids=lambda value: repr(value[-40:]) if isinstance(value, bytes) else value[-40:].strip(),
)  # fmt: skip
def test_a_file_that_is_no_suite_is_refused_at_its_line(
    refuse: Refuse, tmp_path: Path, text: str | bytes, place: str, said: str
) -> None:
    write(tmp_path, text)
    before = time.monotonic()
    message = refuse("s.yaml")
    assert time.monotonic() - before < 10
    assert re.match(f"mixbench: (2 problems\n|3 problems\n)?{re.escape(place)}[: ]", message), message
    assert said in message


def test_what_is_not_a_file_is_refused_and_never_waited_for(refuse: Refuse, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    (tmp_path / "dangling.yaml").symlink_to("nowhere.yaml")
    for name, said in {
        "pipe.yaml": "pipe.yaml is a pipe or a device; a YAML file is wanted",
        "folder": "folder is a folder; a YAML file is wanted",
        "/dev/zero": "/dev/zero is a pipe or a device; a YAML file is wanted",
        "dangling.yaml": "no suite at dangling.yaml",
        "loop.yaml": "loop.yaml",
        "quik": "no suite at quik (did you mean quick or zoo_quick?)",
        "": "is a folder",
        "s.yaml/x": "no suite at s.yaml/x",
        "x" * 300: "File name too long",
    }.items():
        assert said in refuse(name)


def test_a_file_that_may_not_be_read_is_refused(
    refuse: Refuse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, GOOD)

    def denied(path: Path, **_: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("mixbench.suite.document.open", denied, raising=False)
    assert refuse("s.yaml") == "mixbench: cannot read s.yaml: Permission denied\n"


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("\n", "\r\n"),
        "\ufeff" + GOOD,
        "%YAML 1.1\n---\n" + GOOD + "...\n",
        "{name: s, models: [convmixer_256_8], datasets: [digits], seeds: [0, 0x1]}",
        GOOD + "description: |\n  two\n  lines\n",
        GOOD + "compile: [no, yes]\n",
        GOOD.replace("models: convmixer_256_8", 'models: {name: convmixer_256_8, label: "👩‍💻 Ünïcode"}'),
    ],
    ids=["CRLF", "BOM", "directive", "flow", "block", "yes and no", "emoji"],
)
def test_a_suite_may_look_so(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    suite, trials = load(str(tmp_path / "s.yaml"))
    assert {trial.seed for trial in trials} == {0, 1}
    write(tmp_path, suite.text, "again.yaml")
    assert load(str(tmp_path / "again.yaml"))[1] == trials


# -- bases


@pytest.mark.parametrize(
    ("base", "said"),
    [
        ("none.yaml", "s.yaml:5: base: no such file: none.yaml"),
        ("none/none.yaml", "s.yaml:5: base: no such file: none/none.yaml"),
        ("~/none.yaml", "s.yaml:5: base: no such file: /"),
        ("~nobody-here/none.yaml", "s.yaml:5: base: no such file: ~nobody-here/none.yaml"),
        (".", "s.yaml:5: base: . is a folder; a YAML file is wanted"),
        ("/dev/zero", "s.yaml:5: base: /dev/zero is a pipe or a device"),
        ("pipe.yaml", "s.yaml:5: base: pipe.yaml is a pipe or a device"),
        ("s.yaml", "s.yaml:5: a base may not have a base itself"),
        ("../{folder}/s.yaml", "s.yaml:5: a base may not have a base itself"),
        ("loop.yaml", "s.yaml:5: base: cannot read loop.yaml: Too many levels of symbolic links"),
        ("circle.yaml", "circle.yaml:2: a base may not have a base itself"),
        ("empty.yaml", "s.yaml:5: base: empty.yaml is empty"),
        ("broken.yaml", "s.yaml:5: base: broken.yaml:1: not YAML"),
        ("bomb.yaml", "s.yaml:5: base: bomb.yaml:1: anchors and aliases"),
        ("wrong.yaml", "wrong.yaml:1: recipe: unknown key 'epoch' (did you mean epochs?)"),
        ("x" * 300, "s.yaml:5: base: cannot read xxx"),
    ],
)
def test_a_bad_base_is_refused_where_it_is_named(refuse: Refuse, tmp_path: Path, base: str, said: str) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "loop.yaml").symlink_to("loop.yaml")
    write(tmp_path, "name: c\nbase: s.yaml\n", "circle.yaml")
    write(tmp_path, "", "empty.yaml")
    write(tmp_path, "a: [", "broken.yaml")
    write(tmp_path, "a: &a 1", "bomb.yaml")
    write(tmp_path, "recipe: {epoch: 1}", "wrong.yaml")
    write(tmp_path, GOOD + f"base: '{base.format(folder=tmp_path.name)}'\n")
    assert said in refuse("s.yaml")


def test_paths_start_at_the_suite_at_home_or_at_the_root_and_follow_links(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, sub = tmp_path / "a home", tmp_path / "a 'sub'\n😀"
    home.mkdir()
    sub.mkdir()
    monkeypatch.setenv("HOME", str(home))
    write(home, GOOD, "base.yaml")
    write(home, PLUGIN.replace("plugged", "at_home"), "plugin.py")
    (sub / "link.yaml").symlink_to(home / "base.yaml")
    for base in ("~/base.yaml", "../a home/base.yaml", str(home / "base.yaml"), "link.yaml"):
        write(sub, f"name: over\nbase: {base}\nplugins: ~/plugin.py\n")
        suite, trials = load(str(sub / "s.yaml"))
        assert (len(trials), suite.plugins) == (2, (str(home / "plugin.py"),))


# -- plugins


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (None, "no plugin file at"),
        ("def (", "raises SyntaxError: invalid syntax"),
        ("1 / 0", "raises ZeroDivisionError: division by zero (line 1)"),
        ("x = 1\n\nraise RuntimeError('a\\nb')", "raises RuntimeError: a (line 3)"),
        ("raise KeyError", "raises KeyError (line 1)"),
        ("import nothing_like_it", "raises ModuleNotFoundError: No module named 'nothing_like_it' (line 1)"),
        ("import sys\nsys.exit()", "raises SystemExit (line 2)"),
        ("import sys\nsys.exit(0)", "raises SystemExit: 0 (line 2)"),
        ("raise SystemExit('bye')", "raises SystemExit: bye"),
        ("def f(): f()\nf()", "raises RecursionError"),
        ("raise MemoryError", "raises MemoryError"),
        ("open('none')", "raises FileNotFoundError"),
        ("x = '\0'", "raises "),
        (b"x = '\xff'", "raises SyntaxError"),
        ("", "registers no model: its class is to be decorated with @register_model"),
        ("print('hello')", "registers no model"),
        (PLUGIN + PLUGIN, "raises ValueError: model 'plugged' is registered twice"),
        (
            PLUGIN.replace("plugged", "convmixer_256_8"),
            "raises ValueError: model 'convmixer_256_8' is registered twice",
        ),
        (PLUGIN + "raise ValueError('late')", "raises ValueError: late"),
        (PLUGIN.replace("in_chans: int = 3, ", ""), "Plugged has no argument 'in_chans'"),
        (PLUGIN.replace("{}}", "{'width': 3}}"), "Plugged has no argument 'width'"),
        (PLUGIN.replace("int = 8", "int = 'x'"), 'image_size: "x" does not fit (a whole number is wanted)'),
        (PLUGIN.replace("int = 8", "nothing = 8"), "raises NameError: name 'nothing' is not defined"),
    ],
    ids=str,
)
def test_a_bad_plugin_is_refused_where_it_is_named_and_leaves_nothing_behind(
    refuse: Refuse, tmp_path: Path, code: str | bytes | None, said: str
) -> None:
    if code is not None:
        write(tmp_path, code, "plugin.py")
    write(tmp_path, GOOD + "plugins: [plugin.py]\n")
    for _ in range(2):
        message = refuse("s.yaml")
        assert "mixbench: s.yaml:5: " in message and f"plugin {tmp_path}/plugin.py" in message.replace("file at ", "")
        assert said in message
        assert not registry.is_model("plugged")


@pytest.mark.parametrize(
    ("plugins", "said"),
    [
        ("folder", "folder is not a file: a Python file (.py) is wanted"),
        ("pipe.py", "pipe.py is not a file: a Python file (.py) is wanted"),
        ("plugin.txt", "plugin.txt is not a Python file: its name is to end in .py"),
        ("loop.py", "no plugin file at"),
        ("dangling.py", "no plugin file at"),
        ("~/none.py", "no plugin file at /"),
        ("plugin.py/x.py", "no plugin file at"),
        ("[plugin.py, ./plugin.py]", "is given more than once"),
        ("[plugin.py, link.py]", "is given more than once"),
        ("[plugin.py, copy.py]", "model 'plugged' is registered twice"),
        ("[plugin.py, none.py]", "no plugin file at"),
    ],
)
def test_what_is_no_plugin_is_refused(refuse: Refuse, tmp_path: Path, plugins: str, said: str) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop.py").symlink_to("loop.py")
    (tmp_path / "dangling.py").symlink_to("nowhere.py")
    (tmp_path / "link.py").symlink_to("plugin.py")
    for name in ("plugin.py", "copy.py", "plugin.txt"):
        write(tmp_path, PLUGIN, name)
    write(tmp_path, GOOD + f"plugins: {plugins}\n")
    message = refuse("s.yaml")
    assert message.startswith("mixbench: s.yaml:5: ") and said in message


def test_nothing_of_a_suite_is_executed_but_the_plugins_it_names(refuse: Refuse, tmp_path: Path) -> None:
    touch = f"__import__('pathlib').Path({str(tmp_path / 'run')!r}).touch()"
    evil = b"cos\nsystem\n(S'touch " + os.fsencode(tmp_path / "run") + b"'\ntR."
    write(tmp_path, evil, "weights.pt")
    write(tmp_path, touch, "unnamed.py")
    for line in (
        f'description: !!python/object/apply:eval ["{touch}"]',
        f'models: "{touch}"',
        f'recipe: {{epochs: "{touch}"}}',
        f'models: {{name: convmixer_256_8, depth: "{touch}"}}',
        'models: {name: convmixer_256_8, depth: "${oc.env:HOME}"}',
        "models: {name: convmixer_256_8, weights: weights.pt}",
        "base: unnamed.py",
        "models: unnamed",
    ):
        write(tmp_path, suite_with(line))
        refuse("s.yaml")
    assert not (tmp_path / "run").exists()


def test_what_a_plugin_prints_is_not_part_of_the_facts(
    refuse: Refuse, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, PLUGIN + "print('hello')\n", "plugin.py")
    write(tmp_path, suite_with("plugins: plugin.py"))
    load("s.yaml")
    assert capsys.readouterr() == ("", "hello\n")


# -- options


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("", "key=value is wanted, such as recipe.epochs=1"),
        ("recipe.epochs", "key=value is wanted"),
        ("=", "key=value is wanted"),
        ("=1", "key=value is wanted"),
        (".=1", "key=value is wanted"),
        ("recipe.=1", "key=value is wanted"),
        (".recipe=1", "key=value is wanted"),
        ("recipe..epochs=1", "key=value is wanted"),
        ("recipe.epochs=", "recipe.epochs: a whole number is wanted, not null"),
        ("recipe.epochs=one", "recipe.epochs: a whole number is wanted"),
        ("recipe.epochs=1e3", "recipe.epochs: a whole number is wanted"),
        ("recipe.epochs=0", "recipe.epochs: it must be at least 1"),
        ("recipe.epochs=[1", "is not one value: not YAML"),
        ("recipe.epochs=1\nname: x", "is not one value"),
        ("recipe.epochs=!!python/name:os.system", "is not one value: tags"),
        ("recipe.epochs=&a 1", "is not one value: anchors and aliases"),
        ("recipe.epochs=*a", "is not one value: anchors and aliases"),
        ("recipe.epochs={<<: 1}", "is not one value: merge keys"),
        ("recipe.epochs=" + "9" * 5000, "a whole number has at most 18 digits"),
        ("recipe.epochs=" + "[" * 5000, "nested too deeply"),
        ("recipe.epochs=010", "a leading 0 means octal: write 8, or 10"),
        ("recipe.epochs=1:30", "which counts in sixties"),
        ("recipe.epochs=a\x1b[31m", "not a text"),
        ("recipe.epoch=1", "recipe: unknown key 'epoch' (did you mean epochs?)"),
        ("recipe.optimizer.lrr=1", "recipe.optimizer: unknown key 'lrr' (did you mean lr?)"),
        ("recipe.optimizer.lr=.nan", "recipe.optimizer.lr: a finite number is wanted"),
        ("recipe.optimizer.lr.x=1", "recipe.optimizer.lr: a number is wanted, not {"),
        ("recipe=5", "recipe: a mapping (key: value) is wanted, not 5"),
        ("recipe.0.epochs=1", "recipe: unknown key '0'"),
        ("sedes=[1]", "unknown key 'sedes' (did you mean seeds?)"),
        ("sedes.x.y=1", "unknown key 'sedes' (did you mean seeds?)"),
        ("__class__=1", "unknown key '__class__' (choose from name"),
        ("__class__.__init__=1", "unknown key '__class__'"),
        ("model_config.extra=allow", "unknown key 'model_config'"),
        ("_text=x", "unknown key '_text'"),
        ("recipe.__dict__.x=1", "recipe: unknown key '__dict__'"),
        ("models.0.__class__=1", "has no argument '__class__'"),
        ("models.__len__=1", "models is a list: write models.0 to 1"),
        ("models.2.depth=1", "models is a list: write models.0 to 1"),
        ("models.-1.depth=1", "models is a list: write models.0 to 1"),
        ("models.99999999999999999999.depth=1", "models is a list: write models.0 to 1"),
        ("models.00.depth=1", "models is a list: write models.0 to 1"),
        ("models.0.depth=two", "depth: \"two\" does not fit (a whole number is wanted)"),
        ("models.0.depth=100000000", "depth: 100000000 does not fit (it must be at most 1,000,000)"),
        ("models.0.dept=2", "convmixer_256_8 has no argument 'dept' (did you mean depth?)"),
        ("models.0.name.x=1", "models.0.name has no keys, it is \"convmixer_256_8\""),
        ("models.0.image_size=8", "image_size is given by the dataset"),
        ("models=[]", "models: at least one is wanted"),
        ("models=null", "models: a list is wanted, not null"),
        ("name=../up", "name: only a–z, 0–9, _ and - are wanted"),
        ("name.x=1", "name has no keys, it is \"s\""),
        ("seeds.0.x=1", "seeds.0 has no keys, it is 0"),
        ("seeds.5=1", "seeds is a list: write seeds.0 to 1"),
        ("seeds.0=-1", "seeds.0: it must be at least 0"),
        ("seeds=[0,0]", "seeds: 0 is given more than once"),
        ("precision=fp8", "precision: \"fp8\" is not one of fp32"),
        ("resources.nodes=0", "resources.nodes: it must be at least 1"),
        ("plugins=none.py", "no plugin file at"),
        ("plugins.0=none.py", "plugins is an empty list"),
        ("datasets=digit", "did you mean digits?"),
        ("base=other.yaml", "a base is named in the file alone"),
    ],
)  # fmt: skip
def test_a_bad_set_is_refused_as_it_was_written(refuse: Refuse, tmp_path: Path, assignment: str, said: str) -> None:
    write(tmp_path, GOOD.replace("convmixer_256_8", "[convmixer_256_8, splitmixer_i_256_8]") + "plugins: []\n")
    message = refuse("s.yaml", "--set", assignment)
    assert message.startswith("mixbench: --set ")
    assert said in message
    assert message.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--only", ""], "is not written key=pattern, such as seed=0"),
        (["--only", "seed"], "'seed' is not written key=pattern"),
        (["--only", "seed=0,"], "'' is not written key=pattern"),
        (["--only", "seeds=0"], "no key is called 'seeds' (did you mean seed"),
        (["--only", "__class__=0"], "no key is called '__class__' (choose from id, model"),
        (["--only", "seed=7"], "matches none of the 2 trials"),
        (["--only", "seed=0", "--only", "seed=7"], "--only seed=7 matches none of the 2 trials"),
        (["--only", "seed=[0-"], "matches none of the 2 trials"),
        (["--only", "model=" + "*a" * 30 + "b"], "matches none of the 2 trials"),
        (["--out", "s.yaml"], "s.yaml is a file; a folder, or one to be made, is wanted"),
        (["--out", "s.yaml/runs/x"], "s.yaml is a file; a folder, or one to be made, is wanted"),
        (["--out", "/dev/null"], "/dev/null is a file; a folder, or one to be made, is wanted"),
        (["--out", "."], "is not a run folder and not empty; choose another with --out"),
        (["--out", "x" * 300], "File name too long"),
        (["--set"], "'--set' requires an argument"),
        (["--sett", "a=1"], "No such option"),
        (["other.yaml"], "unexpected extra argument"),
    ],
    ids=lambda value: " ".join(value)[:50] if isinstance(value, list) else "",
)
def test_a_bad_option_is_refused(refuse: Refuse, tmp_path: Path, words: list[str], said: str) -> None:
    write(tmp_path, GOOD)
    assert said in refuse("s.yaml", *words)


# -- how many


@pytest.mark.parametrize(
    ("lines", "place", "said"),
    [
        (
            f"models: {[{'name': 'convmixer_256_8', 'depth': n} for n in range(1, 101)]}\nseeds: {list(range(10000))}",
            "s.yaml:4: seeds",
            "1,000,000 trials (100 models × 10,000 seeds) are planned; at most 100,000 are run",
        ),
        (
            f"seeds: {list(range(1000))}\nthroughput: {{batch_sizes: {list(range(1, 1001))}}}",
            "s.yaml:4: seeds",
            "1,000,000 trials (1,000 seeds × 1,000 batch_sizes) are planned",
        ),
        (
            f"precision: [fp32, bf16]\nthroughput: {{batch_sizes: {list(range(1, 50002))}}}",
            "s.yaml",
            "has more than 262,144 characters",
        ),
        (
            f"compile: [true, false]\nseeds: {list(range(25001))}\nprecision: [fp32, bf16]",
            "s.yaml:5: seeds",
            "100,004 trials",
        ),
    ],
)  # fmt: skip
def test_a_million_trials_are_refused_in_seconds_with_their_count(
    refuse: Refuse, tmp_path: Path, lines: str, place: str, said: str
) -> None:
    write(tmp_path, suite_with(lines))
    before = time.monotonic()
    message = refuse("s.yaml")
    assert time.monotonic() - before < 20
    assert place in message and said in message


# -- a real process


@pytest.mark.parametrize(
    ("lines", "words", "said"),
    [
        ("recipe: {epochs: 0}", [], "s.yaml:4: recipe.epochs: it must be at least 1, not 0"),
        ("models: {name: convmixer_256_8, depth: 100000000}", [], "s.yaml:3: convmixer_256_8: depth"),
        ("plugins: exits.py", [], "s.yaml:4: plugin"),
        ("description: !!python/object/apply:os.system [exit]", [], "s.yaml:4: tags"),
        ("seeds: 0", ["--set", "sedes=1"], "--set sedes=1: unknown key 'sedes' (did you mean seeds?)"),
        ("seeds: 0", ["--set", b"name=\xff"], "it holds the character 0xdcff"),
    ],
    ids=str,
)
def test_a_refusal_as_a_shell_sees_it(tmp_path: Path, lines: str, words: list[str | bytes], said: str) -> None:
    write(tmp_path, suite_with(lines))
    write(tmp_path, "import sys\nsys.exit(0)\n", "exits.py")
    before = snapshot(tmp_path)
    command = [sys.executable, "-m", "mixbench", "run", "s.yaml", *words]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, timeout=120
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and "Traceback" not in done.stderr
    assert snapshot(tmp_path) == before


# -- what must never be written


def test_nothing_is_unpickled() -> None:
    loads = re.compile(
        r"torch\.load\((?![^\n]*weights_only=True)|pickle\.loads?\(|allow_pickle=True|yaml\.(unsafe_)?load\("
    )
    for folder in ("mixbench", "models", "tests"):
        for file in (ROOT / folder).rglob("*.py"):
            found = [line for line in file.read_text(encoding="utf-8").splitlines() if loads.search(line)]
            assert not found or file == Path(__file__), f"{file}: {found}"
