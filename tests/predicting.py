"""A model in a working folder, and what `predict --json` tells of pictures there."""

from __future__ import annotations

import contextlib
import json
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from helpers import blobs
from PIL import Image

from mnist_dvc.errors import ImageError
from mnist_dvc.files import own_sums, sha256, sha256sums
from mnist_dvc.model import build
from mnist_dvc.model.weights import Card, weights_bytes
from mnist_dvc.onnx import onnx_bytes
from mnist_dvc.params import ModelParams
from mnist_dvc.paths import Paths
from mnist_dvc.pipeline.predict import predict

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = os.fsdecode(b"\xff\x1b[31m\n[red]\xc3\xbc.png")
CARD = Card("compact", 19_706, "mnist", "0" * 64, {})


def model_bytes(*, poisoned: bool = False, seed: int = 0) -> bytes:
    state = build(ModelParams(name="compact", dropout=0.0), torch.Generator().manual_seed(seed)).state_dict()
    if poisoned:
        state["head.2.weight"].fill_(torch.finfo(torch.float32).max)  # finite, but not what comes of it
    return weights_bytes(dict(state), CARD)


def record(path: Path, content: bytes, sums: Path) -> None:
    path.write_bytes(content)
    sums.write_bytes(sha256sums({path.name: content}))


def told(capsys: pytest.CaptureFixture[str], *sources: str, model: Path | None = None) -> list[dict[str, Any]]:
    """The answers of ``predict --json``, which may end in a refusal, and are ASCII for every locale."""
    capsys.readouterr()
    with contextlib.suppress(ImageError):
        predict(sources, model or Paths().model, as_json=True)
    lines = capsys.readouterr().out.splitlines()
    assert all(line.isascii() for line in lines)
    return [json.loads(line) for line in lines]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model, ten pictures in ``digits``, and a wide terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    model = Paths(tmp_path).model
    model.parent.mkdir()
    model.write_bytes(model_bytes())
    (tmp_path / "digits").mkdir()
    for number, image_HW in enumerate(blobs(1).images_NHW):
        ink_HW = np.pad(np.where(image_HW > 120, image_HW, 0)[4:24, 4:24], 4)
        Image.fromarray(255 - ink_HW if number == 3 else ink_HW).save(tmp_path / f"digits/{number}.png")
    return tmp_path


@pytest.fixture(scope="module")
def converted() -> bytes:
    """The ONNX file of the model in ``home``, converted once: that takes two seconds."""
    model = build(ModelParams(name="compact", dropout=0.0), torch.Generator().manual_seed(0)).eval()
    return onnx_bytes(model, 18, {"network": "compact", "model_sha256": sha256(model_bytes())})


@pytest.fixture
def exported(home: Path, converted: bytes) -> Paths:
    """``home`` after ``train`` and ``export``: both files of the model, each with its digest on record."""
    paths = Paths(home)
    record(paths.model, model_bytes(), paths.sums)
    record(paths.onnx, converted, own_sums(paths.onnx))
    return paths
