"""Tables from whatever records a run folder holds: the contract's columns, statistics over seeds, nothing hidden."""

import subprocess
import sys
from pathlib import Path

import pytest

from mixbench.errors import RequestError
from mixbench.results.collect import collect
from mixbench.results.summary import SummaryRow
from mixbench.results.tables import tables
from mixbench.run.flags import Flag, Kind
from mixbench.run.folder import Run
from mixbench.run.progress import Progress
from tests.fake_runs import ENVIRONMENT, MODELS, RECIPE, done, failed, full_run, trial, write_run

RESULTS = (
    "suite,trial_id,status,model,label,family,dataset,image_size,seed,params,macs,flops,macs_ptflops,activations,recipe,"
    "top1,top5,test_loss,train_loss,epochs,train_seconds,train_samples_per_sec,train_batch_size,infer_samples_per_sec,"
    "infer_batch_size,infer_step_ms_p50,infer_step_ms_p95,peak_memory_bytes,precision,memory_format,compiled,nodes,"
    "world_size,device,torch_version,git_commit,started_at,finished_at,flags,error,run,"
    "infer_step_ms_p5,infer_step_cv,train_step_ms_p50,train_step_ms_p5,train_step_ms_p95,train_step_cv,timed_steps,"
    "device_memory_bytes,infer_joules_per_image,threads,model_code"
)
SUMMARY = (
    "model,label,family,dataset,image_size,recipe,precision,memory_format,compiled,train_batch_size,infer_batch_size,"
    "nodes,world_size,device,n_seeds,top1_mean,top1_std,top1_ci95,top1_published,top1_delta,params,params_published,macs,"
    "macs_published,macs_convention,infer_samples_per_sec,train_samples_per_sec,peak_memory_bytes,pareto,"
    "top1_source,top1_agrees,params_as_published,params_agrees,macs_as_published,macs_agrees,published_note,run,split,"
    "flags,infer_step_cv,train_step_cv,timed_steps,infer_joules_per_image,settings,"
    "top1_to_best,top1_to_best_ci95,top1_verdict,top1_ci95_images,"
    "infer_samples_per_sec_low,infer_samples_per_sec_high,train_samples_per_sec_low,train_samples_per_sec_high"
)


def rows(run: Run) -> list[SummaryRow]:
    return [group.row for group in tables(run).groups]


def only_row(run: Run) -> SummaryRow:
    (row,) = rows(run)
    return row


def test_columns_are_the_contracts_in_its_order_even_for_an_empty_run(tmp_path: Path) -> None:
    for run in (full_run(tmp_path / "full"), write_run(tmp_path / "empty", [], [])):
        found = tables(run)
        assert ",".join(found.results.columns) == RESULTS
        assert ",".join(found.summary.columns) == SUMMARY
    assert len(found.results) == len(found.summary) == 0
    assert found.suite == "empty"
    assert found.counts == {"done": 0, "failed": 0, "running": 0, "pending": 0}


def test_a_row_per_trial_and_a_row_per_model(tmp_path: Path) -> None:
    found = tables(full_run(tmp_path / "run"))
    assert len(found.results) == 18
    assert found.summary["model"].tolist() == [name for name, *_ in MODELS]
    assert found.summary["n_seeds"].tolist() == [2] * 9
    assert found.counts["done"] == 18


def test_integers_stay_exact_beside_empty_cells(tmp_path: Path) -> None:
    trials = [trial("resmlp_s12_4"), trial("mixer_s_4")]
    results = tables(write_run(tmp_path, trials, [done(trials[0], 95.0, macs=9_007_199_254_740_993)])).results
    assert results["macs"].dtype == "Int64"
    assert results["macs"][0] == 9_007_199_254_740_993
    assert results["macs"].isna().tolist() == [False, True]


def test_two_seeds_have_a_mean_a_sample_deviation_and_a_t_interval(tmp_path: Path) -> None:
    trials = [trial(seed=0), trial(seed=1)]
    row = only_row(write_run(tmp_path, trials, [done(trials[0], 97.0), done(trials[1], 98.0)]))
    assert row.n_seeds == 2
    assert row.top1_mean == 97.5
    assert row.top1_std == pytest.approx(0.5**0.5)
    assert row.top1_ci95 == pytest.approx(12.7062047 * 0.5)  # t(0.975, 1 degree) times 0.7071 / sqrt 2


