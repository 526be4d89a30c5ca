"""What recipes were chosen by: candidates of this code, all that are named, on images that are no test images."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from deciding import NETWORK_FILES, deciding, listed
from helpers import ROOT
from ruamel.yaml import YAML

from mnist_dvc.model import NETWORKS
from mnist_dvc.params import load_params
from mnist_dvc.study.results import COMPARED, STUDIES, rendered

if TYPE_CHECKING:
    from pathlib import Path

TEACHING = {"model.teacher", "study.ensemble", "study.fidelity", "training.teaching"}
"""What decides a student's numbers and its distance from its teachers, beside what decides those of any candidate."""
MODULE = {"choices": "${item.candidate.network}", "taught": "${item.candidate.module}"}


class Study:
    """A folder of candidates."""

    def __init__(self, name: str) -> None:
        self.folder = ROOT / "studies" / name
        self.candidates: list[dict[str, str]] = self.yaml("candidates.yaml")["candidates"]
        self.stages: dict[str, Any] = self.yaml("dvc.yaml")["stages"]
        self.seeds: list[int] = self.stages["candidate"]["matrix"]["seed"]
        recorded = self.yaml("dvc.lock")["stages"].items()
        self.recorded: dict[str, Any] = {stage: entry for stage, entry in recorded if stage.startswith("candidate@")}

    def yaml(self, name: str) -> Any:
        return YAML(typ="safe", pure=True).load((self.folder / name).read_text(encoding="utf-8"))

    def stale(self, entry: dict[str, Any]) -> list[str]:
        """What of a candidate's record is not what stands in git."""
        code = [item for item in entry["deps"] if "mnist_dvc/" in item["path"]]
        files = [(self.folder / item["path"], item["md5"]) for item in (*code, *entry["outs"])]
        return [str(path) for path, md5 in files if digest(path) != md5]


ALL = {name: Study(name) for name in COMPARED}


@pytest.fixture(params=COMPARED)
def study(request: pytest.FixtureRequest) -> Study:
    return ALL[request.param]


def test_every_candidate_was_tried_with_every_seed_and_no_other_is_shown(study: Study) -> None:
    wanted = {(c["question"], c["recipe"], c["network"], s) for c in study.candidates for s in study.seeds}
    told = [json.loads(path.read_text("utf-8")) for path in study.folder.glob("candidates/*/*/*/metrics.json")]
    found = [(row["question"], row["recipe"], row["network"], row["seed"]) for row in told]
    assert sorted(found) == sorted(wanted)
    assert len(study.seeds) >= 3
    assert {row["images"] for row in told} == {20_000}


def test_page_shows_them(study: Study) -> None:
    page = rendered(ROOT)[ROOT / "docs/results.md"].decode()
    for candidate in study.candidates:
        assert f"| {candidate['network']} | {study.seeds[0]} | {candidate['recipe']} | 20000 |" in page


def test_candidates_hold_out_writers_of_their_own_and_read_no_test_image(study: Study) -> None:
    data = load_params(study.folder / "params.yaml").data
    assert (data.validation, data.holdout) == (20_000, "block")
    assert study.stages["candidate"]["cmd"].startswith("python -m mnist_dvc study candidate ")
    assert study.folder.name not in STUDIES


def test_students_and_teachers_hold_out_the_same_images() -> None:
    folder = ALL["taught"].folder
    student, teacher = load_params(folder / "params.yaml"), load_params(folder / "teacher/params.yaml")
    assert student.data == teacher.data


NETWORKS_TRIED = {(name, candidate["network"]) for name, study in ALL.items() for candidate in study.candidates}


@pytest.mark.parametrize(("name", "network"), sorted(NETWORKS_TRIED))
def test_candidate_depends_on_exactly_the_modules_that_decide_its_numbers(name: str, network: str) -> None:
    deps = [
        file.replace(MODULE[name], NETWORK_FILES[network].removeprefix("model."))
        for file in ALL[name].stages["candidate"]["deps"]
    ]
    assert network in NETWORKS
    expected = deciding("trial", network) - {"training.teaching"} | (TEACHING if name == "taught" else set())
    assert listed({"deps": deps}) == expected


def test_candidates_name_the_module_of_their_network() -> None:
    for candidate in ALL["taught"].candidates:
        assert f"model.{candidate['module']}" == NETWORK_FILES[candidate["network"]]


def digest(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_every_candidate_was_trained_by_this_code(study: Study) -> None:
    assert len(study.recorded) == len(study.candidates) * len(study.seeds)
    stale = {name: wrong for name, entry in study.recorded.items() if (wrong := study.stale(entry))}
    assert stale == {}, "run `dvc repro` there"


def test_a_stale_candidate_would_be_found(study: Study) -> None:
    entry = next(iter(study.recorded.values()))
    deps = [item | ({"md5": "0" * 32} if item["path"].endswith("engine.py") else {}) for item in entry["deps"]]
    assert study.stale(entry) == []
    assert [path.endswith("training/engine.py") for path in study.stale(entry | {"deps": deps})] == [True]
