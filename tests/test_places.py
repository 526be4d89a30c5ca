"""Places that refuse to be read or written, or that nobody named: one line with the name and the code of its kind."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from helpers import NO_FILES, redirected
from typer.testing import CliRunner

from mnist_dvc.cli import app
from mnist_dvc.data.sources import read_digits
from mnist_dvc.errors import ArtifactError, DataError
from mnist_dvc.files import read_regular

if TYPE_CHECKING:
    from pathlib import Path

linux = pytest.mark.skipif(sys.platform != "linux", reason="its /proc and /dev")
UNREADABLE = "/proc/self/mem"
"""A regular file whose first bytes cannot be read: EIO, from the kernel itself."""


@linux
def test_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "model"
    path.symlink_to(UNREADABLE)
    with pytest.raises(OSError, match="Input/output error") as caught:
        read_regular(path, 100, ArtifactError, "a file")
    assert caught.value.filename == str(path)


@linux
def test_file_that_cannot_be_read_has_no_name_of_its_own() -> None:
    """The twin."""
    with open(UNREADABLE, "rb", buffering=0) as file, pytest.raises(OSError, match="Input/output error") as caught:  # noqa: PTH123
        file.read(1)
    assert caught.value.filename is None


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    NO_FILES[kind](tmp_path / "file")
    with pytest.raises((OSError, ArtifactError), match="file"):
        read_regular(tmp_path / "file", 100, ArtifactError, "a file")


PRODUCTS = ["--help", "--version", "train --help", "study --help", "study trial -h"]


@linux
@pytest.mark.parametrize("words", PRODUCTS)
@pytest.mark.parametrize(
    ("redirection", "why"), [(">/dev/full", "No space left on device"), (">&-", "Bad file descriptor")]
)
def test_what_was_asked_for_and_does_not_arrive_ends_in_74(
    tmp_path: Path, words: str, redirection: str, why: str
) -> None:
    result = redirected(tmp_path, redirection, "-m", "mnist_dvc", *words.split())
    assert (result.returncode, result.stderr) == (74, f"mnist-dvc: standard output: {why}\n")


REMOVED = 'mkdir gone && cd gone && rmdir ../gone && exec "$0" -m mnist_dvc "$@"'


@linux
@pytest.mark.parametrize(
    "words", [("prepare",), ("summary", "--model", "compact"), ("predict", "seven.png")], ids=" ".join
)
def test_working_folder_that_was_removed_is_named(tmp_path: Path, words: tuple[str, ...]) -> None:
    command = ["sh", "-c", REMOVED, sys.executable, *words]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout) == (74, "")
    assert result.stderr == "mnist-dvc: working folder: No such file or directory\n"


EMPTY = [
    ("train", "--params", ""), ("prepare", "--params="), ("summary", "--params", ""), ("summary", "--model", ""),
    ("predict", "--model", "", "x"), ("predict", "--show=", "x"), ("demo", "--model", ""), ("demo", "--host", ""),
    ("init", ""), ("study", "trial", "--seed", "1", "--teaching", ""), ("study", "teach", "--views", "1", ""),
]  # fmt: skip


@pytest.mark.parametrize("words", EMPTY, ids=" ".join)
def test_empty_text_is_no_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, words)
    assert 2 in (result.exit_code, getattr(result.exception, "exit_code", 0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("named", ["~nosuchuser", "~nosuchuser/mnist", "/dev/zero", "a\nb\x1b[31m", "\udcff"])
@pytest.mark.parametrize("source", ["auto", "mnist"])
def test_variable_that_names_no_folder_is_refused(tmp_path: Path, source: str, named: str) -> None:
    with pytest.raises(DataError, match="^MNIST_DVC_DATA=") as caught:
        read_digits(source, tmp_path, environment={"MNIST_DVC_DATA": named}, say=print, pictures=lambda _: iter(()))
    assert str(caught.value).isprintable()