def test_a_single_seed_has_a_mean_and_no_spread(tmp_path: Path) -> None:
    run = write_run(tmp_path, [trial()], [done(trial(), 93.5)])
    row = only_row(run)
    assert (row.n_seeds, row.top1_mean, row.top1_std, row.top1_ci95) == (1, 93.5, None, None)
    assert tables(run).summary[["top1_std", "top1_ci95"]].isna().all(axis=None)


def test_a_failed_trial_takes_no_part_in_the_mean(tmp_path: Path) -> None:
    trials = [trial(seed=seed) for seed in range(3)]
    records = [done(trials[0], 90.0), done(trials[1], 92.0), done(trials[2], 10.0, status="failed", error="died")]
    row = only_row(write_run(tmp_path, trials, records))
    assert (row.n_seeds, row.top1_mean) == (2, 91.0)


def test_throughput_is_the_median_and_memory_the_largest(tmp_path: Path) -> None:
    trials = [trial(seed=seed) for seed in range(3)]
    measured = [(100.0, 30.0, 7), (900.0, 31.0, 9), (110.0, 35.0, 8)]
    records = [
        done(each, 90.0, infer_samples_per_sec=infer, train_samples_per_sec=train, peak_memory_bytes=peak)
        for each, (infer, train, peak) in zip(trials, measured, strict=True)
    ]
    row = only_row(write_run(tmp_path, trials, records))
    assert (row.infer_samples_per_sec, row.train_samples_per_sec, row.peak_memory_bytes) == (110.0, 31.0, 9)


def test_spread_is_the_largest_steps_are_summed_and_every_flag_stands_once(tmp_path: Path) -> None:
    trials = [trial(seed=seed) for seed in range(4)]
    busy, moved = "busy neighbours: others kept 1.2 of 2 cores busy", "speed still moved: 11 rounds of warm-up"
    measured: list[dict] = [
        {"infer_step_cv": 0.02, "train_step_cv": 0.3, "infer_joules_per_image": 0.5, "flags": [moved]},
        {"infer_step_cv": 0.25, "train_step_cv": None, "infer_joules_per_image": 0.1, "flags": [busy, moved]},
        {"infer_step_cv": float("nan"), "train_step_cv": 0.1, "infer_joules_per_image": 0.2, "timed_steps": 50},
    ]
    records = [done(each, 90.0, **figures) for each, figures in zip(trials, measured, strict=False)]
    records.append(failed(trials[3], "out of memory", flags=["out of memory: training at batch 64"]))
    row = only_row(write_run(tmp_path, trials, records))
    assert (row.infer_step_cv, row.train_step_cv, row.timed_steps, row.infer_joules_per_image) == (0.25, 0.3, 90, 0.2)
    assert row.flags == f"{moved};{busy};not finite;out of memory: training at batch 64"
    nothing = only_row(write_run(tmp_path / "nothing", [trial()], []))
    assert (nothing.flags, nothing.infer_step_cv, nothing.timed_steps) == ("", None, None)


def test_pareto_rows_are_those_that_nothing_beats(tmp_path: Path) -> None:
    def cost(top1: float | None, macs: int, params: int) -> dict:
        return {"top1": top1, "macs": macs, "params": params}

    costs = {
        "best": cost(95.0, 100, 100),
        "small": cost(90.0, 10, 100),
        "beaten": cost(90.0, 11, 100),
        "thin": cost(80.0, 50, 5),
        "twin": cost(95.0, 100, 100),
        "unmeasured": cost(None, 1, 1),
    }
    trials = [trial(name) for name in costs] + [trial("beaten", dataset="cifar100")]
    records = [done(each, 0.0).model_copy(update=costs[each.model]) for each in trials]
    marks = {(row.model, row.dataset): row.pareto for row in rows(write_run(tmp_path, trials, records))}
    assert marks == {
        ("best", "cifar10"): True,
        ("small", "cifar10"): True,
        ("beaten", "cifar10"): False,
        ("thin", "cifar10"): True,
        ("twin", "cifar10"): True,
        ("unmeasured", "cifar10"): None,
        ("beaten", "cifar100"): True,
    }


