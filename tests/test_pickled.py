"""A checkpoint is a pickle, and a pickle is a program: whatever stands in one or it is called, none is read."""

from __future__ import annotations

import io
import os
import pickle
import subprocess
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import pytest
import torch
from helpers import command, posix
from predicting import model_bytes
from torch import nn

from mnist_dvc import classifier
from mnist_dvc.classifier import load
from mnist_dvc.errors import ArtifactError
from mnist_dvc.pretrained import released_onnx, released_weights
from mnist_dvc.training.checkpoint import checkpoint_bytes
from mnist_dvc.training.events import EpochRow

if TYPE_CHECKING:
    from pathlib import Path

ROW = EpochRow(epoch=1, train_loss=0.5, val_loss=None, train_accuracy=0.9, val_accuracy=None, lr=0.1)
CANARY = "canary-that-must-not-appear"
WORDS = r"format: got a.*, expected the model.safetensors or model.onnx of the same training: a checkpoint is a pickle"


class Payload:
    """Unpickled, it would make the canary in the working folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (CANARY,)


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def with_pickle(data: bytes) -> bytes:
    """The archive of a checkpoint, with another pickle stream under the name that PyTorch reads."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(GOOD)) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.infolist():
            new.writestr(member.filename, data if member.filename.endswith("data.pkl") else old.read(member))
    return buffer.getvalue()


def bytearray_of(size: int) -> bytes:
    """A pickle that PyTorch's own reader takes, with ``weights_only=True``: a bytearray of ``size`` zeros."""
    return b"\x80\x02c__builtin__\nbytearray\nJ" + size.to_bytes(4, "little") + b"\x85R."


def doubled(times: int) -> bytes:
    """A tuple of twice the same tuple, ``times`` deep: a few bytes, but 2 ** ``times`` parts for who writes it out."""
    return b"\x80\x02)" + b"".join(b"q%c0h%ch%c\x86" % ((number,) * 3) for number in range(times)) + b"."


def with_two_directories() -> bytes:
    """An archive whose end record is followed by another one: two readers find two lists of members."""
    return GOOD + with_pickle(bytearray_of(2**30))


def zipped(compression: int) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        archive.writestr("archive/data.pkl", bytes(2**20))
    return buffer.getvalue()


