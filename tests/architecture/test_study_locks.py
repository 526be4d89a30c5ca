"""The studies' results come from this code: each dvc.lock against the code, the params and the figures in git."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from helpers import ROOT
from ruamel.yaml import YAML

from mnist_dvc.paths import Paths
from mnist_dvc.study.summary import study_summary

if TYPE_CHECKING:
    from pathlib import Path

STUDIES = ("record", "default", "fast", "frontier")


def yaml(path: Path) -> Any:
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


def stages(study: str) -> dict[str, tuple[Path, dict[str, Any], dict[str, Any]]]:
    """Folder, definition and record of each stage of ``study``, a matrix under the name of each of its items."""
    folder = ROOT / "studies" / study
    defined, recorded = yaml(folder / "dvc.yaml")["stages"], yaml(folder / "dvc.lock")["stages"]
    return {
        name: (folder / defined[name.partition("@")[0]].get("wdir", ""), defined[name.partition("@")[0]], entry)
        for name, entry in recorded.items()
    }


def stale(folder: Path, definition: dict[str, Any], entry: dict[str, Any]) -> list[str]:
    """What of a stage's record is not what stands in git."""
    code = {path for path in definition["deps"] if "mnist_dvc/" in path}
    recorded = {item["path"]: item["md5"] for item in (*entry["deps"], *entry["outs"])}
    wrong = sorted(code ^ {path for path in recorded if "mnist_dvc/" in path})
    for path, digest in recorded.items():
        file = folder / path
        tracked = path in code or (path.endswith(".json") and "data/" not in path)
        if tracked and hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() != digest:
            wrong.append(path)
    params = yaml(folder / "params.yaml")
    for key, value in entry.get("params", {}).get("params.yaml", {}).items():
        section, _, inner = key.partition(".")
        if value != (params[section][inner] if inner else params[section]):
            wrong.append(key)
    return wrong


@pytest.mark.parametrize("study", STUDIES)
def test_every_stage_was_run_by_this_code_with_these_params(study: str) -> None:
    found = {name: stale(*stage) for name, stage in stages(study).items()}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}, f"run `dvc repro` in studies/{study}"


def test_a_stale_study_would_be_found() -> None:
    folder, definition, entry = stages("fast")["trial@1"]
    deps = [item | ({"md5": "0" * 32} if item["path"].endswith("augment.py") else {}) for item in entry["deps"]]
    other = {"params.yaml": entry["params"]["params.yaml"] | {"model": {"name": "compact", "dropout": 0.0}}}
    assert stale(folder, definition, entry) == []
    assert stale(folder, definition, entry | {"deps": deps}) == ["../../mnist_dvc/augment.py"]
    assert stale(folder, definition, entry | {"params": other}) == ["model"]
    assert stale(folder, definition | {"deps": definition["deps"][1:]}, entry) == []
    assert stale(folder, definition | {"deps": definition["deps"][:-1]}, entry) == [definition["deps"][-1]]


@pytest.mark.parametrize("study", STUDIES)
def test_summary_is_what_the_figures_of_the_trials_come_to(study: str, tmp_path: Path) -> None:
    """Summed up anew from git, to the byte: no model is needed for it."""
    copy, folder = tmp_path / study, ROOT / "studies" / study
    for path in folder.glob("trials/*/*/*.json"):
        target = copy / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    study_summary(Paths(copy))
    assert (copy / "summary.json").read_bytes() == (folder / "summary.json").read_bytes()