def test_published_figures_stand_beside_ours_only_in_the_same_setting(tmp_path: Path) -> None:
    wider = {"image_size": 64, "in_chans": 3, "num_classes": 10}
    trials = [
        trial("splitmixer_i_256_8"),
        trial("splitmixer_i_256_8", arguments=wider, id="larger-images"),
        trial("splitmixer_i_256_8", overrides={"ratio": "3/5"}, id="other-ratio"),
    ]
    trials += [
        trial("splitmixer_i_256_8", recipe=RECIPE.model_copy(update={"split": "val"}), id="other-images"),
        trial("splitmixer_i_256_8", weights="given.safetensors", id="other-training"),
    ]
    same, larger, other, val, given = rows(write_run(tmp_path, trials, [done(trials[0], 94.5)]))
    for row in (val, given):
        assert (row.top1_published, row.params_published) == (None, 280_000)
    assert (same.top1_published, same.params_published, same.macs_published) == (93.91, 280_000, 71_800_000)
    assert same.macs_convention == "splitmixer"
    assert same.top1_delta == pytest.approx(0.59)
    for row in (larger, other):
        assert (row.top1_published, row.params_published, row.macs_convention) == (None, None, "")


def test_ours_are_counted_as_the_source_counts_before_they_are_compared(tmp_path: Path) -> None:
    from mixbench.measure.complexity import count
    from mixbench.zoo.registry import create_model

    trials = [trial("splitmixer_i_256_8", seed) for seed in range(2)] + [trial("splitmixer_ii_256_8")]
    records = [done(each, 94.5 + each.seed / 5) for each in trials]
    for record in records:
        counts = count(create_model(record.model), 32, 3, ptflops=False)
        record.details = record.details.model_copy(update={"complexity": counts})
    one, two = rows(write_run(tmp_path, trials, records))
    assert (one.macs, one.macs_published, one.macs_as_published, one.macs_agrees) == (
        65_219_072, 71_800_000, 71_838_218, True,
    )  # fmt: skip
    assert (one.params_as_published, one.params_agrees, one.published_note) == (275_834, True, "")
    assert (one.top1_agrees, one.top1_source) == (
        True,
        "SplitMixer, arXiv:2207.10255 (README of github.com/aliborji/splitmixer)",
    )
    assert (two.params_agrees, two.top1_agrees) == (False, False)
    assert two.published_note == "params: the source cuts digits off where others round"


def test_timms_weights_are_compared_with_what_was_published_of_their_pretraining(tmp_path: Path) -> None:
    imagenet = {"image_size": 224, "in_chans": 3, "num_classes": 1000}
    hub = "/hub/models--timm--{}/snapshots/abc/model.safetensors"
    files = ["", hub.format("mixer_b16_224.goog_in21k_ft_in1k"), hub.format("someone_elses"), "mine.safetensors"]
    trials = [
        trial("mixer_b16", arguments=imagenet, dataset="imagenet", weights=file, id=f"w{index}")
        for index, file in enumerate(files)
    ]
    found = rows(write_run(tmp_path, trials, [done(each, 80.5) for each in trials]))
    assert [row.top1_published for row in found] == [76.44, 80.64, None, None]
    assert [row.top1_agrees for row in found] == [False, True, None, None]


def test_settings_that_a_suite_varies_have_rows_of_their_own(tmp_path: Path) -> None:
    longer = RECIPE.model_copy(update={"epochs": 50})  # the same name: the contents tell recipes apart
    trials = [
        trial(),
        trial(seed=1),
        trial(precision="bf16"),
        trial(infer_batch_size=64),
        trial(recipe=longer),
        trial(processes_per_node=2, id="two-processes"),
    ]
    run = write_run(tmp_path, trials, [done(each, 90.0 + index) for index, each in enumerate(trials)])
    assert [(row.n_seeds, row.top1_mean) for row in rows(run)] == [(2, 90.5), (1, 92), (1, 93), (1, 94), (1, 95)]