STATE = {"weight": torch.zeros(2, 3)}
GOOD = checkpoint_bytes(model_state=STATE, raw_model_state=STATE, optimizer_state={}, history=[ROW], about={})
CALLS_SYSTEM = b"\x80\x02cos\nmkdir\nV" + CANARY.encode() + b"\n\x85R."
BAD = {
    "what train writes": GOOD,
    "what train writes, cut": GOOD[: len(GOOD) // 2],
    "archive of a payload": saved(Payload()),
    "whole network": saved(nn.Linear(2, 2)),
    "tensor": saved(torch.zeros(3)),
    "legacy format": saved({}, _use_new_zipfile_serialization=False),
    "legacy format with a payload": saved(Payload(), _use_new_zipfile_serialization=False),
    **{f"payload, protocol {protocol}": pickle.dumps(Payload(), protocol) for protocol in range(2, 6)},
    **{f"short, protocol {protocol}": pickle.dumps(None, protocol) for protocol in range(2, 6)},
    **{f"list, protocol {protocol}": pickle.dumps([1] * 90_000, protocol) for protocol in range(2, 6)},
    "call of the system": CALLS_SYSTEM,
    "call of the system in an archive": with_pickle(CALLS_SYSTEM),
    "bytearray": bytearray_of(2**31 - 1),
    "bytearray in an archive": with_pickle(bytearray_of(2**31 - 1)),
    "long integer": b"\x80\x02\x8b" + (2**31 - 1).to_bytes(4, "little"),
    "codecs": with_pickle(b"\x80\x02c_codecs\nencode\nV" + b"x" * 2000 + b"\nVutf-32\n\x86R."),
    "tuple of shared tuples": with_pickle(doubled(100)),
    "deep tuple": with_pickle(b"\x80\x02)" + b"\x85" * 100_000 + b"."),
    "deep list": with_pickle(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."),
    "memo without end": with_pickle(b"\x80\x02h\xff."),
    "two directories": with_two_directories(),
    "archive, stored": zipped(zipfile.ZIP_STORED),
    "archive, compressed": zipped(zipfile.ZIP_DEFLATED),
    "empty archive": b"PK\x05\x06" + bytes(18),
    "beginning of an archive": b"PK\x03\x04",
}
SUFFIXES = (".safetensors", ".onnx", ".bin", ".model")


@pytest.mark.parametrize("name", BAD)
def test_pickle_of_any_name_is_refused_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    for suffix in SUFFIXES:
        path = tmp_path / f"model{suffix}"
        path.write_bytes(BAD[name])
        with pytest.raises(ArtifactError, match=WORDS) as caught:
            load(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: format: got a")
        assert message.isprintable()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"model{suffix}" for suffix in SUFFIXES)


def test_payload_works_where_it_is_let_in_so_the_test_above_can_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.load(io.BytesIO(BAD["archive of a payload"]), weights_only=False)
    assert (tmp_path / CANARY).is_dir()


def test_reader_of_pytorch_would_take_the_memory_that_a_pickle_asks_for() -> None:
    """Why no check of an archive is enough: these 400 bytes are a checkpoint like any other to ``weights_only``."""
    hostile = with_pickle(bytearray_of(2**26))
    assert len(hostile) < 2000
    assert len(torch.load(io.BytesIO(hostile), weights_only=True)) == 2**26


@pytest.mark.parametrize("name", ["checkpoint.pth", "x.PTH", "x.pt", "x.ckpt", "x.pkl", "x.pickle"])
def test_file_that_is_called_a_checkpoint_is_not_opened(tmp_path: Path, name: str) -> None:
    """Not even if it is a pipe, which would wait for ever, or the model under a wrong name, or nothing."""
    path = tmp_path / name
    for make in (lambda: None, lambda: path.write_bytes(model_bytes()), lambda: os.mkfifo(path)):
        path.unlink(missing_ok=True)
        make()
        with pytest.raises(ArtifactError, match=rf"format: got a checkpoint \({path.suffix}\), expected the m"):
            load(path)


@pytest.mark.parametrize("path", [released_weights("compact"), released_onnx("compact")])
def test_models_are_read(path: Path) -> None:
    """The twin: what is refused above is the kind of file."""
    assert load(path).classes == ()


@pytest.mark.parametrize("protocol", range(2, 6))
def test_model_whose_length_of_the_header_looks_like_a_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    """The first bytes of a safetensors file are a number, and padding is part of its header."""
    content, length = model_bytes(), 0x80 + 0x100 * protocol + 0x1000
    before = int.from_bytes(content[:8], "little")
    assert before < length
    padded = length.to_bytes(8, "little") + content[8 : 8 + before] + b" " * (length - before) + content[8 + before :]
    (tmp_path / "model.safetensors").write_bytes(padded)
    with pytest.raises(ArtifactError, match="SHA-256: got .*, which the file carries"):  # so it was taken for a model
        load(tmp_path / "model.safetensors")


def test_without_the_guard_a_checkpoint_would_reach_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "refuse_pickle", lambda _: None)
    (tmp_path / "checkpoint.pth").write_bytes(GOOD)
    with pytest.raises(ArtifactError, match="header: got damage"):
        load(tmp_path / "checkpoint.pth")


LIMITED = """
import resource, sys, warnings
resource.setrlimit(resource.RLIMIT_DATA, (2**29, 2**29))
from mnist_dvc.program import _run
sys.argv = ["mnist-dvc", "predict", "--model", sys.argv[1], "picture.png"]
code = _run()
print(code, "torch" in sys.modules)
"""


@posix
def test_terabyte_that_begins_like_an_archive_is_refused_under_a_limit(tmp_path: Path) -> None:
    """No more than its first bytes are looked at, and PyTorch is not even loaded."""
    for name, first in (("model.safetensors", b"PK\x03\x04"), ("model.onnx", b"\x80\x04\x95" + b"\xff" * 8)):
        path = tmp_path / name
        path.write_bytes(first)
        os.truncate(path, 2**40)
        result = subprocess.run(
            [sys.executable, "-c", LIMITED, name], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
        assert (result.stdout, result.stderr.count("\n")) == ("65 False\n", 1), result.stderr
        assert result.stderr.startswith(f"mnist-dvc: {name}: format: got a")


@pytest.mark.parametrize("arguments", [["predict", "--json"], ["demo", "--port", "0", "--no-browser"]])
def test_commands_end_in_65_and_one_line(tmp_path: Path, arguments: list[str]) -> None:
    (tmp_path / "checkpoint.pth").write_bytes(GOOD)
    pictures = ["x.png"] if arguments[0] == "predict" else []
    result = command(*arguments, "--model", "checkpoint.pth", *pictures, cwd=tmp_path)
    assert (result.returncode, result.stdout) == (65, "")
    (line,) = result.stderr.splitlines()
    assert line.endswith("to go on with your own elsewhere: torch.load(..., weights_only=True)")
