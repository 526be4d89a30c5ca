"""history.csv as a stranger might leave it: refused in words before anything is drawn."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from helpers import NO_FILES

from mnist_dvc.errors import ArtifactError
from mnist_dvc.pipeline import evaluate as module
from mnist_dvc.pipeline.evaluate import _read_history
from mnist_dvc.training.events import HISTORY_COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

HEADER = b"epoch,train_loss,val_loss,train_accuracy,val_accuracy,lr\n"
ROWS = b"1,2.0,1.5,0.25,0.5,0.01\n2,1.0,0.5,0.75,0.875,0.001\n"
GOOD = HEADER + ROWS

BAD = {
    "empty": (b"", "header: got , expected epoch,train_loss"),
    "header only": (HEADER, "epochs: got gaps or none"),
    "no header": (ROWS, "header: got 1,2.0,1.5,0.25,0.5,0.01, expected epoch,train_loss"),
    "one column": (b"epoch\n1\n", "header: got epoch, expected epoch,train_loss"),
    "column missing": (b"epoch,train_loss\n1,2\n", "header: got epoch,train_loss, expected"),
    "column more": (GOOD.replace(b"\n", b",x\n"), "header: got epoch,train_loss,val_loss"),
    "column twice": (GOOD.replace(b"val_loss", b"train_loss"), "header: got "),
    "columns in another order": (b"lr,epoch" + HEADER[5:-4] + b"\n" + ROWS, "header: got lr,epoch"),
    "row short": (HEADER + b"1,2.0,1.5,0.25,0.5\n", "row 1: got 5 cells, expected 6"),
    "row long": (HEADER + b"1,2.0,1.5,0.25,0.5,0.01,7\n", "row 1: got 7 cells, expected 6"),
    "second row short": (GOOD[:-7] + b"\n", "row 2: got 5 cells, expected 6"),
    "blank row": (GOOD + b"\n", "row 3: got 0 cells, expected 6"),
    "text": (GOOD.replace(b"1.5", b"abc"), "content: got could not convert string to float: 'abc'"),
    "number missing": (GOOD.replace(b"1.5", b""), "content: got could not convert string to float: ''"),
    "nan": (GOOD.replace(b"1.5", b"nan"), "content: got nan, expected finite numbers"),
    "infinite": (GOOD.replace(b"1.5", b"inf"), "content: got inf, expected finite numbers"),
    "too large for a number": (GOOD.replace(b"1.5", b"1e400"), "content: got 1e400, expected"),
    "epoch left out": (GOOD.replace(b"\n2,", b"\n3,"), "epochs: got gaps or none, expected 1, 2, 3, ..."),
    "epoch twice": (GOOD.replace(b"\n2,", b"\n1,"), "epochs: got gaps or none"),
    "epochs empty": (HEADER + b",2.0,1.5,0.25,0.5,0.01\n", "epochs: got gaps or none"),
    "NUL": (GOOD.replace(b"1.5", b"1\0"), "content: got "),
    "NULs": (bytes(100), "header: got \\x00\\x00"),
    "escape sequence": (GOOD.replace(b"1.5", b"\x1b[31m"), "could not convert string to float: '\\x1b[31m'"),
    "open quote": (GOOD.replace(b"1.5", b'"1.5'), "content: got unexpected end of data"),
    "text after a quote": (GOOD.replace(b"1.5", b'"1.5"x'), "content: got ',' expected after"),
    "endless field": (HEADER + b"1" * 200_000, "content: got field larger than field limit"),
    "endless number": (HEADER + b"1" * 5000 + b",2,1,0,0,0\n", "content: got 1111"),
    "latin-1": (GOOD.replace(b"1.5", b"\xe9"), "content: got 'utf-8' codec can't decode"),
    "UTF-16": (GOOD.decode().encode("utf-16"), "content: got 'utf-8' codec can't decode"),
    "page": (b"<html>\n<body>\n", "header: got <html>, expected epoch"),
    "large": (GOOD + b"\n" * 10_000, "size: got more than 10,000 bytes"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_history_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    content, expected = BAD[name]
    monkeypatch.setattr(module, "LARGEST_HISTORY", 10_000 if name == "large" else 10**6)
    path = tmp_path / "history.csv"
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        _read_history(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < len(str(path)) + 600


def test_good_history_passes_the_same_checks(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_bytes(GOOD)
    history = _read_history(path)
    assert tuple(history) == HISTORY_COLUMNS
    assert history["val_accuracy"] == [0.5, 0.875]


def test_columns_of_a_training_without_validation_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_bytes(HEADER + b"1,2.0,,0.25,,0.01\n2,1.0,,0.75,,0.001\n")
    assert list(_read_history(path)) == ["epoch", "train_loss", "train_accuracy", "lr"]


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    NO_FILES[kind](tmp_path / "history.csv")
    with pytest.raises(ArtifactError, match="file: got something else than a file"):
        _read_history(tmp_path / "history.csv")
