"""history.csv and the test metrics as accidents and strangers leave them: refused, whatever their digests say."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from damaging import flips_and_cuts, hostile_json, wrong_values
from helpers import PARAMETERS, write_scores

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import SUMS, sha256, sha256sums
from mnist_dvc.paths import Paths
from mnist_dvc.pipeline.train import history_csv
from mnist_dvc.running.evaluated import read_result, result_sums
from mnist_dvc.running.history import read_history
from mnist_dvc.training.events import EpochRow

if TYPE_CHECKING:
    from pathlib import Path

ROWS = [
    EpochRow(epoch=n, train_loss=0.5 / n, val_loss=0.4 / n, train_accuracy=0.9, val_accuracy=0.91, lr=0.01 / n)
    for n in range(1, 6)
]
HISTORY = history_csv(ROWS)
MODEL = b"weights"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """What ``train`` and ``evaluate`` leave, but for a model that is one."""
    paths = Paths(tmp_path)
    for path, content in ((paths.model, MODEL), (paths.history, HISTORY)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    sign_history(paths, HISTORY)
    write_scores(paths, PARAMETERS)
    return paths


def sign_history(paths: Paths, content: bytes) -> None:
    paths.history.write_bytes(content)
    paths.sums.write_bytes(sha256sums({"../reports/train/history.csv": content}))


def sign_result(paths: Paths, content: bytes) -> None:
    paths.test_metrics.write_bytes(content)
    sums = result_sums(paths, {paths.test_metrics.name: content}, sha256(MODEL))
    (paths.test_report / SUMS).write_bytes(sums)


def taken(**changes: Any) -> Any:
    """As much of the published model as its scores are held against."""
    card = SimpleNamespace(dataset="mnist", parameters=PARAMETERS)
    return SimpleNamespace(**({"card": card, "sha256": sha256(MODEL)} | changes))


def history(paths: Paths) -> object:
    return read_history(paths.history, paths.sums)


def result(paths: Paths) -> object:
    return read_result(paths, taken())


READERS: dict[str, Any] = {"history": (Paths.history.fget, history), "metrics": (Paths.test_metrics.fget, result)}  # type: ignore[attr-defined]


def refused(paths: Paths, read: Any) -> str | None:
    try:
        read(paths)
    except ArtifactError as error:
        text = str(error)
        assert (error.exit_code, text.isprintable()) == (65, True)
        assert ": got " in text
        assert ", expected " in text
        return text
    return None


@pytest.mark.parametrize("what", READERS)
def test_every_flipped_bit_and_cut_is_refused(paths: Paths, what: str) -> None:
    path_of, read = READERS[what]
    for content in flips_and_cuts(path_of(paths).read_bytes(), 1_000, 200):
        path_of(paths).write_bytes(content)
        assert refused(paths, read)


@pytest.mark.parametrize("what", READERS)
def test_flipped_bit_of_the_list_is_refused_or_harmless(paths: Paths, what: str) -> None:
    _, read = READERS[what]
    sums = paths.sums if what == "history" else paths.test_report / SUMS
    before = read(paths)
    for content in flips_and_cuts(sums.read_bytes(), 200, 50):
        sums.write_bytes(content)
        assert refused(paths, read) or read(paths) == before


@pytest.mark.parametrize(("what", "sign"), [("history", sign_history), ("metrics", sign_result)])
def test_without_the_digests_some_would_pass(paths: Paths, what: str, sign: Any) -> None:
    path_of, read = READERS[what]
    passed = 0
    for content in flips_and_cuts(path_of(paths).read_bytes(), 200, 50):
        sign(paths, content)
        passed += refused(paths, read) is None
    assert 0 < passed < 150


@pytest.mark.parametrize("what", READERS)
def test_without_a_list_of_digests_nothing_is_read(paths: Paths, what: str) -> None:
    _, read = READERS[what]
    assert refused(paths, read) is None
    (paths.sums if what == "history" else paths.test_report / SUMS).unlink()
    assert "SHA256SUMS: file: got nothing, expected the digests that `" in str(refused(paths, read))


def edited(old: str, new: str) -> bytes:
    content = HISTORY.replace(old.encode(), new.encode(), 1)
    assert content != HISTORY
    return content


HEADER, FIRST, SECOND, *_ = HISTORY.decode().splitlines()
BAD_HISTORIES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "content: got damage"),
    "header alone": (f"{HEADER}\n".encode(), "content: got damage, expected whole lines"),
    "no header": (edited(f"{HEADER}\n", ""), "content: got damage"),
    "other header": (edited("val_loss", "valid_loss"), "content: got damage"),
    "header twice": (edited(HEADER, f"{HEADER}\n{HEADER}"), "line 2: got invalid literal"),
    "columns exchanged": (edited("train_loss,val_loss", "val_loss,train_loss"), "content: got damage"),
    "half a line": (HISTORY[:-9], "content: got damage"),
    "no last line": (HISTORY[:-1], "content: got damage"),
    "empty line": (HISTORY + b"\n", "line 7: got 0 cells, expected 6"),
    "lines of Windows": (HISTORY.replace(b"\n", b"\r\n"), "content: got damage"),
    "quotes": (edited(",0.9,", ',"0.9",'), "content: got damage"),
    "quote that never ends": (edited(",0.9,", ',"0.9,'), "content: got damage"),
    "NUL": (edited(",0.9,", ",\0,"), "line 2: got could not convert"),
    "no UTF-8": (HISTORY.replace(b"0.9", b"\xff", 1), "content: got damage ("),
    "mark of UTF-8": (b"\xef\xbb\xbf" + HISTORY, "content: got damage"),
    "page": (b"<html>\n" * 9, "content: got damage"),
    "cell more": (edited(FIRST, f"{FIRST},1"), "line 2: got 7 cells, expected 6"),
    "cell less": (edited(FIRST, FIRST.rpartition(",")[0]), "line 2: got 5 cells"),
    "no epoch": (edited("\n1,", "\n,"), "line 2: got invalid literal"),
    "epoch 0": (edited("\n1,", "\n0,"), "line 2, epoch: got "),
    "epoch 77": (edited("\n2,", "\n77,"), "line 3, epoch: got 77, expected 2"),
    "epoch twice": (edited("\n2,", "\n1,"), "line 3, epoch: got 1, expected 2"),
    "epoch left out": (edited(f"{SECOND}\n", ""), "line 3, epoch: got 3, expected 2"),
    "epoch of a fraction": (edited("\n1,", "\n1.0,"), "line 2: got invalid literal"),
    "loss of NaN": (edited("1,0.5", "1,nan"), "line 2, train_loss: got "),
    "infinite loss": (edited("1,0.5", "1,inf"), "line 2, train_loss: got "),
    "loss beyond numbers": (edited("1,0.5", "1,1e999"), "line 2, train_loss: got "),
    "loss below 0": (edited("1,0.5", "1,-0.5"), "line 2, train_loss: got "),
    "no loss": (edited("1,0.5", "1,"), "line 2, train_loss: got "),
    "loss of words": (edited("1,0.5", "1,low"), "line 2: got could not convert"),
    "accuracy of 99 %": (edited(",0.9,", ",99.0,"), "line 2, train_accuracy: got "),
    "rate below 0": (edited(",0.01\n", ",-0.01\n"), "line 2, lr: got "),
    "rate of the sun": (edited(",0.01\n", ",1e30\n"), "line 2, lr: got "),
    "validated once": (edited(",0.4,0.9,0.91,", ",,0.9,,"), "line 3: got some validation figures, expected all or"),
    "half validated": (edited(",0.91,", ",,"), "line 2: got some validation figures, expected all or none"),
    "characters that paint": (edited(",0.9,", ",\x1b[31m,"), "line 2: got could not convert"),
}


@pytest.mark.parametrize(("content", "told"), BAD_HISTORIES.values(), ids=BAD_HISTORIES)
def test_bad_history_is_refused_in_a_line_whatever_its_digest(paths: Paths, content: bytes, told: str) -> None:
    sign_history(paths, content)
    text = refused(paths, history)
    assert text is not None
    assert f"history.csv: {told}" in text


def test_bad_metrics_are_refused_in_a_line_whatever_their_digest(paths: Paths) -> None:
    content = paths.test_metrics.read_bytes()
    files = hostile_json(content)
    assert len(files) >= 30
    for what, bad in files.items():
        sign_result(paths, bad)
        assert refused(paths, result), what
    for key, value, bad in wrong_values(json.loads(content)):
        sign_result(paths, bad)
        assert refused(paths, result), (key, value)


def test_metrics_of_another_model_are_refused(paths: Paths) -> None:
    with pytest.raises(ArtifactError, match="SHA256SUMS: model: got [0-9a-f]+, expected [0-9a-f]+, as of the publish"):
        read_result(paths, taken(sha256="0" * 64))
