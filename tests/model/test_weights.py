from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import safetensors.torch
import torch

from mnist_dvc.errors import ArtifactError
from mnist_dvc.model import NETWORKS, build
from mnist_dvc.model.weights import METADATA_KEY, Card, read_model, weights_bytes
from mnist_dvc.params import ModelParams

if TYPE_CHECKING:
    from pathlib import Path

CARD = Card("compact", 19_386, "mnist", "0" * 64, {"torch": "2.15", "threads": 2, "device": "cpu"})


def state(name: str = "compact", seed: int = 0) -> dict[str, torch.Tensor]:
    model = build(ModelParams(name=name, dropout=0.0), torch.Generator().manual_seed(seed))
    return dict(model.state_dict())


@pytest.mark.parametrize("name", NETWORKS)
def test_round_trip_gives_back_network_and_card(tmp_path: Path, name: str) -> None:
    card = Card(name, 19_000, "mnist", "f" * 64, {"threads": 1})
    (tmp_path / "model.safetensors").write_bytes(weights_bytes(state(name), card))
    model, read = read_model(tmp_path / "model.safetensors")
    assert read == card
    assert not model.training
    loaded = model.state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state(name).items())


def test_bytes_do_not_depend_on_layout_or_process() -> None:
    here = weights_bytes(state(), CARD)
    laid_out = {
        key: value.to(memory_format=torch.channels_last) if value.ndim == 4 else value for key, value in state().items()
    }
    assert weights_bytes(laid_out, CARD) == here
    code = (
        "import sys, hashlib; sys.path[:0] = ['tests', 'tests/model']; import test_weights as t;"
        "print(hashlib.sha256(t.weights_bytes(t.state(), t.CARD)).hexdigest())"
    )
    digests = {subprocess.check_output([sys.executable, "-c", code], text=True) for _ in range(2)}
    assert len(digests) == 1


def changed_header(content: bytes, **changes: object) -> bytes:
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    told = json.loads(header["__metadata__"][METADATA_KEY]) | changes
    header["__metadata__"][METADATA_KEY] = json.dumps(told)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + content[8 + length :]


GOOD = weights_bytes(state(), CARD)
BAD = {
    "empty": (b"", "content: got damage"),
    "text": (b"not a model", "content: got damage"),
    "truncated": (GOOD[:-100], "content: got damage"),
    "header length": (b"\xff" * 8 + GOOD[8:], "content: got damage"),
    "no metadata": (safetensors.torch.save(state()), "content: got damage"),
    "other schema": (changed_header(GOOD, schema=2), "schema 2, expected 1"),
    "unknown network": (changed_header(GOOD, network="os.system"), "KeyError: 'os.system'"),
    "other network": (changed_header(GOOD, network="reference"), "tensors: got Error"),
    "tensor missing": (weights_bytes({k: v for k, v in state().items() if k != "head.3.bias"}, CARD), "head.3.bias"),
    "tensor too many": (weights_bytes(state() | {"extra": torch.zeros(1)}, CARD), "extra"),
    "tensor of another shape": (weights_bytes(state() | {"head.3.bias": torch.zeros(11)}, CARD), "size mismatch"),
}


@pytest.mark.parametrize("name", BAD)
def test_unfit_file_is_refused(tmp_path: Path, name: str) -> None:
    content, expected = BAD[name]
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ArtifactError) as caught:
        read_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert expected in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == 65


def test_missing_file_says_what_makes_it(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="expected the model that `train` writes"):
        read_model(tmp_path / "model.safetensors")
