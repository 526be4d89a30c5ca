"""The base package without its extras: what works, and in which words the rest says what it needs."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from graphs import changed
from helpers import write_params
from PIL import Image

from mnist_dvc import program
from mnist_dvc.describe import describe
from mnist_dvc.description import description_json
from mnist_dvc.model import NETWORKS
from mnist_dvc.pretrained import RELEASED

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

EXTRA = (
    "torch",
    "torchvision",
    "sklearn",
    "matplotlib",
    "onnxscript",
    "safetensors",
    "mlxtend",
    "dvc",
    "jinja2",
)
WITHOUT = "import sys\nsys.modules.update(dict.fromkeys({!r}))\nfrom mnist_dvc.program import main\nmain()"
"""A module that is None in there is one that is not installed."""


def run(cwd: Path, *arguments: str, missing: Iterable[str] = EXTRA) -> subprocess.CompletedProcess[str]:
    """The command where packages are ``missing``."""
    script = WITHOUT.format(tuple(missing))
    return subprocess.run(
        [sys.executable, "-c", script, *arguments], cwd=cwd, capture_output=True, text=True, check=False
    )


@pytest.fixture
def home(tmp_path: Path) -> Path:
    write_params(tmp_path)
    pixels_HW = np.full((40, 40), 255, np.uint8)
    pixels_HW[6:34, 18:22] = 0
    Image.fromarray(pixels_HW).save(tmp_path / "one.png")
    return tmp_path


def test_pictures_are_answered(home: Path) -> None:
    result = run(home, "predict", "--json", "one.png")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["digit"] == 1
    by_name = run(home, "predict", "--model", "compact", "--json", "one.png")
    assert (by_name.stdout, by_name.stderr) == (result.stdout, "")


def test_onnx_file_of_anybody_is_looked_into_and_answers(home: Path) -> None:
    (home / "own.onnx").write_bytes(changed(lambda _: None))
    result = run(home, "predict", "--json", "--model", "own.onnx", "one.png")
    assert (result.returncode, json.loads(result.stdout)["digit"]) == (0, 1), result.stderr


@pytest.mark.parametrize("network", RELEASED)
def test_released_networks_are_described_as_with_torch(home: Path, network: str) -> None:
    result = run(home, "summary", "--json", "--model", network)
    assert result.returncode == 0, result.stderr
    expected = description_json(describe(network, NETWORKS[network](0.0)))
    assert json.loads(result.stdout) == json.loads(json.dumps(expected))


COMMANDS = {
    "train": ["train"],
    "evaluate": ["evaluate"],
    "export": ["export"],
    "report": ["report"],
    "summary of another network": ["summary", "--model", "sprint"],
    "predict with a model file": ["predict", "--model", "x.safetensors", "one.png"],
    "study trial": ["study", "trial", "--seed", "1"],
    "study results": ["study", "results"],
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=COMMANDS)
def test_other_commands_say_what_to_install_and_end_in_69(home: Path, arguments: list[str]) -> None:
    before = {path for path in home.rglob("*") if path.is_file()}
    result = run(home, *arguments)
    assert result.returncode == 69
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("mnist-dvc: ")
    assert line.endswith(': got no such package, expected the extra "train": python -m pip install "mnist-dvc[train]"')
    assert {path for path in home.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("package", ["starlette", "uvicorn", "anyio", "click", "h11"])
def test_demo_names_its_own_extra(home: Path, package: str) -> None:
    result = run(home, "demo", missing=(*EXTRA, package))
    assert (result.returncode, result.stdout) == (69, "")
    words = 'got no such package, expected the extra "demo": python -m pip install "mnist-dvc[demo]"'
    assert result.stderr == f"mnist-dvc: {package}: {words}\n"


def test_demo_needs_no_other_extra_so_the_test_above_can_fail(home: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = run(home, "demo", "--port", str(taken.getsockname()[1]))
    assert (result.returncode, "in use" in result.stderr) == (74, True)


def test_commands_get_further_where_the_extra_is_there_so_the_test_above_can_fail(home: Path) -> None:
    result = run(home, "evaluate", missing=())
    assert (result.returncode, "extra" in result.stderr) == (65, False)


def test_module_of_our_own_that_is_missing_is_a_defect(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app(prog_name: str) -> None:
        raise ModuleNotFoundError(f"No module named {prog_name}", name="mnist_dvc.nowhere")

    monkeypatch.setattr(program, "app", app)
    assert program._run() == 70
    assert "internal error: ModuleNotFoundError" in capsys.readouterr().err
