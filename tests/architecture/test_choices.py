"""What recipes were chosen by: candidates of this code, all that are named, on images that are no test images."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import pytest
from deciding import deciding, listed
from helpers import ROOT
from ruamel.yaml import YAML

from mnist_dvc.model import NETWORKS
from mnist_dvc.params import load_params
from mnist_dvc.study.results import STUDIES, rendered

if TYPE_CHECKING:
    from pathlib import Path

STUDY = ROOT / "studies/choices"


def yaml(name: str) -> Any:
    return YAML(typ="safe", pure=True).load((STUDY / name).read_text(encoding="utf-8"))


CANDIDATES: list[dict[str, str]] = yaml("candidates.yaml")["candidates"]
STAGE: dict[str, Any] = yaml("dvc.yaml")["stages"]["candidate"]
RECORDED = {name: entry for name, entry in yaml("dvc.lock")["stages"].items() if name.startswith("candidate@")}


def test_every_candidate_was_tried_with_every_seed_and_no_other_is_shown() -> None:
    wanted = {(c["question"], c["recipe"], c["network"], s) for c in CANDIDATES for s in STAGE["matrix"]["seed"]}
    told = [json.loads(path.read_text("utf-8")) for path in STUDY.glob("candidates/*/*/*/metrics.json")]
    found = [(row["question"], row["recipe"], row["network"], row["seed"]) for row in told]
    assert sorted(found) == sorted(wanted)
    assert len(STAGE["matrix"]["seed"]) >= 3
    assert {row["images"] for row in told} == {20_000}


def test_page_shows_them() -> None:
    page = rendered(ROOT)[ROOT / "docs/results.md"].decode()
    for candidate in CANDIDATES:
        assert f"| {candidate['network']} | {STAGE['matrix']['seed'][0]} | {candidate['recipe']} | 20000 |" in page


def test_candidates_hold_out_writers_of_their_own_and_read_no_test_image() -> None:
    data = load_params(STUDY / "params.yaml").data
    assert (data.validation, data.holdout) == (20_000, "block")
    assert STAGE["cmd"].startswith("python -m mnist_dvc study candidate ")
    assert "choices" not in STUDIES


@pytest.mark.parametrize("network", sorted({candidate["network"] for candidate in CANDIDATES}))
def test_candidate_depends_on_exactly_the_modules_that_decide_its_numbers(network: str) -> None:
    deps = [dependency.replace("${item.candidate.network}", network) for dependency in STAGE["deps"]]
    assert network in NETWORKS
    assert listed({"deps": deps}) == deciding("trial", network) - {"training.teaching"}


def stale(entry: dict[str, Any]) -> list[str]:
    """What of a candidate's record is not what stands in git."""
    code = [item for item in entry["deps"] if "mnist_dvc/" in item["path"]]
    files = [(STUDY / item["path"], item["md5"]) for item in (*code, *entry["outs"])]
    return [str(path) for path, md5 in files if digest(path) != md5]


def digest(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()


def test_every_candidate_was_trained_by_this_code() -> None:
    assert len(RECORDED) == len(CANDIDATES) * len(STAGE["matrix"]["seed"])
    assert {name: wrong for name, entry in RECORDED.items() if (wrong := stale(entry))} == {}, "run `dvc repro` there"


def test_a_stale_candidate_would_be_found() -> None:
    entry = next(iter(RECORDED.values()))
    deps = [item | ({"md5": "0" * 32} if item["path"].endswith("engine.py") else {}) for item in entry["deps"]]
    assert stale(entry) == []
    assert [path.endswith("training/engine.py") for path in stale(entry | {"deps": deps})] == [True]
