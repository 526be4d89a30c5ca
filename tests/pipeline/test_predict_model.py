"""Which model `predict` answers from, and the command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from helpers import command
from predicting import HOSTILE, model_bytes, record, told

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import BLANK, own_sums, sealed
from mnist_dvc.paths import Paths
from mnist_dvc.pipeline.predict import predict, published_model
from mnist_dvc.pretrained import released_onnx
from mnist_dvc.serving import SEAL

if TYPE_CHECKING:
    from pathlib import Path


def test_onnx_file_gives_the_answers_of_the_model(exported: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    in_torch, in_onnx = (told(capsys, "digits", "missing", model=path) for path in (exported.model, exported.onnx))
    assert len(in_onnx) == 11
    for one, other in zip(in_torch, in_onnx, strict=True):
        assert {key: one.get(key) for key in ("file", "digit", "inverted", "error")} == {
            key: other.get(key) for key in ("file", "digit", "inverted", "error")
        }
        np.testing.assert_allclose(one.get("probabilities", []), other.get("probabilities", []), atol=1e-5)


def test_another_model_gives_other_answers_so_the_test_above_can_fail(
    exported: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    other = exported.root / "other.safetensors"
    other.write_bytes(model_bytes(seed=1))
    one, two = (told(capsys, "digits/0.png", model=path)[0]["probabilities"] for path in (exported.onnx, other))
    assert not np.allclose(one, two, atol=1e-5)


RUN = "import sys\nfrom mnist_dvc.program import _run\nprint(_run(), 'torch' in sys.modules, file=sys.stderr)"


def ran(cwd: Path) -> tuple[int, str]:
    """The number of answers of the command in a process of its own, and its exit code and whether it loaded torch."""
    arguments = [sys.executable, "-c", RUN, "predict", "--json", "digits"]
    result = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, check=True)
    return len(result.stdout.splitlines()), result.stderr.strip()


def test_command_answers_from_the_onnx_file_without_torch(exported: Paths) -> None:
    assert ran(exported.root) == (10, "0 False")


def test_command_loads_torch_for_the_model_so_the_test_above_can_fail(exported: Paths) -> None:
    exported.onnx.unlink()
    assert ran(exported.root) == (10, "0 True")


def test_onnx_file_is_chosen_if_it_is_of_the_model_on_record(exported: Paths) -> None:
    assert published_model(exported) == exported.onnx
    exported.model.unlink()  # as where only the smaller file was fetched
    assert published_model(exported) == exported.onnx


def test_model_is_chosen_if_the_onnx_file_is_of_an_earlier_one(exported: Paths) -> None:
    record(exported.model, model_bytes(seed=1), exported.sums)
    assert published_model(exported) == exported.model


def test_model_is_chosen_if_nothing_says_which_one_the_onnx_file_is_of(exported: Paths) -> None:
    exported.sums.unlink()
    assert published_model(exported) == exported.model


def test_model_is_chosen_if_there_is_no_onnx_file(exported: Paths) -> None:
    exported.onnx.unlink()
    assert published_model(exported) == exported.model


def test_released_network_is_chosen_where_nothing_was_trained(tmp_path: Path) -> None:
    assert published_model(Paths(tmp_path)) == released_onnx("compact")
    assert list(tmp_path.iterdir()) == []


def exchanged(content: bytes) -> bytes:
    """Another whole ONNX file of the same model: its own digest belongs to it."""
    (seal,) = (entry.value for entry in onnx.load_from_string(content).metadata_props if entry.key == SEAL)
    blank = content.replace(seal.encode(), BLANK.encode(), 1).replace(b"compact", b"compacu", 1)
    return sealed(blank)


def flipped(content: bytes) -> bytes:
    return content[:5000] + bytes((content[5000] ^ 1,)) + content[5001:]


@pytest.mark.parametrize(
    ("change", "recorded", "message"),
    [
        (flipped, False, "as in model.onnx.sha256 beside it"),
        (flipped, True, "which the file carries"),
        (lambda content: content[:-100], True, "model.onnx: (SHA-256|content|digest): got"),
        (lambda _: b"", True, "model.onnx: digest: got none"),
        (exchanged, False, "as in model.onnx.sha256 beside it"),
    ],
    ids=["flipped bit", "flipped bit on record", "cut", "empty", "exchanged"],
)
def test_damaged_or_exchanged_onnx_file_is_refused(
    exported: Paths, capsys: pytest.CaptureFixture[str], change: Any, message: str, *, recorded: bool
) -> None:
    content = change(exported.onnx.read_bytes())
    exported.onnx.write_bytes(content)
    if recorded:
        record(exported.onnx, content, own_sums(exported.onnx))
    with pytest.raises(ArtifactError, match=message):
        published_model(exported)
    with pytest.raises(ArtifactError, match=message):
        predict(["digits"], exported.onnx, as_json=True)
    assert capsys.readouterr().out == ""


def test_exchanged_onnx_file_is_whole_so_it_is_the_record_that_refuses_it(
    exported: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    record(exported.onnx, exchanged(exported.onnx.read_bytes()), own_sums(exported.onnx))
    assert published_model(exported) == exported.onnx
    assert len(told(capsys, "digits", model=exported.onnx)) == 10


# --------------------------------------------------------------------------------------------------- the command itself


def test_command_without_a_picture_is_a_usage_error(tmp_path: Path) -> None:
    result = command("predict", cwd=tmp_path)
    assert result.returncode == 2
    assert "Missing argument 'PATH" in result.stderr


def test_command_in_the_poorest_locale(home: Path) -> None:
    """ASCII only: neither the names of the files nor the lines of the table can be printed as they are."""
    (home / "digits/0.png").rename(home / HOSTILE)
    (home / "digits/1.png").rename(home / "ü.png")
    poor = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    result = command("predict", HOSTILE, "ü.png", "missing", cwd=home, environment=poor)
    assert result.returncode == 65
    assert result.stderr == "mnist-dvc: pictures: not read: got 1 of 3, expected none\n"
    assert result.stdout.isascii()
    assert result.stdout.count(".png") == 2
