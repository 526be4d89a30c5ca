"""The studies against the code: what they depend on, what they promise, and what their summaries say."""

from __future__ import annotations

import json
from typing import Any

import pytest
from deciding import GRAPH, TELLING, deciding, is_telling, listed
from helpers import ROOT, read_csv
from ruamel.yaml import YAML

from mnist_dvc.description import BUDGET
from mnist_dvc.model import NETWORKS
from mnist_dvc.params import load_params

STUDIES = ("record", "default", "fast", "frontier")
LEAST_SEEDS = {"record": 5, "default": 5, "fast": 10, "frontier": 3}


def pipeline(study: str) -> dict[str, Any]:
    loaded = YAML(typ="safe", pure=True).load((ROOT / f"studies/{study}/dvc.yaml").read_text("utf-8"))
    stages: dict[str, Any] = loaded["stages"]
    return stages


@pytest.mark.parametrize("study", STUDIES)
def test_trial_depends_on_exactly_the_modules_that_decide_its_numbers(study: str) -> None:
    trial, params = pipeline(study)["trial"], load_params(ROOT / f"studies/{study}/params.yaml")
    expected = deciding("trial", params.model.name)
    if not params.train.distillation:
        expected -= {"training.teaching"}
    assert listed(trial) == expected


@pytest.mark.parametrize("study", ["record", "taught"])
def test_teachers_and_their_answers_depend_on_the_modules_that_decide_them(study: str) -> None:
    stages = pipeline(study)
    assert listed(stages["teacher"]) == deciding("trial", "teacher") - {"metrics", "training.teaching"}
    assert listed(stages["teach"]) == deciding("teach", "teacher") | {"study.teach", "study.ensemble"}


def test_the_check_of_dependencies_can_fail() -> None:
    assert {"training.engine", "augment", "model.blocks", "model.sprint"} <= deciding("trial", "sprint")
    assert "model.reference" not in deciding("trial", "sprint")
    assert deciding("trial", "sprint") ^ deciding("trial", "compact-1k") == {"model.sprint", "model.compact"}
    assert not is_telling("model.compact")


def test_every_telling_module_is_there() -> None:
    """Else a module that takes an old name back would be passed over unseen."""
    modules = {name.partition(".")[2] for name in GRAPH.modules}
    assert [name for name in TELLING if name not in modules] == []


@pytest.mark.parametrize("study", STUDIES)
def test_every_dependency_in_the_repository_is_there(study: str) -> None:
    for name, stage in pipeline(study).items():
        folder = ROOT / "studies" / study / stage.get("wdir", "")
        code = [dependency for dependency in stage["deps"] if "mnist_dvc/" in dependency]
        assert code or name == "summary"
        assert all((folder / file).is_file() for file in code), name


@pytest.mark.parametrize("study", STUDIES)
def test_recipe_holds_the_protocol(study: str) -> None:
    params, trial = load_params(ROOT / f"studies/{study}/params.yaml"), pipeline(study)["trial"]
    assert params.data.validation == 0
    assert params.model.name in NETWORKS
    assert len(trial["matrix"]["seed"]) >= LEAST_SEEDS[study]
    assert len(set(trial["matrix"]["seed"])) == len(trial["matrix"]["seed"])
    assert set(trial["matrix"].get("network", [])) <= set(NETWORKS)


def test_default_study_trains_what_the_main_pipeline_trains() -> None:
    main, study = load_params(ROOT / "params.yaml"), load_params(ROOT / "studies/default/params.yaml")
    assert (study.model, study.train) == (main.model, main.train)


def test_students_share_answers_about_distortions_that_the_teachers_have_learnt() -> None:
    teacher, *students = (
        load_params(ROOT / f"studies/{folder}/params.yaml") for folder in ("record/teacher", "record", "frontier")
    )
    assert {student.data.validation for student in (teacher, *students)} == {0}
    assert students[0].train.augment == students[1].train.augment
    learnt, asked = teacher.train.augment.model_dump(), students[0].train.augment.model_dump()
    assert all(learnt[kind] >= asked[kind] for kind in asked)


def summary(study: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((ROOT / f"studies/{study}/summary.json").read_text(encoding="utf-8"))
    return loaded


@pytest.mark.parametrize("study", STUDIES)
def test_summary_has_every_seed_and_nothing_else(study: str) -> None:
    matrix = pipeline(study)["trial"]["matrix"]
    points = summary(study).get("points", [summary(study)])
    assert sorted(point["network"] for point in points) == sorted(
        matrix.get("network", [load_params(ROOT / f"studies/{study}/params.yaml").model.name])
    )
    for point in points:
        assert point["seeds"] == matrix["seed"]
        assert point["dataset"] == "mnist"
        assert point["parameters"] < BUDGET
        for seed, accuracy in zip(point["seeds"], point["accuracies"], strict=True):
            folder = ROOT / f"studies/{study}/trials/{point['network']}/{seed}"
            assert json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["accuracy"] == accuracy


def earlier_means() -> dict[tuple[str, str, str], str]:
    """Mean accuracy, as the protocol writes it, of each network of each earlier run."""
    seeds: dict[tuple[str, str, str], list[float]] = {}
    for row in read_csv(ROOT / "docs/earlier.csv"):
        seeds.setdefault((row["study"], row["run"], row["network"]), []).append(float(row["accuracy"]))
    return {run: f"{100 * sum(accuracies) / len(accuracies):.3f} %" for run, accuracies in seeds.items()}


def test_protocol_tells_the_earlier_readings_as_they_were() -> None:
    told = " ".join((ROOT / "docs/protocol.md").read_text(encoding="utf-8").split())
    means = earlier_means()
    networks = (("record", "compact"), ("default", "reference"), ("fast", "sprint"), ("frontier", "compact"))
    record, *others = (means[study, "1", network] for study, network in networks)
    assert f"came to {record} over its five seeds" in told
    assert f"(before: {others[0]}, {others[1]}, and {others[2]} for `compact`)" in told
    record, *others = (means[study, "2", network] for study, network in networks)
    closed = f"{record} for `record`, {others[0]} for `default`, {others[1]} for `fast`, {others[2]} for the `compact`"
    assert closed in told
