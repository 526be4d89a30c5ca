"""Files of real size, damaged a bit or a byte at a time: a thousand flips and two hundred cuts of each are refused."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from helpers import blobs, params

from mnist_dvc.data.digits import Digits
from mnist_dvc.errors import ArtifactError
from mnist_dvc.model import build
from mnist_dvc.model.weights import Card, read_model, weights_bytes
from mnist_dvc.params import ModelParams
from mnist_dvc.training.engine import Job, Training
from mnist_dvc.training.snapshot import Snapshot, parse_snapshot, snapshot_bytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.faults

FLIPS, CUTS = 1000, 200
CARD = Card("compact", 19_706, "mnist", "d" * 64, {"threads": 1})
IDENTITY = {"code": "c"}


def training() -> Training:
    model = build(ModelParams(name="compact", dropout=0.1), torch.Generator().manual_seed(0))
    digits = Digits.on(torch.device("cpu"), blobs(20))
    return Training(Job(model=model, digits=digits, validation=None, params=params().train, precision="float32"))


def model_file() -> bytes:
    model = build(ModelParams(name="compact", dropout=0.0), torch.Generator().manual_seed(0))
    return weights_bytes(dict(model.state_dict()), CARD)


def snapshot_file() -> bytes:
    run = training()
    list(run.events())
    return snapshot_bytes(Snapshot(state=run.capture(), began=1.0, seconds=1.0), IDENTITY)


def read_snapshot(path: Path) -> Snapshot:
    return parse_snapshot(path.read_bytes(), path, IDENTITY)


KINDS: dict[str, tuple[Callable[[], bytes], Callable[[Path], Any]]] = {
    "snapshot": (snapshot_file, read_snapshot),
    "model": (model_file, read_model),
}


def refused(read: Callable[[Path], Any], path: Path, content: bytes) -> bool:
    path.write_bytes(content)
    try:
        read(path)
    except ArtifactError:
        return True
    return False


def flipped(content: bytes, bit: int) -> bytes:
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bits_and_cuts_are_refused(tmp_path: Path, kind: str) -> None:
    make, read = KINDS[kind]
    content, path, draw = make(), tmp_path / "file", np.random.default_rng(0)
    assert not refused(read, path, content)
    flips = draw.choice(8 * len(content), FLIPS, replace=False)
    assert sum(refused(read, path, flipped(content, int(bit))) for bit in flips) == FLIPS
    cuts = draw.choice(len(content), CUTS, replace=False)
    assert sum(refused(read, path, content[:cut]) for cut in cuts) == CUTS


def test_pytorch_alone_would_load_most_flipped_bits(tmp_path: Path) -> None:
    """What the digests are for: the same flips in a plain ``torch.save`` file of the same weights."""
    buffer = io.BytesIO()
    torch.save(training().capture().tensors, buffer)
    draw, loaded = np.random.default_rng(0), 0
    for bit in draw.choice(8 * buffer.tell(), 100, replace=False):
        path = tmp_path / "naive.pt"
        path.write_bytes(flipped(buffer.getvalue(), int(bit)))
        try:
            torch.load(path, weights_only=True)
        except Exception:  # noqa: BLE001, S112  (it raises half a dozen kinds)
            continue
        loaded += 1
    assert loaded > 50
