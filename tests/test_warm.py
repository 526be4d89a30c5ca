"""Commands that are forked are those that a shell would run: the same words, codes, environment and package."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import warm
from helpers import ROOT

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(not warm.HERE, reason="this system does not fork")
PACKAGE = """
import os, sys
words = sys.argv[1:]
print(os.getpid(), os.getcwd(), os.environ["MARK"], words, "torch" in sys.modules, flush=True)
if words[0] == "killed":
    os.kill(os.getpid(), 9)
if words[0] == "broken":
    raise ImportError("no such name")
sys.exit(int(words[0]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A working folder with a package of our name that tells what it is run with."""
    (tmp_path / "mnist_dvc").mkdir()
    (tmp_path / "mnist_dvc/__init__.py").touch()
    (tmp_path / "mnist_dvc/__main__.py").write_text(PACKAGE)
    return tmp_path


def run(folder: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*warm.first_programs(), os.environ["PATH"]])
    environment = os.environ | {"PATH": path, "MARK": "here"} | variables
    return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("word", "code"), [("0", 0), ("65", 65), ("killed", 128 + signal.SIGKILL)])
def test_module_of_the_working_folder_is_run_with_the_libraries(folder: Path, word: str, code: int) -> None:
    result = run(folder, "python", "-m", "mnist_dvc", word)
    _, *told = result.stdout.split(maxsplit=1)
    assert (told, result.returncode) == ([f"{folder} here ['{word}'] True\n"], code)


def test_package_that_is_broken_ends_with_its_traceback(folder: Path) -> None:
    result = run(folder, "python", "-m", "mnist_dvc", "broken")
    assert (result.returncode, result.stderr.splitlines()[-1]) == (1, "ImportError: no such name")


def test_script_finds_the_package_by_the_path_alone(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    result = run(elsewhere, "mnist-dvc", "3", PYTHONPATH=str(folder))
    assert result.returncode == 3
    assert run(folder, "mnist-dvc", "--version").stdout.startswith("mnist-dvc ")


def test_variable_that_python_reads_at_its_start_makes_it_a_process_of_its_own(folder: Path) -> None:
    result = run(folder, "python", "-m", "mnist_dvc", "0", PYTHONHASHSEED="7")
    assert result.stdout.endswith(" here ['0'] False\n")


def test_other_words_are_those_of_the_interpreter(folder: Path) -> None:
    result = run(folder, "python", "-c", "import sys; print(sys.executable, 'torch' in sys.modules); sys.exit(5)")
    assert (result.stdout, result.returncode) == (f"{sys.executable} False\n", 5)


ASKED = """
import sys
sys.path.insert(0, sys.argv[1])
import warm
print(warm.command(sys.argv[1], "0").returncode, len(warm.first_programs()))
"""


def test_server_ends_with_the_run(folder: Path) -> None:
    """It has the pipe for errors from whom it serves, and what reads that waits for all who have it."""
    shutil.copy(warm.__file__, folder)
    (folder / "libraries.py").touch()
    (folder / "mnist_dvc/pipeline").mkdir()
    (folder / "mnist_dvc/study").mkdir()
    for name in warm.OUR_COMMANDS:
        (folder / f"{name.replace('.', '/')}.py").touch()
    words = [sys.executable, "-c", ASKED, str(folder)]
    variables = os.environ | {"MARK": "here", "PYTHONPATH": ""}
    result = subprocess.run(words, env=variables, capture_output=True, text=True, check=False, timeout=warm.TIMEOUT)
    assert (result.returncode, result.stdout, result.stderr) == (0, "0 1\n", "")


def test_command_is_the_one_of_a_shell() -> None:
    words = ("train", "-S", "train.epochs=0")
    forked = warm.command(ROOT, *words)
    cold = subprocess.run(
        [sys.executable, "-m", "mnist_dvc", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (forked.returncode, forked.stdout, forked.stderr) == (2, cold.stdout, cold.stderr)
