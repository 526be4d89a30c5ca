from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
import torch
from exporting import network, network_input, publish
from helpers import NETWORK, PARAMETERS, params, params_of, remove_split, write_scores
from ruamel.yaml import YAML
from torch import nn

from mnist_dvc.data.prepared import Prepared
from mnist_dvc.errors import ArtifactError, DataError
from mnist_dvc.files import own_sums, sha256, sha256sums
from mnist_dvc.model.weights import read_model, weights_bytes
from mnist_dvc.onnx import onnx_bytes
from mnist_dvc.paths import Paths
from mnist_dvc.pipeline import export as stage
from mnist_dvc.pipeline.export import export
from mnist_dvc.serving import SEAL, OnnxModel, read_onnx

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mnist_dvc.params import Params

RIGHT = OnnxModel.logits
KINDS = ("reference", "compact", "sprint")
"""One of each family: those of another width are the same code."""


@pytest.fixture
def published(workspace: Paths) -> Paths:
    publish(workspace)
    return workspace


@pytest.fixture(scope="module")
def exported() -> bytes:
    """The file of the published network, converted once: that takes two seconds."""
    return onnx_bytes(network(NETWORK), 18, {})


@pytest.fixture
def converted_before(exported: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "onnx_bytes", lambda *_: exported)


def test_same_network_gives_the_same_bytes(exported: bytes) -> None:
    assert onnx_bytes(network(NETWORK), 18, {}) == exported


def test_every_pixel_is_normalised_to_the_same_bits_as_in_pytorch() -> None:
    """A network that hands on what it is given; each of the 256 levels is in the image."""
    images_N1HW = np.arange(784, dtype=np.int64).astype(np.uint8).reshape(1, 1, 28, 28)
    got_NK = OnnxModel.of(onnx_bytes(nn.Flatten(), 18, {})).logits(images_N1HW, 1)
    np.testing.assert_array_equal(got_NK, network_input(images_N1HW).flatten(1).numpy())
    assert len(set(got_NK.ravel().tolist())) == 256


