"""Snapshots with the right digest and a header that no training writes: refused by what they say of themselves."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hostile_tensors import KEY, bare, changed, entry, framed, more, parts, told, twice, without

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import sha256
from mnist_dvc.training.events import EpochRow
from mnist_dvc.training.snapshot import LARGEST_HEADER, Snapshot, TrainingState, parse_snapshot, snapshot_bytes

if TYPE_CHECKING:
    from hostile_tensors import Change

WHERE = Path("step-000000007.snapshot")
IDENTITY = {"code": "c"}
ROW = EpochRow(epoch=1, train_loss=0.5, val_loss=0.25, train_accuracy=0.9, val_accuracy=0.75, lr=1e-3)
TENSORS = {"order": torch.arange(16, dtype=torch.uint8), "model/weight": torch.arange(6.0).reshape(2, 3)}


def snapshot(epochs: int = 1) -> bytes:
    rows = tuple(EpochRow(**asdict(ROW) | {"epoch": i + 1}) for i in range(epochs))
    state = TrainingState(step=7, history=rows, tensors=TENSORS)
    return snapshot_bytes(Snapshot(state=state, began=1e9, seconds=1.0), IDENTITY)


GOOD = snapshot().partition(b"\n")[2]


def sealed(payload: bytes) -> bytes:
    return f"mnist_dvc snapshot 1 {sha256(payload)}\n".encode() + payload


def row(**changes: Any) -> Change:
    return told(history=[asdict(ROW) | changes])


def raw(text: str) -> Change:
    return lambda header, body: (header | {"__metadata__": {KEY: text}}, body)


WEIGHT = "model/weight"
NAN, INFINITY = float("nan"), float("inf")
HOSTILE: dict[str, tuple[Change, str]] = {
    "NaN history": (row(train_loss=NAN), "history.0.train_loss: Input should be"),
    "infinite history": (row(val_loss=INFINITY), "history.0.val_loss: Input should be"),
    "negative loss": (row(train_loss=-0.1), "history.0.train_loss: Input should be greater"),
    "accuracy of 7.5": (row(train_accuracy=7.5), "history.0.train_accuracy: Input should be less"),
    "accuracy of NaN": (row(val_accuracy=NAN), "history.0.val_accuracy: Input should be"),
    "negative accuracy": (row(val_accuracy=-1.0), "history.0.val_accuracy: Input should be greater"),
    "accuracy in words": (row(train_accuracy="0.9"), "history.0.train_accuracy: Input should be a valid number"),
    "negative rate": (row(lr=-1.0), "history.0.lr: Input should be greater"),
    "rate of NaN": (row(lr=NAN), "history.0.lr: Input should be"),
    "epoch 0": (row(epoch=0), "history.0.epoch: Input should be greater"),
    "epoch of a fraction": (row(epoch=1.5), "history.0.epoch: Input should be a valid integer"),
    "epoch of truth": (row(epoch=True), "history.0.epoch: Input should be a valid integer"),
    "row of more": (row(code="os"), "history.0.code: Extra inputs are not permitted"),
    "row of a list": (told(history=[[1, 2]]), "history.0: Input should be"),
    "history of text": (told(history="none"), "history: Input should be a valid"),
    "no history": (told(history=None), "history: Input should be a valid"),
    "step of text": (told(step="7"), "step: Input should be a valid integer"),
    "step of NaN": (told(step=NAN), "step: Input should be"),
    "step of truth": (told(step=True), "step: Input should be a valid integer"),
    "negative step": (told(step=-7), "step: Input should be greater"),
    "began at no time": (told(began=NAN), "began: Input should be"),
    "began before time": (told(began=-1.0), "began: Input should be greater"),
    "endless seconds": (told(seconds=1e300), "seconds: Input should be less"),
    "infinite seconds": (told(seconds=INFINITY), "seconds: Input should be"),
    "seconds of truth": (told(seconds=True), "seconds: Input should be a valid number"),
    "identity of a list": (told(identity=[]), "identity: Input should be"),
    "more than a header": (told(more=1), "more: Extra inputs are not permitted"),
    "step of 5,000 digits": (raw('{"step": 1' + "0" * 5000 + "}"), "content: got damage ("),
    "no values of F4": (more("F4", [0]), "tensor 'more': got damage (F4 (0,)), expected one of BOOL, "),
    "no values of F8_E8M0": (more("F8_E8M0", [0]), "tensor 'more': got damage (F8_E8M0 (0,))"),
    "values of F8_E4M3": (more("F8_E4M3", [8], 8), "tensor 'more': got damage (F8_E4M3 (8,))"),
    "complex numbers": (more("C64", [1], 8), "tensor 'more': got damage (C64 (1,))"),
    "empty shape that overflows": (more("F32", [0, 2**63]), "more.shape.1: Input should be less than"),
    "strides that overflow": (more("F32", [0, *[2**39] * 7]), "more.shape: Value error, more values"),
    "overlap": (entry("order", data_offsets=[0, 16]), "': got bytes 0 to 24, expected 16 to 40"),
    "a weight beyond the file": (entry(WEIGHT, shape=[2, 3000]), "': got bytes"),
    "a tensor twice": (twice(WEIGHT, shape=[3, 2]), "header: got damage (ValueError)"),
    "bytes that belong to none": (without("order"), "content: got 40 bytes of tensors, expected 24"),
    "deep header": (bare(b"[" * 100_000), "header: got damage (RecursionError)"),
    "large header": (bare(b" " * LARGEST_HEADER + b"{}"), "bytes long by its own account"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_snapshot_is_refused(name: str) -> None:
    change, expected = HOSTILE[name]
    with pytest.raises(ArtifactError) as caught:
        parse_snapshot(sealed(changed(GOOD, change)), WHERE, IDENTITY)
    text = str(caught.value)
    assert (text.startswith(f"{WHERE}: "), text.isprintable(), caught.value.exit_code) == (True, True, 65)
    assert expected in text


@pytest.mark.parametrize("length", [0, 1, 7, 2**31, 2**63, 2**64 - 1])
def test_header_that_lies_about_its_length_is_refused(length: int) -> None:
    with pytest.raises(ArtifactError, match="header: got damage"):
        parse_snapshot(sealed(framed(*parts(GOOD), length=length)), WHERE, IDENTITY)


def test_made_with_the_same_tools_a_good_one_is_read() -> None:
    """The twin: neither the spelling nor the digest is what is refused, but the number."""
    for change in (told(), row(train_accuracy=1.0, val_loss=None, val_accuracy=None), told(step=8)):
        read = parse_snapshot(sealed(changed(GOOD, change)), WHERE, IDENTITY)
        assert all(torch.equal(read.state.tensors[name], tensor) for name, tensor in TENSORS.items())


def test_longest_training_has_room_for_its_history() -> None:
    content = snapshot(epochs=10_000)
    assert int.from_bytes(content.partition(b"\n")[2][:8], "little") < LARGEST_HEADER / 1.5
    assert len(parse_snapshot(content, WHERE, IDENTITY).state.history) == 10_000
