"""The import layers of pyproject.toml, held by import-linter, and proof that they would notice a breach."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from helpers import ROOT

LINTER = Path(sys.executable).with_name("lint-imports")


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "250"}  # a contract's name on one line
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


NEW_NETWORK, NEW_STAGE = "model/newcomer.py", "pipeline/newcomer.py"
BREACHES = {
    "upwards": ("One direction", "metrics.py", "from mnist_dvc.training import engine"),
    "sideways": ("One direction", "augment.py", "from mnist_dvc.data import digits"),
    "no layer": ("One direction", "newcomer.py", ""),
    "image parts": ("Image: a sheet", "image/lines.py", "from mnist_dvc.image import pieces"),
    "pipeline imports study": ("One direction", "pipeline/train.py", "from mnist_dvc.study import trial"),
    "study imports pipeline": ("One direction", "study/trial.py", "from mnist_dvc.pipeline import train"),
    "running imports pipeline": ("One direction", "running/run.py", "from mnist_dvc.pipeline import train"),
    "running imports study": ("One direction", "running/inputs.py", "from mnist_dvc.study import trial"),
    "the loop knows paths": ("One direction", "training/engine.py", "from mnist_dvc import paths"),
    "a model file knows the source files": ("One direction", "model/weights.py", "from mnist_dvc import codebase"),
    "paths in the source files": ("One direction", "codebase.py", "from mnist_dvc import paths"),
    "a stage in a stage": ("Pipeline", "pipeline/train.py", "from mnist_dvc.pipeline import evaluate"),
    "a stage in a new stage": ("Pipeline", NEW_STAGE, "from mnist_dvc.pipeline import evaluate"),
    "a new stage in a stage": ("Pipeline", "pipeline/train.py", "from mnist_dvc.pipeline import summary"),
    "a stage in a stage of a study": ("Study", "study/trial.py", "from mnist_dvc.study import teach"),
    "the demo in a stage": ("One direction", "pipeline/predict.py", "from mnist_dvc.demo import app"),
    "a stage in the demo": ("One direction", "demo/app.py", "from mnist_dvc.pipeline import predict"),
    "the server in what it serves": ("Demo", "demo/app.py", "from mnist_dvc.demo import server"),
    "no layer in demo": ("Demo", "demo/newcomer.py", ""),
    "a record knows a stage": ("Study", "study/records.py", "from mnist_dvc.study import summary"),
    "no layer in study": ("Study", "study/newcomer.py", ""),
    "snapshots know the training": ("Running", "running/resumable.py", "from mnist_dvc.running import run"),
    "inputs know signals": ("Running", "running/inputs.py", "from mnist_dvc.running import interruption"),
    "no layer in running": ("Running", "running/newcomer.py", ""),
    "a network in a network": ("Model", "model/teacher.py", "from mnist_dvc.model import compact"),
    "a network in a new network": ("Model", NEW_NETWORK, "from mnist_dvc.model.compact import CompactNet"),
    "the registry in a new network": ("Model", NEW_NETWORK, "from mnist_dvc.model import NETWORKS"),
    "the whole registry in a new network": ("Model", NEW_NETWORK, "import mnist_dvc.model"),
    "model files in a new network": ("Model", NEW_NETWORK, "from mnist_dvc.model.weights import Card"),
    "a description in a new network": ("One direction", NEW_NETWORK, "from mnist_dvc import describe"),
    "a network in the blocks": ("Model", "model/blocks.py", "from mnist_dvc.model import sprint"),
    "the registry in the blocks": ("Model", "model/blocks.py", "from mnist_dvc.model import NETWORKS"),
    "model files in the blocks": ("Model", "model/blocks.py", "from mnist_dvc.model import weights"),
    "model files know a network": ("Model", "model/weights.py", "from mnist_dvc.model import compact"),
    "a description knows model files": ("Describing", "describe.py", "from mnist_dvc.model import weights"),
    "a description knows digits": ("Describing", "describe.py", "from mnist_dvc.data import digits"),
    "the loop in the answers": ("Training", "training/teaching.py", "from mnist_dvc.training import engine"),
    "no layer in training": ("Training", "training/newcomer.py", ""),
    "prepared digits in the splits": ("Data", "data/splits.py", "from mnist_dvc.data import prepared"),
    "no layer in data": ("Data", "data/newcomer.py", ""),
    "a report in a report": ("Report", "report/results.py", "from mnist_dvc.report import tables"),
    "no layer in report": ("Report", "report/newcomer.py", ""),
    "torch at the bottom": ("Errors", "files.py", "import torch"),
    "torch in what serves": ("Errors", "serving.py", "from mnist_dvc.data import digits"),
    "torch in the table of answers": ("Errors", "report/answers.py", "import torch"),
    "torch in what was read": ("Errors", "running/inputs.py", "from mnist_dvc import runtime"),
    "torch in a description": ("Errors", "description.py", "import torch"),
    "a classifier knows stages": ("One direction", "classifier.py", "from mnist_dvc.running import published"),
    "dvc": ("DVC", "pipeline/prepare.py", "import dvc.api"),
}
"""The contract that is broken, by the beginning of its name; the module, new or not, and the line that breaks it."""


def broken(copy: Path) -> list[str]:
    """Names of the contracts that the package in ``copy`` breaks."""
    return re.findall(r"^(.+) BROKEN", lint(copy).stdout, re.MULTILINE)


@pytest.mark.parametrize("name", BREACHES)
def test_a_breach_is_found(copy: Path, name: str) -> None:
    contract, module, line = BREACHES[name]
    path = copy / "mnist_dvc" / module
    before = path.read_text(encoding="utf-8") if path.exists() else '"""New."""\n'
    path.write_text(f"{before}\n{line}\n", encoding="utf-8")
    assert [found for found in broken(copy) if found.startswith(contract)]


def test_new_network_on_blocks_and_new_stage_on_what_lies_below_need_no_layer(copy: Path) -> None:
    """The twin of the breaches by newcomers: it is the line that is refused, not the file."""
    (copy / "mnist_dvc" / NEW_NETWORK).write_text('"""New."""\n\nfrom mnist_dvc.model.blocks import Dropout\n')
    (copy / "mnist_dvc" / NEW_STAGE).write_text('"""New."""\n\nfrom mnist_dvc.running import run\n')
    assert broken(copy) == []


def test_every_contract_is_proved_by_a_breach() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    names = [contract["name"] for contract in contracts]
    proved = {name for name in names for contract, _, _ in BREACHES.values() if name.startswith(contract)}
    assert [name for name in names if name not in proved] == []


def test_a_folder_of_modules_has_a_contract_of_its_own() -> None:
    """Else its modules could import each other as they like: a folder counts as one layer among the others."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    held = {name for contract in contracts for name in contract.get("containers", contract.get("modules", []))}
    folders = {path.parent.name for path in (ROOT / "mnist_dvc").glob("*/*.py") if path.name != "__init__.py"}
    assert {f"mnist_dvc.{folder}" for folder in folders} == {name.removesuffix(".*") for name in held} - {"mnist_dvc"}
