"""What answers pictures from an ONNX file starts in a moment: it loads no PyTorch, in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


def loaded(*modules: str, cwd: Path) -> set[str]:
    """Top-level modules that a child interpreter has loaded after it imported ``modules``."""
    script = f"import sys, {', '.join(modules)}\nprint(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], cwd=cwd, capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in result.stdout.split()}


def test_predict_and_what_serves_it_load_no_torch(tmp_path: Path) -> None:
    modules = loaded("mnist_dvc.pipeline.predict", "mnist_dvc.serving", cwd=tmp_path)
    assert "onnxruntime" in modules
    assert not modules & {"torch", "torchvision", "safetensors"}


@pytest.mark.parametrize("module", ["mnist_dvc.pipeline.export", "mnist_dvc.model.weights"])
def test_the_check_of_what_is_loaded_can_fail(tmp_path: Path, module: str) -> None:
    assert "torch" in loaded("mnist_dvc.pipeline.predict", module, cwd=tmp_path)
