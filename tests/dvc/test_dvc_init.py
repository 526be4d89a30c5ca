"""A folder that ``init`` has made, driven by DVC, with a copy of the package in place of an installed one."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from helpers import ROOT, write_params
from repository import checked
from warm import first_programs

pytestmark = pytest.mark.pipeline

SMALL = {"data": {"source": "sample"}, "model": {"name": "compact-1k"}}


class Project:
    """A folder without git, beside a package that it may be given another version of."""

    def __init__(self, around: Path) -> None:
        self.package = around / "site/mnist_dvc"
        self.folder = around / "my digits"
        shutil.copytree(ROOT / "mnist_dvc", self.package, ignore=shutil.ignore_patterns("__pycache__"))
        self.run("mnist-dvc", "init", self.folder.name, within=around)

    def run(self, *command: str, within: Path | None = None) -> str:
        path = os.pathsep.join([*first_programs(), str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = os.environ | {"PATH": path, "PYTHONPATH": str(self.package.parent), "COLUMNS": "250"}
        return checked(command, within or self.folder, environment).stdout

    def stages_run(self) -> list[str]:
        """What `dvc repro` did not skip."""
        lines = self.run("dvc", "repro").splitlines()
        return [line.split("'")[1] for line in lines if line.startswith("Running stage ")]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """One project for all tests of this file, the pipeline run once."""
    made = Project(tmp_path_factory.mktemp("anywhere"))
    write_params(made.folder, SMALL, epochs=1)
    assert made.stages_run() == ["code", "prepare", "train", "evaluate", "report", "export"]
    return made


def test_pipeline_runs_without_a_clone_and_without_git(project: Project) -> None:
    for name in ("models/model.safetensors", "models/model.onnx", "reports/report.html", "reports/test/metrics.json"):
        assert (project.folder / name).is_file()
    told = json.loads(project.run("dvc", "metrics", "show", "--json"))
    assert told[""]["data"]["reports/metrics.json"]["data"]["dataset"] == "mnist-5k"
    assert not (project.folder / ".git").exists()


def test_nothing_but_the_code_is_looked_at_again(project: Project) -> None:
    assert project.stages_run() == ["code"]
    assert project.run("dvc", "status").split() == ["code:", "always", "changed"]


def test_initialising_again_changes_nothing(project: Project) -> None:
    before = (project.folder / "dvc.yaml").read_bytes()
    assert "Nothing to write" in project.run("mnist-dvc", "init")
    assert (project.folder / "dvc.yaml").read_bytes() == before
    assert project.stages_run() == ["code"]


@pytest.mark.parametrize(
    ("file", "stages"),
    [
        ("report/page.py", ["code", "report"]),
        ("report/model_card.md.j2", ["code", "export"]),
        ("image/sheet.py", ["code"]),
    ],
)
def test_another_version_of_the_package_runs_what_it_concerns(project: Project, file: str, stages: list[str]) -> None:
    path = project.package / file
    path.write_text(path.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert project.stages_run() == stages
    assert project.stages_run() == ["code"]


def test_params_run_what_they_concern(project: Project) -> None:
    path = project.folder / "params.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("mistakes: 9", "mistakes: 8"), encoding="utf-8")
    assert project.stages_run() == ["code", "evaluate"]
