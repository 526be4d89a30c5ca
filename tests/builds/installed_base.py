"""The wheel alone in an environment outside the repository, used as by a reader of the README; `nox -s wheel`."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = Path(os.environ["MNIST_DVC_INSTALLED"])
LARGEST = 400
"""MB of the environment, Python itself left out."""


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command, in `folder`, with nothing of the repository or of the caller's Python in sight."""
    (program,) = ENVIRONMENT.glob("[Sb]*/mnist-dvc*")
    plain = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "COV_"))}
    return subprocess.run([program, *arguments], cwd=folder, env=plain, capture_output=True, text=True, check=False)


@pytest.fixture
def seven(tmp_path: Path) -> Path:
    """A drawn 7, dark on light, as on paper."""
    picture = Image.new("L", (120, 120), 255)
    ImageDraw.Draw(picture).line([(30, 25), (90, 25), (55, 100)], fill=0, width=10, joint="curve")
    picture.save(tmp_path / "seven.png")
    return tmp_path


def megabytes() -> float:
    """What the environment takes, each file counted once."""
    files = [path for path in ENVIRONMENT.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(path.stat().st_size for path in files) / 1e6


def test_the_environment_is_light() -> None:
    size, packages = megabytes(), len(list(ENVIRONMENT.rglob("*.dist-info")))
    print(f"base environment: {size:.0f} MB, {packages} packages")  # noqa: T201  (figures to quote)
    assert 20 < size < LARGEST


def test_the_version_is_told(tmp_path: Path) -> None:
    result = run(tmp_path, "--version")
    assert (result.returncode, result.stdout.split()[0]) == (0, "mnist-dvc")


def test_a_drawn_digit_is_answered(seven: Path) -> None:
    result = run(seven, "predict", "--json", "seven.png")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["digit"] == 7


def test_a_file_that_is_not_a_released_one_is_looked_into_and_answers(seven: Path) -> None:
    (released,) = ENVIRONMENT.rglob("pretrained/compact.onnx")
    content = released.read_bytes()
    seal = re.search(rb"\n\x06sha256\x12\x40([0-9a-f]{64})", content)
    assert seal is not None
    blank = content.replace(seal[1], b"0" * 64, 1).replace(b"compact", b"another", 1)
    (seven / "own.onnx").write_bytes(blank.replace(b"0" * 64, hashlib.sha256(blank).hexdigest().encode(), 1))
    result = run(seven, "predict", "--json", "--model", "own.onnx", "seven.png")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["digit"] == 7


def test_a_sheet_shows_what_was_read(seven: Path) -> None:
    result = run(seven, "predict", "--many", "--show", "shown", "seven.png")
    assert result.returncode == 0, result.stderr
    assert [path.name for path in (seven / "shown").iterdir()] == ["seven.seen.png"]


def test_a_shipped_network_is_described(tmp_path: Path) -> None:
    result = run(tmp_path, "summary", "--json", "--model", "compact")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["total"] == 19_706


def test_a_folder_is_begun_that_says_what_else_to_install(tmp_path: Path) -> None:
    assert run(tmp_path, "init").returncode == 0
    assert (tmp_path / "params.yaml").read_bytes() == (ROOT / "params.yaml").read_bytes()
    assert run(tmp_path, "code").returncode == 0
    assert run(tmp_path, "train").returncode == 69


@pytest.mark.parametrize("command", ["train", "evaluate", "report", "export"])
def test_what_needs_the_extra_says_so_in_one_line(tmp_path: Path, command: str) -> None:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    result = run(tmp_path, command)
    (line,) = result.stderr.splitlines()
    assert result.returncode == 69, result.stderr
    assert line.endswith('python -m pip install "mnist-dvc[train]"')


def test_it_runs_from_the_environment_and_not_from_the_repository(tmp_path: Path) -> None:
    (python,) = (path for path in ENVIRONMENT.glob("[Sb]*/python*") if path.name in ("python", "python.exe"))
    script = "import mnist_dvc; print(mnist_dvc.__file__)"
    where = subprocess.check_output([python, "-I", "-c", script], cwd=tmp_path, text=True)
    assert Path(where.strip()).is_relative_to(ENVIRONMENT.resolve()) or Path(where.strip()).is_relative_to(ENVIRONMENT)
