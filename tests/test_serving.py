from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from helpers import NO_FILES

from mnist_dvc import graph
from mnist_dvc.data.digits import normalise
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import BLANK, own_sums, sealed, sha256sums
from mnist_dvc.model import build
from mnist_dvc.onnx import onnx_bytes
from mnist_dvc.params import ModelParams
from mnist_dvc.serving import LARGEST, SEAL, OnnxModel, read_onnx

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

IMAGES_N1HW = np.random.default_rng(0).integers(0, 256, (7, 1, 28, 28), dtype=np.uint8)


def network() -> nn.Module:
    return build(ModelParams(name="compact-1k", dropout=0.0), torch.Generator().manual_seed(0)).eval()


@pytest.fixture(scope="module")
def exported() -> bytes:
    return onnx_bytes(network(), 18, {"network": "compact-1k"})


def resealed(content: bytes, **properties: str) -> bytes:
    """``content`` with other properties and a digest that fits them, as somebody else could make it."""
    proto = onnx.load_from_string(content)
    kept = {entry.key: entry.value for entry in proto.metadata_props} | properties | {SEAL: BLANK}
    onnx.helper.set_model_props(proto, kept)
    blank: bytes = proto.SerializeToString(deterministic=True)
    return sealed(blank)


def test_it_answers_as_pytorch_does_whatever_the_batch(tmp_path: Path, exported: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(exported)
    model = read_onnx(path)
    expected_NK = network()(normalise(torch.from_numpy(IMAGES_N1HW) / 255)).detach().numpy()
    for size in (1, 3, 100):
        np.testing.assert_allclose(model.logits(IMAGES_N1HW, size), expected_NK, atol=1e-4)
    assert model.properties["network"] == "compact-1k"


@pytest.mark.parametrize("position", [0, 40, 500, 2000, -1])
def test_no_changed_byte_is_accepted(tmp_path: Path, exported: bytes, position: int) -> None:
    damaged = bytearray(exported)
    damaged[position] ^= 1
    (tmp_path / "model.onnx").write_bytes(damaged)
    with pytest.raises(ArtifactError, match="model.onnx: (SHA-256|content|digest): got"):
        read_onnx(tmp_path / "model.onnx")


def test_a_digest_that_fits_is_accepted(tmp_path: Path, exported: bytes) -> None:
    """The twin: what is refused above is the change, not the way of making it."""
    (tmp_path / "model.onnx").write_bytes(resealed(exported, network="another"))
    assert read_onnx(tmp_path / "model.onnx").properties["network"] == "another"


@pytest.mark.parametrize("content", [b"", b"no protobuf at all", b"\x08\x0a" * 1000], ids=["empty", "text", "noise"])
def test_what_is_no_onnx_file_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match="model.onnx"):
        read_onnx(tmp_path / "model.onnx")


def test_a_network_that_the_runtime_refuses_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exported: bytes
) -> None:
    """Our own check, which would refuse it first, is taken away."""
    monkeypatch.setattr(graph, "checked", lambda content, _: content)
    proto = onnx.load_from_string(exported)
    proto.graph.node[0].op_type = "Nonsense"
    (tmp_path / "model.onnx").write_bytes(resealed(proto.SerializeToString(deterministic=True)))
    with pytest.raises(ArtifactError, match="model.onnx: network: got") as caught:
        read_onnx(tmp_path / "model.onnx")
    assert "\n" not in str(caught.value)


def taking(element: int, exported: bytes) -> bytes:
    """``exported`` with another type of pixels, as earlier versions wrote it."""
    proto = onnx.load_from_string(exported)
    proto.graph.input[0].type.tensor_type.elem_type = element
    content: bytes = proto.SerializeToString(deterministic=True)
    return resealed(content)


def test_file_that_takes_other_pixels_is_refused(tmp_path: Path, exported: bytes) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(taking(onnx.TensorProto.FLOAT, exported))
    words = r"input: got images float \[N, 1, 28, 28\], expected images uint8 \[N, 1, 28, 28\]; run `export` again"
    with pytest.raises(ArtifactError, match=words):
        read_onnx(path)
    path.write_bytes(taking(onnx.TensorProto.UINT8, exported))
    assert read_onnx(path).logits(IMAGES_N1HW, 7).shape == (7, 10)


@pytest.mark.parametrize("kind", sorted(NO_FILES.keys() - {"circle"}))
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    NO_FILES[kind](tmp_path / "model.onnx")
    with pytest.raises(ArtifactError, match="the ONNX file that `export` writes"):
        read_onnx(tmp_path / "model.onnx")


def test_file_beyond_the_largest_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(bytes(LARGEST + 1))
    with pytest.raises(ArtifactError, match="size: got more than 1,048,576 bytes"):
        read_onnx(tmp_path / "model.onnx")


def test_file_without_its_own_digest_is_refused(tmp_path: Path, exported: bytes) -> None:
    """As an exporter other than ours writes it; its network is fine."""
    proto = onnx.load_from_string(exported)
    del proto.metadata_props[:]
    content = proto.SerializeToString(deterministic=True)
    (tmp_path / "model.onnx").write_bytes(content)
    with pytest.raises(ArtifactError, match="digest: got none, expected the ONNX file that `export` writes"):
        read_onnx(tmp_path / "model.onnx")
    assert OnnxModel.of(content).logits(IMAGES_N1HW, 7).shape == (7, 10)


def test_another_file_than_the_one_on_record_is_refused(tmp_path: Path, exported: bytes) -> None:
    """Whole, with a digest that fits, but not the one that was exported."""
    path = tmp_path / "model.onnx"
    path.write_bytes(exported)
    own_sums(path).write_bytes(sha256sums({path.name: exported}))
    assert read_onnx(path).properties["network"] == "compact-1k"
    path.write_bytes(resealed(exported, network="another"))
    with pytest.raises(ArtifactError, match="SHA-256: got .*, as in model.onnx.sha256 beside it"):
        read_onnx(path)
    own_sums(path).unlink()
    assert read_onnx(path).properties["network"] == "another"
