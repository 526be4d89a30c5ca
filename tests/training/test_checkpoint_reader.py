"""A .pth file is an archive with a pickle in it: whatever stands there, no code runs and the memory is bounded."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
import subprocess
import sys
import tarfile
import warnings
import zipfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import SUMS, sha256sums
from mnist_dvc.model import build
from mnist_dvc.model.weights import Card
from mnist_dvc.params import ModelParams
from mnist_dvc.training.checkpoint import checkpoint_bytes, read_checkpoint
from mnist_dvc.training.events import EpochRow

if TYPE_CHECKING:
    from collections.abc import Mapping

CARD = Card("compact", 19_706, "mnist", "d" * 64, {"threads": 1})
ROW = EpochRow(epoch=1, train_loss=0.5, val_loss=None, train_accuracy=0.9, val_accuracy=None, lr=0.1)
CANARY = "canary-that-must-not-appear"


class Payload:
    """Unpickled, it would make the canary in the working folder."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (CANARY,)


def state() -> dict[str, torch.Tensor]:
    return dict(build(ModelParams(name="compact", dropout=0.0), torch.Generator().manual_seed(0)).state_dict())


def content(**changes: Any) -> dict[str, Any]:
    """What a checkpoint holds, as plain Python, with ``changes``."""
    good = {
        "schema": 1,
        "model_state_dict": state(),
        "raw_model_state_dict": state(),
        "optimizer_state_dict": {},
        "history": [],
        "val_accuracy": None,
        "about": asdict(CARD),
    }
    return good | changes


