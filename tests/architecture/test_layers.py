"""The import layers of pyproject.toml, held by import-linter, and proof that they would notice a breach."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import ROOT

LINTER = Path(sys.executable).with_name("lint-imports")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    return subprocess.run(
        [LINTER, "--no-cache"], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    shutil.copytree(ROOT / "mnist_dvc", tmp_path / "mnist_dvc", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_layers_are_kept(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 0, result.stdout
    assert "0 broken" in result.stdout


BREACHES = {
    "upwards": ("metrics.py", "from mnist_dvc.training import engine"),
    "sideways": ("augment.py", "from mnist_dvc.data import digits"),
    "a stage in a stage": ("pipeline/train.py", "from mnist_dvc.stages import evaluate"),
    "a stage below the stages": ("running/run.py", "from mnist_dvc.stages import trial"),
    "a network in a network": ("model/teacher.py", "from mnist_dvc.model import compact"),
    "the loop in the answers": ("training/teaching.py", "from mnist_dvc.training import engine"),
    "a report in a report": ("report/results.py", "from mnist_dvc.report import tables"),
    "torch at the bottom": ("files.py", "import torch"),
    "torch in what serves": ("serving.py", "from mnist_dvc.data import digits"),
    "torch in the table of answers": ("report/answers.py", "import torch"),
    "dvc": ("pipeline/prepare.py", "import dvc.api"),
    "no layer": ("newcomer.py", ""),
}


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_found(copy: Path, name: str) -> None:
    module, line = BREACHES[name]
    path = copy / "mnist_dvc" / module
    before = path.read_text(encoding="utf-8") if path.exists() else '"""New."""\n'
    path.write_text(f"{before}\n{line}\n", encoding="utf-8")
    assert lint(copy).returncode != 0