def test_devices_are_never_averaged(tmp_path: Path) -> None:
    trials = [trial(seed=seed) for seed in range(3)]
    records = [done(trials[0], 90.0, device="H100"), done(trials[1], 91.0, device="A100")]
    found = rows(write_run(tmp_path, trials, records))
    assert [(row.device, row.n_seeds, row.top1_mean) for row in found] == [("H100", 1, 90.0), ("A100", 1, 91.0)]


def test_a_trial_without_a_record_is_pending_or_running(tmp_path: Path) -> None:
    trials = [trial(seed=seed) for seed in range(5)]
    in_part = done(trials[2], 90.0, status="pending")
    run = write_run(tmp_path, trials, [in_part, failed(trials[3], "died"), done(trials[4], 90.0)])
    for each in trials[1:]:  # what died may leave its progress behind
        run.write_progress(each.id, Progress(part="accuracy", updated_at=0.0))
    assert [record.status for record in collect(run).records] == ["pending", "running", "running", "failed", "done"]
    (run.trial_folder(trials[1].id) / "progress.json").write_bytes(b"\xff")
    assert collect(run).records[1].status == "pending"


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"\xff\xfe\x00", b"[]", b"null", b'{"schema_version": 99}', b'{"schema_version": 1, "suite": 3}'],
)
def test_a_damaged_record_is_pending_flagged_and_listed(tmp_path: Path, damage: bytes) -> None:
    trials = [trial(seed=0), trial(seed=1)]
    run = write_run(tmp_path, trials, [done(each, 90.0) for each in trials])
    run.record_file(trials[0].id).write_bytes(damage)
    found = tables(run)
    assert found.results["status"].tolist() == ["pending", "done"]
    assert found.results["flags"].tolist() == ["damaged record", ""]
    assert len(found.damaged) == 1
    assert f"trials/{trials[0].id}/record.json" in found.damaged[0]
    assert str(tmp_path) not in found.damaged[0]
    assert found.groups[0].row.n_seeds == 1


def test_a_record_in_another_trials_folder_is_not_counted_twice(tmp_path: Path) -> None:
    trials = [trial(seed=0), trial(seed=1)]
    run = write_run(tmp_path, trials, [done(trials[0], 90.0)])
    run.record_file(trials[1].id).write_bytes(run.record_file(trials[0].id).read_bytes())
    assert [record.status for record in collect(run).records] == ["done", "pending"]
    assert "it is the record of" in collect(run).damaged[0]


def test_a_trial_whose_description_is_lost_lives_on_in_its_record(tmp_path: Path) -> None:
    trials = [trial(seed=0), trial(seed=1)]
    run = write_run(tmp_path, trials, [done(trials[0], 90.0)])
    for each in trials:
        (run.trial_folder(each.id) / "trial.json").write_text("{")
    found = collect(run)
    assert [record.trial_id for record in found.records] == [trials[0].id]
    assert len(found.damaged) == 2


def test_trials_no_longer_planned_are_flagged_and_out_of_the_summary(tmp_path: Path) -> None:
    trials = [trial(seed=seed) for seed in range(3)]
    run = write_run(tmp_path, trials, [done(each, 90.0 + each.seed, flags=["counters differ"]) for each in trials])
    run.write_plan("name: cifar\n", trials[:2])
    found = tables(run)
    assert found.results["flags"].tolist() == ["counters differ", "counters differ", "counters differ;not in plan"]
    assert found.groups[0].row.top1_mean == 90.5


def test_a_label_changed_in_the_suite_changes_for_records_already_made(tmp_path: Path) -> None:
    old, new = [trial(seed=0)], [trial(seed=0, label="I 2/3"), trial(seed=1, label="I 2/3")]
    run = write_run(tmp_path, old, [done(old[0], 90.0)])
    run.write_plan("name: cifar\n", new)
    run.write_record(done(new[1], 91.0))
    row = only_row(run)
    assert (row.label, row.n_seeds) == ("I 2/3", 2)


def test_a_part_still_to_be_measured_is_said(tmp_path: Path) -> None:
    part = trial(measure=("complexity", "accuracy"))
    run = write_run(
        tmp_path, [part], [done(part, 90.0, details=done(part, 90.0).details.model_copy(update={"throughput": None}))]
    )
    assert collect(run).records[0].flags == []
    run.write_plan("name: cifar\n", [trial(id=part.id)])
    assert collect(run).records[0].flags == [Flag(Kind.NO_THROUGHPUT)]