def saved(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def rezipped(original: bytes, extra: Mapping[str, bytes] | None = None, compression: int = zipfile.ZIP_STORED) -> bytes:
    """The same members written again by another archiver, and more of them."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(original)) as old, zipfile.ZipFile(buffer, "w", compression) as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member))
        with warnings.catch_warnings(action="ignore"):
            for name, value in (extra or {}).items():
                new.writestr(name, value)
    return buffer.getvalue()


def with_pickle(original: bytes, data: bytes) -> bytes:
    """The archive with another pickle stream under the name that PyTorch reads."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(original)) as old, zipfile.ZipFile(buffer, "w") as new:
        for member in old.infolist():
            new.writestr(member.filename, data if member.filename.endswith("data.pkl") else old.read(member))
    return buffer.getvalue()


def tarred() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        data = pickle.dumps(Payload())
        info = tarfile.TarInfo("pickle")
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def scripted() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"):
        torch.jit.save(torch.jit.script(nn.Linear(1, 1)), buffer)
    return buffer.getvalue()


def bomb() -> bytes:
    """195 KB that unpack to 200 MB under the name of a tensor."""
    small = saved({"weight": torch.zeros(4)})
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(small)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        for member in old.infolist():
            new.writestr(member.filename, bytes(200 * 2**20) if "/data/" in member.filename else old.read(member))
    return buffer.getvalue()


def lying_about_size(original: bytes) -> bytes:
    """The central directory claims a gigabyte for the first member."""
    at = original.index(b"PK\x01\x02") + 24
    return original[:at] + (2**30).to_bytes(4, "little") + original[at + 4 :]


def state_with(tensor: Any) -> dict[str, Any]:
    return state() | {"head.2.bias": tensor}


GOOD = saved(content())
EMPTY_ZIP = b"PK\x05\x06" + bytes(18)
CALLS_SYSTEM = b"cos\nmkdir\n(V" + CANARY.encode() + b"\ntR."
BAD = {
    "empty": b"",
    "text": b"not a checkpoint\n" * 100,
    "html": b"<!doctype html><title>404</title>" * 100,
    "only zeros": bytes(10_000),
    "too large": bytes(16 * 2**20 + 1),
    "raw pickle that makes a folder": pickle.dumps(Payload()),
    "raw pickle, protocol 0": CALLS_SYSTEM,
    "legacy format with a payload": saved(content(extra=Payload()), _use_new_zipfile_serialization=False),
    "legacy format, harmless": saved(content(), _use_new_zipfile_serialization=False),
    "legacy tar": tarred(),
    "archive of a payload": saved(Payload()),
    "payload beside the weights": saved(content(extra=Payload())),
    "payload in the optimiser": saved(content(optimizer_state_dict={"state": {0: Payload()}})),
    "payload as a key": saved(content(about={Payload(): 1})),
    "payload in the place of a tensor": saved(content(model_state_dict=state_with(Payload()))),
    "pickle stream replaced": with_pickle(GOOD, CALLS_SYSTEM),
    "eval by name": with_pickle(GOOD, b"cbuiltins\neval\n(V__import__('os').mkdir('" + CANARY.encode() + b"')\ntR."),
    "pickle stream without end": with_pickle(GOOD, pickletools.optimize(pickle.dumps(1))[:-1]),
    "pickle stream of memo references": with_pickle(GOOD, b"\x80\x02h\xff."),
    "deeply nested pickle": with_pickle(GOOD, b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b"."),
    "whole network pickled": saved(nn.Linear(2, 2)),
    "TorchScript archive": scripted(),
    "numpy object": saved(content(history=[np.float64(1.0)])),
    "path object": saved(content(history=[Path("x")])),
    "zip bomb": bomb(),
    "size that lies": lying_about_size(GOOD),
    "compressed archive": rezipped(GOOD, compression=zipfile.ZIP_DEFLATED),
    "member twice": rezipped(GOOD, {"archive/data.pkl": b"."}),
    "other zip": rezipped(EMPTY_ZIP, {"readme": b"hello"}),
    "member with a path": rezipped(EMPTY_ZIP, {"../../data.pkl": CALLS_SYSTEM}),
    "truncated": GOOD[:-500],
    "cut in half": GOOD[: len(GOOD) // 2],
    "list": saved([1, 2, 3]),
    "tensor": saved(torch.zeros(3)),
    "bare state dict": saved(state()),
    "nothing about it": saved(content(about={})),
    "about of another type": saved(content(about=asdict(CARD) | {"parameters": "many"})),
    "unknown network": saved(content(about=asdict(CARD) | {"network": "os.system"})),
    "network of another type": saved(content(about=asdict(CARD) | {"network": ["compact"]})),
    "later schema": saved(content(schema=2)),
    "weights of another type": saved(content(model_state_dict=[1.0])),
    "text for a tensor": saved(content(model_state_dict=state_with("0.5"))),
    "NaN": saved(content(model_state_dict=state_with(torch.full((10,), torch.nan)))),
    "infinity": saved(content(model_state_dict=state_with(torch.full((10,), torch.inf)))),
    "double precision": saved(content(model_state_dict=state_with(torch.zeros(10).double()))),
    "another shape": saved(content(model_state_dict=state_with(torch.zeros(1000, 1).expand(1000, 10**6)))),
    "sparse tensor": saved(content(model_state_dict=state_with(torch.zeros(10).to_sparse()))),
    "tensor without values": saved(content(model_state_dict=state_with(torch.zeros(10, device="meta")))),
    "tensor too many": saved(content(model_state_dict=state() | {"more": torch.zeros(1)})),
    "tensor missing": saved(content(model_state_dict={})),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_malicious_or_damaged_file_is_refused_and_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(BAD[name])
    with pytest.raises(ArtifactError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.isprintable()
    assert len(message) < 400
    assert [entry.name for entry in tmp_path.iterdir()] == ["checkpoint.pth"]


def test_the_payload_works_where_it_is_let_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.load(io.BytesIO(BAD["payload beside the weights"]), weights_only=False)
    assert (tmp_path / CANARY).is_dir()


def test_good_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    for good in (GOOD, rezipped(GOOD)):
        path.write_bytes(good)
        model, card = read_checkpoint(path)
        assert card == CARD
        assert not model.training
        assert all(torch.equal(value, state()[name]) for name, value in model.state_dict().items())


def test_what_the_stage_writes_is_read(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    about = asdict(CARD) | {"params": {"train": {"seed": 1}}}
    path.write_bytes(
        checkpoint_bytes(model_state=state(), raw_model_state=state(), optimizer_state={}, history=[ROW], about=about)
    )
    assert read_checkpoint(path)[1] == CARD


def test_every_flipped_bit_in_a_tensor_is_refused_where_torch_sees_none(tmp_path: Path) -> None:
    """PyTorch writes a CRC for each member and never looks at it again."""
    path = tmp_path / "checkpoint.pth"
    with zipfile.ZipFile(io.BytesIO(GOOD)) as archive:
        start = archive.getinfo("archive/data/0").header_offset
    at = GOOD.index(state()[next(iter(state()))].numpy().tobytes(), start)
    unnoticed = 0
    for bit in range(0, 80, 7):
        flipped = bytearray(GOOD)
        flipped[at + bit // 8] ^= 1 << bit % 8
        path.write_bytes(bytes(flipped))
        with pytest.raises(ArtifactError, match="damage in 'archive/data/"):
            read_checkpoint(path)
        torch.load(path, weights_only=True)
        unnoticed += 1
    assert unnoticed == 12


def test_checkpoint_other_than_the_one_on_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pth"
    path.write_bytes(GOOD)
    (tmp_path / SUMS).write_bytes(sha256sums({path.name: GOOD + b"x"}))
    with pytest.raises(ArtifactError, match="as in SHA256SUMS beside it"):
        read_checkpoint(path)


MEASURE = """
import resource, sys
from pathlib import Path
from mnist_dvc.errors import ArtifactError
from mnist_dvc.training.checkpoint import read_checkpoint
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for path in sys.argv[1:]:
    try:
        read_checkpoint(Path(path))
    except ArtifactError:
        pass
    else:
        raise SystemExit(f"{path} was accepted")
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_no_file_fills_the_memory(tmp_path: Path) -> None:
    """All of them in one process stay within what the largest allowed file takes."""
    for number, value in enumerate(BAD.values()):
        (tmp_path / f"{number}.pth").write_bytes(value)
    files = map(str, sorted(tmp_path.iterdir()))
    result = subprocess.run([sys.executable, "-c", MEASURE, *files], capture_output=True, text=True, check=True)
    assert int(result.stdout) < 100 * 1024  # KiB; the bomb alone would take 200 MB
