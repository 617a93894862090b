"""The command line: what each verb prints, how it refuses, how little it imports, how it reads in a narrow terminal."""

import csv
import json
import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from mixbench.cli.run import Session
from mixbench.run.progress import Progress
from mixbench.suite.load import load
from mixbench.system.files import write_atomically
from tests import fake_runs
from tests.shell import Shell
from tests.trials import write_suite

SUITE = "name: s\nmodels: [splitmixer_i_256_8, convmixer_256_8]\ndatasets: digits\nseeds: [0, 1]\nrecipe: {epochs: 1}\n"


@pytest.fixture(autouse=True)
def in_an_empty_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    file = tmp_path / "s.yaml"
    file.write_text(SUITE, encoding="utf-8")
    return file


# -- what is imported

MOST = 2  # the CPU time of a command over that of the libraries alone; 1.6 was measured for status


@pytest.mark.parametrize(
    "words",
    [["--help"], ["list", "models"], ["list", "datasets"], ["list", "suites"], ["data", "list"], ["status"]],
    ids=" ".join,
)
def test_light_verbs_import_nothing_heavy_and_take_little_time(words: list[str], tmp_path: Path) -> None:
    if words == ["status"]:
        words = ["status", str(fake_runs.full_run(tmp_path / "run").folder)]
    code = (
        "import sys, atexit; from mixbench.cli.main import main; sys.argv[1:] = " + repr(words) + "\n"
        "heavy = {'torch', 'pandas', 'numpy', 'submitit', 'deepspeed', 'scipy'}\n"
        "atexit.register(lambda: print('HEAVY', sorted(heavy & set(sys.modules)), file=sys.stderr)); main()"
    )
    # pydantic imports most of itself with the first model
    libraries = "import click, yaml, pydantic, rich.console, rich.table; type('First', (pydantic.BaseModel,), {})"
    light, ours = [], []
    for _ in range(8):  # side by side: 0.3 s is not the same on every machine, nor on one machine all day
        light.append(cpu_seconds(libraries)[0])
        seconds, done = cpu_seconds(code)
        ours.append(seconds)
        assert done.stderr == "HEAVY []\n"
        assert done.stdout
        if min(ours) < MOST * min(light):
            break
    assert min(ours) < MOST * min(light), f"{min(ours):.2f} s of CPU time, {min(light):.2f} s for the libraries alone"


def cpu_seconds(code: str) -> tuple[float, subprocess.CompletedProcess[str]]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done


# -- list, profile, validate


def test_list_models_gives_exact_counts_of_those_that_match(mixbench: Shell) -> None:
    code, out, _ = mixbench("list", "models", "splitmixer_i_*_8", "--json")
    rows = json.loads(out)
    assert code == 0
    assert [row["name"] for row in rows] == ["splitmixer_i_256_8"]
    assert (rows[0]["params"], rows[0]["macs"], rows[0]["family"]) == (275834, 65219072, "SplitMixer")
    assert "275,834" in mixbench("list", "models", "splitmixer_*")[1]


def test_list_knows_datasets_and_suites(mixbench: Shell) -> None:
    datasets = json.loads(mixbench("list", "datasets", "--json")[1])
    assert {"digits", "fashion_mnist"} <= {row["name"] for row in datasets}
    assert "quick" in mixbench("list", "suites")[1]


def test_nothing_that_matches_is_said_so(mixbench: Shell) -> None:
    code, out, err = mixbench("list", "models", "nothing*")
    assert (code, out) == (2, "")
    assert "no models match 'nothing*'" in err
    assert mixbench("list", "models", "nothing*", "--json")[:2] == (0, "[]\n")