def test_a_diverged_accuracy_is_flagged_and_not_averaged(tmp_path: Path) -> None:
    trials = [trial(seed=0), trial(seed=1)]
    run = write_run(tmp_path, trials, [done(trials[0], 90.0), done(trials[1], float("nan"))])
    found = tables(run)
    assert found.groups[0].row.n_seeds == 1
    assert found.records[1].flags == [Flag(Kind.NOT_FINITE)]


def test_a_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match=r"not a run folder"):
        tables(Run(tmp_path))


# -- several runs together


def two_runs(folder: Path) -> tuple[Run, Run]:
    """The same suite on two machines; one trial of the second has failed, and its second seed is another."""
    ours, theirs = [trial(seed=0), trial(seed=1)], [trial(seed=0), trial(seed=2)]
    one = write_run(folder / "here/cifar", ours, [done(each, 90.0 + each.seed) for each in ours])
    records = [done(theirs[0], 95.0, device="H100"), failed(theirs[1], "died", device="H100")]
    return one, write_run(folder / "there/cifar", theirs, records, "name: cifar\nseeds: [0, 2]\n")


def test_runs_are_merged_with_each_row_marked_by_its_run_and_device(tmp_path: Path) -> None:
    one, other = two_runs(tmp_path)
    found = tables(one, other)
    assert found.results["run"].tolist() == ["here/cifar"] * 2 + ["there/cifar"] * 2
    assert found.results["trial_id"].tolist() == [*one.planned(), *other.planned()]
    assert found.results["top1"].fillna(0).tolist() == [90.0, 91.0, 95.0, 0.0], "a trial that both have stands twice"
    assert [(row.run, row.n_seeds, row.top1_mean, row.device) for row in (group.row for group in found.groups)] == [
        ("here/cifar", 2, 90.5, ENVIRONMENT.device),
        ("there/cifar", 1, 95.0, "H100"),
    ]
    assert found.counts == {"done": 3, "failed": 1, "running": 0, "pending": 0}
    assert [(source.name, source.suite, source.counts["done"]) for source in found.sources] == [
        ("here/cifar", "cifar", 2),
        ("there/cifar", "cifar", 1),
    ]
    assert found.suite == "cifar"
    assert found.suite_text == "# run here/cifar\nname: cifar\n\n# run there/cifar\nname: cifar\nseeds: [0, 2]\n"


def test_the_same_trial_on_the_same_device_is_not_averaged_over_runs(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name, [trial()], [done(trial(), top1)]) for name, top1 in (("a", 90.0), ("b", 92.0))]
    assert [(group.row.run, group.row.n_seeds, group.row.top1_mean) for group in tables(*runs).groups] == [
        ("a", 1, 90.0),
        ("b", 1, 92.0),
    ]


def test_one_run_is_marked_by_its_folders_name(tmp_path: Path) -> None:
    found = tables(full_run(tmp_path / "cifar"))
    assert set(found.results["run"]) == set(found.summary["run"]) == {"cifar"}
    assert found.suite_text.startswith("# mixbench run suites/cifar.yaml")


def test_damage_says_in_which_run_it_is(tmp_path: Path) -> None:
    one, other = two_runs(tmp_path)
    other.record_file(trial(seed=0).id).write_text("{")
    assert [text.split(": ")[0] for text in tables(one, other).damaged] == ["there/cifar"]


def test_a_run_given_twice_is_refused(tmp_path: Path) -> None:
    one, _ = two_runs(tmp_path)
    with pytest.raises(RequestError, match="is given twice"):
        tables(one, Run(tmp_path / "here/../here/cifar"))


def test_reading_changes_nothing(tmp_path: Path) -> None:
    run = full_run(tmp_path / "run")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    tables(run)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("module", "banned"),
    [
        ("mixbench.results.tables", ("torch", "submitit", "deepspeed", "pandas", "scipy", "matplotlib")),
        ("mixbench.report.write", ("torch", "submitit", "deepspeed")),
    ],
)
def test_reports_load_neither_torch_nor_submitit(module: str, banned: tuple[str, ...]) -> None:
    script = f"import sys, {module}; print(*({set(banned)!r} & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == ""
