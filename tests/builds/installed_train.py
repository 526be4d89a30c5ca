"""The wheel with the extra `train`, outside the repository: `init`, `dvc repro` on bundled digits; `nox -s wheel`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ENVIRONMENT = Path(os.environ["MNIST_DVC_INSTALLED"])
CHANGES = {"source": "sample", "epochs": "5"}
STAGES = ("prepare", "train", "evaluate", "report", "export")


def run(folder: Path, name: str, *arguments: str) -> str:
    """What a command prints in ``folder``, the environment active and nothing of the caller's Python in sight."""
    (program,) = ENVIRONMENT.glob("[Sb]*/mnist-dvc*")
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "COV_"))}
    active = plain | {"PATH": f"{program.parent}{os.pathsep}{plain['PATH']}"}
    command = [shutil.which(name, path=active["PATH"]) or name, *arguments]
    result = subprocess.run(command, cwd=folder, env=active, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        raise RuntimeError(f"{command}: {result.stdout}{result.stderr}")
    return result.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that was empty, after `init`, an edit of params.yaml and `dvc repro`."""
    folder = tmp_path_factory.mktemp("elsewhere")
    run(folder, "mnist-dvc", "init")
    text = (folder / "params.yaml").read_text(encoding="utf-8")
    for key, value in CHANGES.items():
        text, count = re.subn(rf"^(  {key}:) \S+", rf"\1 {value}", text, flags=re.MULTILINE)
        assert count == 1
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    told = run(folder, "dvc", "repro")
    assert re.findall(r"^Running stage '(\w+)'", told, re.MULTILINE) == ["code", *STAGES]
    return folder


def test_five_epochs_give_a_model_that_has_learned(trained: Path) -> None:
    metrics = json.loads((trained / "reports/test/metrics.json").read_text(encoding="utf-8"))
    print(f"five epochs on the sample: test accuracy {metrics['accuracy']}")  # noqa: T201  (a figure to quote)
    assert metrics["dataset"] == "mnist-5k"
    assert metrics["accuracy"] > 0.5


def test_every_file_that_the_readme_names_is_there(trained: Path) -> None:
    names = ["models/model.safetensors", "models/checkpoint.pth", "models/model.onnx", "reports/train/history.csv"]
    assert [name for name in names if not (trained / name).is_file()] == []
    assert len(list((trained / "checkpoints").glob("mnist_model_*_acc*.pth"))) == 1


def test_stages_by_hand_give_the_same_files(trained: Path) -> None:
    for stage in STAGES:
        if stage != "train":
            run(trained, "mnist-dvc", stage)
    assert run(trained, "dvc", "status").split() == ["code:", "always", "changed"]
