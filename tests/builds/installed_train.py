"""The wheel with the extra `train`, outside the repository: five epochs on the bundled digits; `nox -s wheel`."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = Path(os.environ["MNIST_DVC_INSTALLED"])
CHANGES = {"source": "sample", "epochs": "5"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that held a params.yaml and nothing else, after the five stages."""
    folder = tmp_path_factory.mktemp("elsewhere")
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    for key, value in CHANGES.items():
        text, count = re.subn(rf"^(  {key}:) \S+", rf"\1 {value}", text, flags=re.MULTILINE)
        assert count == 1
    (folder / "params.yaml").write_text(text, encoding="utf-8")
    (program,) = ENVIRONMENT.glob("[Sb]*/mnist-dvc*")
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "COV_"))}
    for stage in ("prepare", "train", "evaluate", "report", "export"):
        result = subprocess.run([program, stage], cwd=folder, env=plain, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{stage}: {result.stdout}{result.stderr}"
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