def split_mixer_i(channels: int, depth: int = 8, dim: int = 256, kernel: int = 5, patch: int = 2) -> tuple[int, int]:
    """SplitMixer-I's parameters and MACs at 32×32, 10 classes: `channels` is how many of dim are mixed in a block."""
    cells = (32 // patch) ** 2
    stem, spatial, mixer, head = dim * 3 * patch**2, 2 * dim * kernel, channels**2, dim * 10
    biases_and_norms = 3 * dim + depth * (2 * 3 * dim + channels + 2 * dim) + 10
    params = stem + depth * (spatial + mixer) + head + biases_and_norms
    return params, cells * (stem + depth * (spatial + mixer)) + head


@pytest.mark.parametrize(("assignments", "channels"), [((), 170), (("ratio=2/3",), 170), (("ratio=1/2",), 128)])
def test_profile_counts_to_the_last_digit(mixbench: Shell, assignments: tuple[str, ...], channels: int) -> None:
    words = [word for assignment in assignments for word in ("--set", assignment)]
    code, out, _ = mixbench("profile", "splitmixer_i_256_8", *words, "--json")
    facts = json.loads(out)
    assert code == 0
    assert (facts["params"], facts["macs"]) == split_mixer_i(channels)
    assert facts["flops"] == 2 * facts["macs"]
    assert sum(layer["macs"] for layer in facts["layers"]) == facts["macs"]
    if channels == 170:
        assert (facts["params"], facts["macs"]) == (275834, 65219072)


def test_profile_takes_the_image_size_and_the_classes(mixbench: Shell) -> None:
    _, out, _ = mixbench("profile", "splitmixer_i_256_8", "--image-size", "16", "--num-classes", "100", "--json")
    assert json.loads(out)["params"] == 275834 + 90 * 257


def test_profile_prints_the_layers_and_both_counters_totals(mixbench: Shell) -> None:
    out = mixbench("profile", "splitmixer_i_256_8")[1]
    assert "275,834" in out
    assert "65,219,072  convolutions and matrix products" in out
    assert "by ptflops (+" in out
    assert "stem.0" in out


@pytest.mark.parametrize("model", ["convmixer_256_8", "cyclemlp_b1", "poolformer_s12"])
def test_profile_shows_blocks_that_are_alike_once_and_the_rows_still_sum_to_the_totals(
    mixbench: Shell, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    layers = json.loads(mixbench("profile", model, "--json")[1])["layers"]
    table = mixbench("profile", model)[1].partition("\n\n")[0].splitlines()[1:]
    assert len(table) < len(layers) / 1.5
    params = macs = 0
    repeats = 1
    for line in table:
        layer, kind, *counts = re.split(r"  +", line.strip())
        repeats = repeats if line.startswith(" ") else 1
        if alike := re.fullmatch(r"(\d+) alike, each", kind):
            assert "…" in layer and repeats == 1
            repeats = int(alike[1])
        else:
            params += repeats * int(counts[0].replace(",", ""))
            macs += repeats * int(counts[1].replace(",", ""))
    assert params == sum(layer["params"] for layer in layers)
    assert macs == sum(layer["macs"] for layer in layers)


def test_a_reconstruction_says_so_where_it_is_listed_counted_and_measured(mixbench: Shell, suite: Path) -> None:
    assert "KAN-Mixers, 2025, arXiv:2503.08939, a reconstruction" in mixbench("list", "models", "kanmixer*")[1]
    assert mixbench("profile", "kanmixer_cheon")[1].endswith(
        "kanmixer_cheon is a reconstruction: its paper does not define it completely\n"
    )
    assert "reconstruction" not in mixbench("profile", "splitmixer_i_256_8")[1]
    both = write_suite(suite.parent, models=["kanmixer_cheon", "mixer_nano4"], seeds=[0], measure=["complexity"])
    assert mixbench("run", both, "--out", suite.parent / "run")[0] == 0
    rows = list(csv.DictReader((suite.parent / "run" / "results.csv").read_text().splitlines()))
    assert [("reconstruction: the paper" in row["flags"], row["model"]) for row in rows] == [
        (True, "kanmixer_cheon"),
        (False, "mixer_nano4"),
    ]


def test_validate_counts_the_trials(mixbench: Shell, suite: Path) -> None:
    assert mixbench("validate", suite) == (0, f"{suite} is good: s, 4 trials\n", "")
    assert json.loads(mixbench("validate", suite, "--json")[1]) == {"name": "s", "trials": 4, "images": []}
    one = write_suite(suite.parent, measure=["complexity"])
    assert mixbench("validate", one)[1].endswith(", 1 trial\n")


# -- run, as far as nothing is run


def test_a_dry_run_prints_the_plan_and_its_work_and_writes_nothing(mixbench: Shell, suite: Path) -> None:
    code, out, _ = mixbench("run", suite, "--dry-run")
    assert code == 0
    assert out.count("convmixer_256_8 ") == 2
    assert "4 trials, " in out
    assert list(suite.parent.iterdir()) == [suite]
    facts = json.loads(mixbench("run", suite, "--dry-run", "--json")[1])
    assert [row["state"] for row in facts["trials"]] == ["new"] * 4
    assert facts["train_macs"] == sum(3 * 1437 * row["macs"] for row in facts["trials"])
    assert facts["trials"][0]["hours"] is None


def test_a_dry_run_shows_the_settings_that_differ_and_those_of_all(mixbench: Shell, suite: Path) -> None:
    sizes = ("--set", "datasets=[digits, {name: digits, image_size: 16}]", "--set", "recipe.global_batch_size=64")
    recipes = ("--set", "recipe=[{name: a}, {name: b, gradient_accumulation: 2}]")
    out = mixbench("run", suite, *sizes, "--dry-run", "--only", "seed=0,model=conv*")[1]
    assert "in all: weights none, recipe default, train batch size 64, precision fp32" in out
    assert "infer batch size 256, nodes 1, world size 1, gradient accumulation 1\n" in out
    assert [line.split()[3] for line in out.splitlines() if line.startswith("convmixer")] == ["8", "16"]
    out = mixbench("run", suite, *recipes, "--dry-run", "--only", "seed=0,model=conv*")[1]
    assert [line.split()[3:5] for line in out.splitlines() if line.startswith("convmixer")] == [["a", "1"], ["b", "2"]]


def test_each_only_adds_a_part_of_the_plan(mixbench: Shell, suite: Path) -> None:
    both = ("--only", "seed=1,model=conv*", "--only", "seed=0")
    rows = json.loads(mixbench("run", suite, "--dry-run", "--json", *both)[1])["trials"]
    of_all = json.loads(mixbench("run", suite, "--dry-run", "--json")[1])["trials"]
    assert rows == [row for row in of_all if row["seed"] == 0 or row["model"].startswith("conv")]
    assert len(rows) == 3


def test_a_dry_run_knows_the_hours_of_every_seed_where_one_s_speed_is_known(mixbench: Shell, suite: Path) -> None:
    from mixbench.suite.load import load

    loaded, trials = load(str(suite))
    records = [fake_runs.done(trials[0], 99.0, train_samples_per_sec=1437.0, infer_samples_per_sec=1.0)]
    fake_runs.write_run(suite.parent / "run", trials, records, loaded.text)
    out = mixbench("run", suite, "--out", suite.parent / "run", "--dry-run", "--json")[1]
    rows = json.loads(out)["trials"]
    assert [row["state"] for row in rows] == ["done", "new", "new", "new"]
    assert [row["hours"] for row in rows] == [1 / 3600, None, 1 / 3600, None]


@pytest.mark.parametrize(
    ("expression", "count"),
    [
        ("seed=0", 2),
        ("model=splitmixer_*", 2),
        ("model=splitmixer_*, seed=1", 1),
        ("label=convmixer_256_8,dataset=digits,family=Conv*", 2),
        ("recipe=default,precision=fp32", 4),
        ("world_size=1", 4),
    ],
)
def test_only_picks_a_part_of_the_plan(mixbench: Shell, suite: Path, expression: str, count: int) -> None:
    assert f"\n{count} trial" in mixbench("run", suite, "--dry-run", "--only", expression)[1]


@pytest.mark.parametrize("expression", ["memory_format=channels_last", "compile=true", "infer_batch_size=max"])
def test_only_picks_a_value_of_each_axis_that_a_suite_can_sweep(mixbench: Shell, suite: Path, expression: str) -> None:
    key, _, value = expression.partition("=")
    axes = ("memory_format=[contiguous, channels_last]", "compile=[false, true]", "throughput.batch_sizes=[1, max]")
    words = [word for axis in axes for word in ("--set", axis)]
    out = mixbench("run", suite, *words, "--dry-run", "--only", expression, "--json")[1]
    trials = json.loads(out)["trials"]
    assert len(trials) == 16
    assert {str(row["compiled" if key == "compile" else key]).lower() for row in trials} == {value}


def test_a_plan_shows_the_axes_that_are_swept(mixbench: Shell, suite: Path) -> None:
    out = mixbench("run", suite, "--set", "compile=[false, true]", "--dry-run")[1]
    heads = [line.split() for line in out.splitlines()[:2]]
    assert any("compiled" in words for words in heads)
    assert not any("precision" in words for words in heads)


@pytest.mark.parametrize(
    ("label", "typed"),
    [
        ("convmixer_256_8[depth=2]", ["models.1.depth=2"]),
        (
            "convmixer_256_8[depth=2,dim=16,kernel_size=3]",
            ["models.1={name: convmixer_256_8, depth: 2, dim: 16, kernel_size: 3}"],
        ),
        ("small, of two blocks, lr = 3", ["models.1={name: convmixer_256_8, label: 'small, of two blocks, lr = 3'}"]),
        ("[a, seed=0]", ["models.1={name: convmixer_256_8, label: '[a, seed=0]'}"]),
    ],
)
def test_only_takes_a_label_as_it_is_written(label: str, typed: list[str], mixbench: Shell, suite: Path) -> None:
    """The default labels of models with several overrides hold commas."""
    words = [word for each in typed for word in ("--set", each)]
    for only, count in ((f"label={label}", 2), (f"label={label}, seed=1", 1), (f"dataset=digits,label={label}", 2)):
        trials = json.loads(mixbench("run", suite, *words, "--dry-run", "--only", only, "--json")[1])["trials"]
        assert [row["label"] for row in trials] == [label] * count


def test_only_takes_a_model_as_tables_name_it(mixbench: Shell, suite: Path) -> None:
    change = ("--set", "models.1={name: convmixer_256_8, depth: 2, dim: 16}")
    for only in ("model=convmixer_256_8[depth=2,dim=16]", "model=convmixer_256_8"):
        trials = json.loads(mixbench("run", suite, *change, "--dry-run", "--only", only, "--json")[1])["trials"]
        assert len(trials) == 2
    code, _, err = mixbench("run", suite, *change, "--dry-run", "--only", "model=convmixer_256_8[depth=3,dim=16]")
    assert code == 2 and "matches none of the 4 trials" in err


# -- requests that are wrong


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["run", "s.yaml", "--only", "sed=0"], "no key is called 'sed' (did you mean seed?)"),
        (["run", "s.yaml", "--only", "seed=0,modle=x"], "no key is called 'modle' (did you mean model or nodes?)"),
        (["run", "s.yaml", "--only", "seed"], "is not written key=pattern"),
        (["run", "s.yaml", "--only", ""], "is not written key=pattern"),
        (["run", "s.yaml", "--only", "seed=9"], "matches none of the 4 trials"),
        (["run", "s.yaml", "--cluster", "slrum"], "no cluster is called 'slrum' (choose from local, debug, slurm/"),
        (
            ["run", "s.yaml", "--out", "s.yaml"],
            "--out s.yaml: s.yaml is a file; a folder, or one to be made, is wanted",
        ),
        (["run", "s.yaml", "--out", "a%j"], "submitit puts numbers in place of %j"),
        (["run", "s.yaml", "--out", "full"], "is not a run folder and not empty"),
        (["run", "s.yaml", "--out", "other"], "other holds the run of suite 'cifar', not the run of 's'"),
        (["run", "s.yaml", "--set", "recipe.epoch=1"], "--set recipe.epoch=1: recipe: unknown key 'epoch'"),
        (["run", "s.yaml", "--set", "models.0.ratio=2/5", "--dry-run"], "ratio is 2/5"),
        (["run", "missing.yaml"], "no suite at missing.yaml"),
        (["run", "full"], "full is a folder"),
        (["run"], "Missing argument 'SUITE'"),
        (["run", "s.yaml", "--clustre", "x"], "No such option"),
        (["rn"], "No such command 'rn'"),
        (["validate", "full/x.yaml"], "a mapping (key: value) is wanted"),
        (["status", "nowhere"], "nowhere is not a run folder"),
        (["status", "full"], "full is not a run folder"),
        (["report", "nowhere"], "nowhere is not a run folder"),
        (["report"], "Missing argument"),
        (["report", "other", "other", "--out", "all"], "other is given twice"),
        (["report", "other", "nowhere", "--out", "all"], "nowhere is not a run folder"),
        (["report", "other", "--out", "other"], "--out other is a run's folder, where its own report stands"),
        (["report", "other", "--out", "s.yaml"], "s.yaml"),
        (["run", "s.yaml", "--out", ""], "'--out': it is empty: a path is wanted"),
        (["report", "other", "--out", " "], "'--out': it is empty: a path is wanted"),
        (["status", ""], "'RUN': it is empty: a path is wanted"),
        (["compare", "other"], "Missing argument 'RUN_B'"),
        (["compare", "other", "nowhere"], "nowhere is not a run folder"),
        (["compare", "other", "other", "--fail-below", "top1"], "a change with its sign is wanted, such as top1:-5%"),
        (["list", "model"], "'model' is not one of"),
        (["profile", "splitmixr_i_256_8"], "did you mean splitmixer_i_256_8"),
        (["profile", "splitmixer_i_256_8", "--set", "rtio=1/2"], "no argument 'rtio' (did you mean ratio?)"),
        (["profile", "splitmixer_i_256_8", "--set", "ratio"], "key=value is wanted"),
        (["profile", "splitmixer_i_256_8", "--set", "ratio=[1"], "is not one value"),
        (["profile", "splitmixer_i_256_8", "--set", "ratio=2"], "ratio is 2, it must be"),
        (["profile", "splitmixer_i_256_8", "--image-size", "33"], "patch_size 2 does not divide image_size 33"),
        (["profile", "splitmixer_i_256_8", "--image-size", "0"], "0 is not in the range"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_request_is_one_message_and_exit_code_2(
    mixbench: Shell, suite: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.delattr("mixbench.cli.run.launch")
    write_atomically(suite.parent / "full" / "x.yaml", "hello\n")
    fake_runs.full_run(suite.parent / "other", seeds=1)
    before = {path: path.read_bytes() for path in suite.parent.rglob("*") if path.is_file()}
    code, out, err = mixbench(*words)
    assert (code, out) == (2, "")
    assert said in err
    assert "Traceback" not in err
    assert {path: path.read_bytes() for path in suite.parent.rglob("*") if path.is_file()} == before


def test_a_file_that_cannot_be_used_is_named(mixbench: Shell, suite: Path) -> None:
    code, _, err = mixbench("run", suite, "--out", "/proc/nothing/run")
    assert code == 2
    assert err.startswith("mixbench: /proc/nothing")


@pytest.mark.parametrize("words", ["list models --json", "list models", "list suites", "data list"])
def test_a_reader_that_has_had_enough_is_no_error(words: str) -> None:
    command = f"{sys.executable} -m mixbench {words} | head -c 10"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert (len(done.stdout), done.stderr) == (10, "")


def listed(mixbench: Shell, *terms: str) -> set[str]:
    return {row["name"] for row in json.loads(mixbench("list", "models", *terms, "--json")[1])}


def test_models_are_selected_by_name_number_and_family(mixbench: Shell) -> None:
    assert listed(mixbench, "vip_*", "params<30M", "macs>=6.9G") == {"vip_s7"}
    assert listed(mixbench, "vip_s*", "gmlp_ti16") == {"vip_s7", "vip_s14", "gmlp_ti16"}
    assert listed(mixbench, "--family", "vip", "image_size=224", "year=2021", "top1_published>82") == {
        "vip_m7",
        "vip_l7",
    }
    assert listed(mixbench, "year=2024") == {"ninformer_256_4", "kanmixer_cheon"}
    [row] = json.loads(mixbench("list", "models", "splitmixer_i_256_8", "--json")[1])
    assert (row["paper"], row["year"], row["top1_published"], row["published_on"]) == (
        "arXiv:2207.10255",
        2022,
        93.91,
        "cifar10",
    )
    _, table, _ = mixbench("list", "models", "mixer_s4", "vip_s7")
    assert table.index("MLP-Mixer, 2021, arXiv:2105.01601") < table.index("mixer_s4") < table.index("ViP, 2021")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["models", "parms<3"], "models have no number 'parms' (did you mean params?)"),
        (["models", "params<x"], "'params<x': a number is wanted after <, such as 30M or 1.5G"),
        (["models", "--family", "nix"], "no models match --family 'nix'; `mixbench list models` shows all"),
        (["suites", "--family", "ViP"], "--family ViP: models have families, suites have none"),
    ],
)
def test_a_selection_that_means_nothing_is_told(mixbench: Shell, words: list[str], said: str) -> None:
    assert mixbench("list", *words) == (2, "", f"mixbench: {said}\n")