def test_file_is_written_and_told(published: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    export(params(), published)
    told = capsys.readouterr()
    kilobytes = published.onnx.stat().st_size / 1000
    assert f"Exported {NETWORK}: {kilobytes:.1f} KB, opset 18, same answers and logits within " in told.out
    assert " of PyTorch's on 300 training images  ->  " in told.out
    assert told.err == ""


def test_digest_of_the_file_is_written_beside_it(published: Paths) -> None:
    export(params(), published)
    content = published.onnx.read_bytes()
    assert own_sums(published.onnx).read_bytes() == f"{sha256(content)}  model.onnx\n".encode()
    assert read_onnx(published.onnx).properties[SEAL].encode() in content
    changed = content.replace(b"compact", b"compacu", 1)
    assert changed != content
    published.onnx.write_bytes(changed)
    with pytest.raises(ArtifactError, match="SHA-256: got .*, as in model.onnx.sha256 beside it"):
        read_onnx(published.onnx)


@pytest.mark.parametrize("opset", [18, 23])
def test_file_has_the_opset_of_the_params_and_says_what_it_is(published: Paths, opset: int) -> None:
    export(with_export(opset=opset), published)
    proto = onnx.load(published.onnx)
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", opset)]
    prepared = Prepared.open(published.prepared)
    told = {entry.key: entry.value for entry in proto.metadata_props}
    assert len(told.pop(SEAL)) == 64
    assert told == {
        "network": NETWORK,
        "dataset": "mnist",
        "data_digest": prepared.digest,
        "model_sha256": sha256(published.model.read_bytes()),
    }


def with_export(**changes: float) -> Params:
    chosen = params()
    return chosen.model_copy(update={"export": chosen.export.model_copy(update=changes)})


EXPORT = """
import sys
from pathlib import Path
from mnist_dvc.params import load_params
from mnist_dvc.paths import Paths
from mnist_dvc.pipeline.export import export
for folder in map(Path, sys.argv[1:]):
    export(load_params(folder / "params.yaml"), Paths(folder))
"""
OTHER_HASHES = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"


@pytest.mark.faults
def test_two_processes_write_the_same_bytes_and_no_path(workspace: Paths, tmp_path: Path) -> None:
    places = {name: Paths(tmp_path / name) for name in KINDS}
    for name, paths in places.items():
        shutil.copytree(workspace.prepared, paths.prepared)
        publish(paths, name)
        with (paths.root / "params.yaml").open("w") as file:
            YAML(typ="safe", pure=True).dump(params_of(name).model_dump(), file)
    process = [sys.executable, "-c", EXPORT, *(str(paths.root) for paths in places.values())]
    subprocess.run(process, env=os.environ | {"PYTHONHASHSEED": OTHER_HASHES}, check=True)
    there = {name: paths.onnx.read_bytes() for name, paths in places.items()}
    for name, paths in places.items():
        paths.onnx.unlink()
        export(params_of(name), paths)
    assert {name: paths.onnx.read_bytes() for name, paths in places.items()} == there
    folders = {str(Path(stage.__file__).parent), str(Path(torch.__file__).parent), str(Path.home()), str(tmp_path)}
    for content in there.values():
        assert not [folder for folder in folders if folder.encode() in content]
        assert b".py" not in content


def test_the_test_of_paths_can_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mnist_dvc.onnx._strip", lambda _: None)
    assert str(Path(stage.__file__).parents[1]).encode() in onnx_bytes(network(NETWORK), 18, {})


def damaged(paths: Paths) -> None:
    content = bytearray(paths.model.read_bytes())
    content[-5] ^= 4
    paths.model.write_bytes(content)
    paths.sums.write_bytes(sha256sums({paths.model.name: bytes(content)}))


def another(paths: Paths) -> None:
    record = paths.sums.read_bytes()
    publish(paths, seed=1)
    paths.sums.write_bytes(record)


REFUSED: dict[str, tuple[Callable[[Paths], None], str]] = {
    "damaged": (damaged, "which the file carries"),
    "another": (another, "as in SHA256SUMS beside it"),
    "missing": (lambda paths: paths.model.unlink(), "the model that `train` writes"),
    "not on record": (lambda paths: paths.sums.unlink(), "the digests that `train` writes"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_no_model_but_the_whole_recorded_one_is_exported(published: Paths, what: str) -> None:
    change, message = REFUSED[what]
    change(published)
    published.onnx.write_bytes(b"old")
    with pytest.raises(ArtifactError, match=message):
        export(params(), published)
    assert published.onnx.read_bytes() == b"old"
    assert not own_sums(published.onnx).exists()


def test_model_that_computes_no_numbers_is_refused(published: Paths) -> None:
    model, card = read_model(published.model)
    state = {name: torch.full_like(t, 1e38) if t.ndim > 1 else t for name, t in model.state_dict().items()}
    content = weights_bytes(state, card)
    published.model.write_bytes(content)
    published.sums.write_bytes(sha256sums({published.model.name: content}))
    write_scores(published, PARAMETERS)
    with pytest.raises(ArtifactError, match="logits of the images: got NaN or infinity"):
        export(params(), published)
    assert not published.onnx.exists()


def off_by(shift_K: list[float], from_size: int) -> Callable[..., NDArray[np.float32]]:
    """onnxruntime, wrong for batches of at least ``from_size`` images."""

    def logits(self: OnnxModel, images_N1HW: NDArray[np.uint8], batch_size: int) -> NDArray[np.float32]:
        right_NK = RIGHT(self, images_N1HW, batch_size)
        return right_NK + np.array(shift_K, np.float32) if batch_size >= from_size else right_NK

    return logits


@pytest.mark.parametrize(
    ("shift_K", "message"),
    [
        ([0.01] * 10, "logits: got a difference of 0.01, expected at most 0.0001 from PyTorch's"),
        ([float("nan")] * 10, "logits: got a difference of nan|answers: got others"),
        ([0.0] * 9 + [100.0], r"answers: got others than PyTorch's for \d+ of 300 images, expected the same"),
    ],
    ids=["logits", "NaN", "digits"],
)
@pytest.mark.parametrize("from_size", [1, 250])
@pytest.mark.usefixtures("converted_before")
def test_file_that_answers_otherwise_is_never_written(
    published: Paths, monkeypatch: pytest.MonkeyPatch, shift_K: list[float], message: str, from_size: int
) -> None:
    published.onnx.write_bytes(b"old")
    monkeypatch.setattr(OnnxModel, "logits", off_by(shift_K, from_size))
    with pytest.raises(ArtifactError, match=message):
        export(params(), published)
    assert published.onnx.read_bytes() == b"old"


def test_difference_within_the_tolerance_is_taken(published: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of the test above: it is the tolerance that refuses."""
    monkeypatch.setattr(OnnxModel, "logits", off_by([0.01] * 10, 1))
    export(with_export(tolerance=0.02), published)
    assert published.onnx.is_file()


def test_network_with_a_fixed_number_of_images_is_found(published: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the two batch sizes are for: a file of one image answers right, one at a time."""

    def fixed(model: nn.Module, opset: int, properties: dict[str, str]) -> bytes:
        proto = onnx.load_from_string(onnx_bytes(model, opset, properties))
        proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
        content: bytes = proto.SerializeToString()
        return content

    monkeypatch.setattr(stage, "onnx_bytes", fixed)
    with pytest.raises(Exception, match="INVALID_ARGUMENT"):
        export(params(), published)
    assert not published.onnx.exists()


def test_network_that_predict_would_refuse_is_not_exported(published: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """A network may answer as PyTorch does by an operator that is none of ours."""

    def foreign(model: nn.Module, opset: int, properties: dict[str, str]) -> bytes:
        proto = onnx.load_from_string(onnx_bytes(model, opset, properties))
        last = proto.graph.node[-1]
        last.output[0] = "before"
        proto.graph.node.append(onnx.helper.make_node("Identity", ["before"], ["logits"]))
        content: bytes = proto.SerializeToString()
        return content

    monkeypatch.setattr(stage, "onnx_bytes", foreign)
    with pytest.raises(
        ArtifactError, match="model.onnx: node 25 'Identity': operator: got Identity, expected one of A"
    ):
        export(params(), published)
    assert not published.onnx.exists()


def test_test_and_validation_images_are_never_read(published: Paths) -> None:
    for split_name in ("test", "validation"):
        remove_split(published.prepared, split_name)
    export(params(), published)
    assert published.onnx.is_file()


def test_training_images_are_read_so_the_test_above_can_fail(published: Paths) -> None:
    remove_split(published.prepared, "train")
    with pytest.raises(DataError, match="train_images"):
        export(params(), published)


@pytest.mark.usefixtures("converted_before")
def test_first_images_are_compared_up_to_ten_thousand(published: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def logits(self: OnnxModel, images_N1HW: NDArray[np.uint8], batch_size: int) -> NDArray[np.float32]:
        asked.append(images_N1HW)
        return RIGHT(self, images_N1HW, batch_size)

    assert stage.MOST_IMAGES == 10_000
    monkeypatch.setattr(stage, "MOST_IMAGES", 70)
    monkeypatch.setattr(OnnxModel, "logits", logits)
    export(params(), published)
    first_NHW = Prepared.open(published.prepared).read("train").images_NHW[:70]
    assert [len(images_N1HW) for images_N1HW in asked] == [70, 70]
    np.testing.assert_array_equal(asked[0][:, 0], first_NHW)


@pytest.mark.usefixtures("converted_before")
def test_metrics_tell_how_close_the_file_comes(published: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(OnnxModel, "logits", off_by([0.0] * 9 + [0.03125], 250))
    export(with_export(tolerance=0.1), published)
    told = json.loads(published.export_metrics.read_bytes())
    assert told.pop("largest_difference") == pytest.approx(0.03125, abs=1e-4)
    assert told == {
        "dataset": "mnist",
        "network": NETWORK,
        "images": 300,
        "differing_answers": 0,
        "bytes": published.onnx.stat().st_size,
        "opset": 18,
    }


SCORES: dict[str, tuple[Callable[[Paths], object], str]] = {
    "missing": (lambda paths: paths.test_metrics.unlink(), "file: got nothing, expected the metrics that `evaluate` w"),
    "damaged": (lambda paths: paths.test_metrics.write_text('{"accuracy": 1'), "SHA-256: got .*, as in "),
    "of another run": (
        lambda paths: paths.test_metrics.write_bytes(paths.test_metrics.read_bytes().replace(b"0.05", b"0.06")),
        "SHA-256: got .*, as in ",
    ),
    "of another network": (
        lambda paths: write_scores(paths, PARAMETERS + 1),
        "parameters: got 887, expected 886, as of the published model; run `evaluate` again",
    ),
    "on other digits": (
        lambda paths: write_scores(paths, PARAMETERS, "mnist-5k"),
        "dataset: got mnist-5k, expected m",
    ),
}


@pytest.mark.parametrize("what", SCORES)
@pytest.mark.usefixtures("converted_before")
def test_no_card_is_written_without_the_scores_of_the_model(published: Paths, what: str) -> None:
    change, message = SCORES[what]
    change(published)
    with pytest.raises(ArtifactError, match=f"metrics.json: {message}"):
        export(params(), published)
    assert not published.model_card.exists()
    assert not published.onnx.exists()


@pytest.mark.usefixtures("converted_before")
def test_card_and_metrics_of_the_same_run_are_the_same_bytes(published: Paths) -> None:
    written = []
    for _ in range(2):
        export(params(), published)
        written.append((published.model_card.read_bytes(), published.export_metrics.read_bytes()))
        published.model_card.unlink()
    assert written[0] == written[1]


@pytest.mark.usefixtures("converted_before")
def test_card_tells_of_this_run(published: Paths) -> None:
    export(params(), published)
    card = published.model_card.read_text(encoding="utf-8")
    assert "accuracy | 97.00 % |" in card
    assert "| `learning_rate` | 0.02 |" in card
    assert f"| `model.onnx` | `{sha256(published.onnx.read_bytes())}` |" in card
    assert f"| `model.safetensors` | `{sha256(published.model.read_bytes())}` |" in card
    export(params(learning_rate=0.03), published)
    assert "| `learning_rate` | 0.03 |" in published.model_card.read_text(encoding="utf-8")


def test_nothing_of_the_exporters_talk_is_let_through() -> None:
    """The libraries' warnings come and go with their versions, so they are made here."""
    code = (
        "import logging, warnings; from mnist_dvc.onnx import _quiet\n"
        "with _quiet(): print('w'); warnings.warn('w'); logging.getLogger('onnxscript').warning('w')\n"
        "logging.getLogger('onnxscript').warning('afterwards')"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout + result.stderr == "afterwards\n"