def test_an_interruption_says_what_is_kept_and_how_to_go_on(
    mixbench: Shell, suite: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("mixbench.cli.run.Session.run_all", interrupted)
    code, _, err = mixbench("run", suite, "--out", "my runs", "--only", "seed=0")
    assert code == 130
    assert "0 of 2 trials done; what was measured is kept in my runs" in err
    assert "same command goes on with the other 2" in err
    assert "mixbench report 'my runs'" in err


def test_an_interruption_after_the_last_trial_asks_for_no_other(tmp_path: Path, suite: Path) -> None:
    loaded, trials = load(str(suite))
    run = fake_runs.write_run(tmp_path / "run", trials, [fake_runs.done(trial, 90.0) for trial in trials], loaded.text)
    said = Session(loaded, trials, "local", run.folder, ()).how_to_resume()
    assert "4 of 4 trials done" in said and "same command" not in said


def test_a_content_folder_that_is_none_is_named(mixbench: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXBENCH_CONTENT", "/nowhere")
    assert mixbench("list", "suites") == (
        2,
        "",
        "mixbench: $MIXBENCH_CONTENT is /nowhere, which has no folder models\n",
    )


# -- report


def test_several_runs_get_a_report_each_or_one_of_all(mixbench: Shell) -> None:
    trials = [fake_runs.trial(model) for model in ("convmixer_256_8", "splitmixer_i_256_8")]
    for name in ("one", "two"):
        fake_runs.write_run(Path(name), trials, [fake_runs.done(trial, 90.0) for trial in trials])
    each = json.loads(mixbench("report", "one", "two", "--json")[1])
    assert {path.split("/")[0] for path in each} == {"one", "two"}
    code, out, _ = mixbench("report", "one", "two", "--out", "all")
    assert code == 0 and {line.split("/")[0] for line in out.splitlines()} == {"all"}
    assert {"all/results.csv", "all/summary.csv", "all/report.html"} <= set(out.splitlines())
    with open("all/results.csv", newline="", encoding="utf-8") as file:
        runs = [row["run"] for row in csv.DictReader(file)]
    assert runs == ["one"] * 2 + ["two"] * 2
    page = Path("all/report.html").read_text()
    assert "· one" in page and "· two" in page


@pytest.mark.parametrize("name", ["report.html", "report.md", "results.csv", "summary.csv", "summary.tex"])
def test_a_report_of_several_runs_replaces_its_own_files_and_none_of_others(mixbench: Shell, name: str) -> None:
    for run in ("one", "two"):
        fake_runs.write_run(Path(run), [fake_runs.trial()], [fake_runs.done(fake_runs.trial(), 90.0)])
    words = ["report", "one", "two", "--out", "all", *(f"--format={form}" for form in ("csv", "markdown", "latex"))]
    for _ in range(2):
        assert mixbench(*words)[0] == 0
    Path("all", name).write_text("mine")
    code, out, err = mixbench(*words)
    assert (code, out) == (2, "")
    assert err == f"mixbench: --out all holds a {name} that is not mixbench's: another folder is wanted\n"
    assert Path("all", name).read_text() == "mine"


def test_paths_may_begin_with_a_tilde(mixbench: Shell, suite: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(suite.parent))
    fake_runs.write_run(Path("one"), [fake_runs.trial()], [fake_runs.done(fake_runs.trial(), 90.0)])
    assert mixbench("validate", f"~/{suite.name}")[0] == 0
    assert mixbench("report", "~/one", "--out=~/all", "--format=csv")[0] == 0 and Path("all/results.csv").exists()
    code, _, err = mixbench("run", suite, "--cluster=~/no.yaml", "--out=~/x", "--dry-run")
    assert (code == 2 and f"{suite.parent}/no.yaml" in err) or "no cluster is called" in err


# -- status


def test_status_sums_up_each_model_and_lists_what_failed_runs_and_is_damaged(mixbench: Shell, tmp_path: Path) -> None:
    trials = [fake_runs.trial("convmixer_256_8", seed) for seed in range(4)]
    trials.append(fake_runs.trial("splitmixer_i_256_8", label="[red]I[/]"))
    records = [fake_runs.done(trials[0], 90.0), fake_runs.done(trials[1], 92.0)]
    records.append(fake_runs.failed(trials[2], "ran out of [bold]memory[/]"))
    run = fake_runs.write_run(tmp_path / "run", trials, records)
    run.write_progress(trials[3].id, Progress(part="accuracy", done=3, total=25, loss=0.5, updated_at=2e9))
    (run.jobs / "0001").mkdir(parents=True)
    (run.jobs / "0001" / "trials.json").write_text(json.dumps([trials[3].id]))
    write_atomically(run.record_file(trials[4].id), "{")
    code, out, _ = mixbench("status", "run")
    assert code == 0
    assert "91 ± 13" in out
    assert "2/4" in out
    assert "[red]I[/]" in out
    assert f"failed: {trials[2].id}: ran out of [bold]memory[/]" in out
    assert "now: convmixer_256_8 cifar10 seed 3: epoch 3/25, loss 0.500" in out
    assert "damaged: trials/" in out
    assert out.endswith("2 done, 1 failed, 1 running, 1 pending\n")
    facts = json.loads(mixbench("status", "run", "--json")[1])
    assert facts["counts"] == {"done": 2, "failed": 1, "running": 1, "pending": 1}
    assert len(facts["damaged"]) == 1


def test_status_keeps_apart_what_differs_in_more_than_the_seed(mixbench: Shell, tmp_path: Path) -> None:
    trials = [fake_runs.trial("convmixer_256_8", 0, precision=each) for each in ("fp32", "bf16")]
    trials.append(fake_runs.trial("mixer_s_4", 0, infer_batch_size=1))
    fake_runs.write_run(tmp_path / "run", trials, [fake_runs.done(each, 90.0) for each in trials])
    out = mixbench("status", "run")[1]
    assert out.count("90.00 (1 seed)") == 3
    assert "bf16" in out
    assert "batch" not in out


@pytest.mark.parametrize(
    ("columns", "heading", "left_out"),
    [
        (60, "", "MACs, params, train img/s"),
        (80, "model dataset done top-1 % ± 95 % infer img/s train img/s", "MACs, params"),
        (100, "model dataset done top-1 % ± 95 % params infer img/s train img/s", "MACs"),
        (160, "model dataset done top-1 % ± 95 % params MACs infer img/s train img/s", ""),
    ],
)
def test_status_leaves_out_counts_rather_than_speeds_and_has_a_heading_of_one_line(
    mixbench: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int, heading: str, left_out: str
) -> None:
    fake_runs.full_run(tmp_path / "run")
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = mixbench("status", "run")[1].splitlines()
    assert " ".join(lines[0].split()) == heading or columns == 60
    assert (f"columns left out at this width: {left_out}" in lines) == bool(left_out)
    [row] = [line.split() for line in lines if line.startswith("convmixer_256_8")]
    assert ("812" in row, "594,186" in row, "148,113,920" in row) == (True, columns >= 100, columns == 160)


def test_status_leaves_out_what_is_no_longer_in_the_plan(mixbench: Shell, tmp_path: Path) -> None:
    trials = [fake_runs.trial("convmixer_256_8", seed) for seed in range(2)]
    run = fake_runs.write_run(tmp_path / "run", trials, [fake_runs.done(each, 90.0) for each in trials])
    run.write_plan("name: cifar\n", trials[:1])
    out = mixbench("status", "run")[1]
    assert "1/1" in out
    assert out.endswith("2 done, 1 of them no longer in the plan\n")


# -- narrow terminals


@pytest.mark.parametrize("columns", [40, 80, 120])
@pytest.mark.parametrize(
    "words",
    [
        ["list", "models", "splitmixer_*"],
        ["list", "datasets"],
        ["status", "run"],
        ["profile", "convmixer_256_8"],
        ["run", "s.yaml", "--dry-run"],
    ],
    ids=" ".join,
)
def test_no_number_is_broken_and_no_table_is_wider_than_the_terminal(
    mixbench: Shell, suite: Path, monkeypatch: pytest.MonkeyPatch, columns: int, words: list[str]
) -> None:
    fake_runs.full_run(suite.parent / "run")
    monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = mixbench(*words)
    table = out.rpartition("\n\n")[0] or out
    assert code == 0
    assert max(len(line.rstrip()) for line in table.splitlines()) <= columns
    number = {"list": "1,437" if "datasets" in words else "65,219,072", "status": "1,430"}
    assert number.get(words[0], "9,226,752" if words[0] == "run" else "1,638,400") in out


def test_labels_that_look_like_markup_are_shown_as_they_are(mixbench: Shell, suite: Path) -> None:
    suite.write_text(SUITE.replace("convmixer_256_8", "{name: convmixer_256_8, depth: 2, label: '[red]x[/] :boom:'}"))
    out = mixbench("run", suite, "--dry-run", "--set", "models.0.ratio=3/5")[1]
    assert "[red]x[/] :boom:" in out
    assert "splitmixer_i_256_8[ratio=3/5]" in out


def test_a_module_is_a_command_too() -> None:
    environment = os.environ | {"COLUMNS": "80"}
    command = [sys.executable, "-m", "mixbench", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.startswith("mixbench")
