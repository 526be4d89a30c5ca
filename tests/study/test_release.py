"""The networks that the package carries are those of the first seed, whole, with a manifest that says what they are."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from studying import write_trial

from mnist_dvc.describe import parameter_count
from mnist_dvc.description import read_description
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import SUMS, sha256, sha256sums
from mnist_dvc.model import NETWORKS, build
from mnist_dvc.model.weights import Card, read_model, weights_bytes
from mnist_dvc.onnx import onnx_bytes
from mnist_dvc.params import ModelParams
from mnist_dvc.paths import Paths
from mnist_dvc.pretrained import MANIFEST, RELEASED, released_description, released_onnx, released_weights
from mnist_dvc.serving import read_onnx
from mnist_dvc.study.release import release
from mnist_dvc.study.summary import study_summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import nn

ERRORS = {1: 10, 2: 1, 3: 5}
TOLD = ("accuracy", "errors", "images", "nll", "ece")
COUNTS = {network: parameter_count(NETWORKS[network](0.0)) for network in RELEASED}


@pytest.fixture(scope="module")
def converted() -> dict[str, bytes]:
    """The ONNX files of this module by the model file that they come from."""
    return {}


@pytest.fixture(autouse=True)
def _converted_once(converted: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """A conversion takes seconds, and that it gives the same bytes each time is a test of the exporter's."""

    def once(model: nn.Module, opset: int, properties: dict[str, str]) -> bytes:
        key = properties["model_sha256"]
        if key not in converted:
            converted[key] = onnx_bytes(model, opset, properties)
        return converted[key]

    monkeypatch.setattr("mnist_dvc.study.release.onnx_bytes", once)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with the studies that are released from, three seeds each; the first seed is the worst."""
    for network, study in RELEASED.items():
        for seed, errors in ERRORS.items():
            folder = write_trial(tmp_path / "studies" / study, network, seed, errors=errors, parameters=COUNTS[network])
            write_model(folder, network, seed)
        study_summary(Paths(tmp_path / "studies" / study))
    return tmp_path


def write_model(folder: Path, network: str, seed: int) -> None:
    model = build(ModelParams(name=network, dropout=0.0), torch.Generator().manual_seed(seed))
    card = Card(network, COUNTS[network], "mnist", "d" * 64, {"threads": 1})
    (folder / "model.safetensors").write_bytes(weights_bytes(model.state_dict(), card))


def model_of(root: Path, network: str, seed: int) -> Path:
    return Paths(root / "studies" / RELEASED[network]).trial(network, seed) / "model.safetensors"


def manifest(target: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((target / MANIFEST).read_text())
    return loaded


def test_files_and_manifest_are_written(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = root / "package"
    release(root, target)
    parts = [part for name in RELEASED for part in (f"{name}.safetensors", f"{name}.onnx", f"{name}.json")]
    assert {path.name for path in target.iterdir()} == {MANIFEST, SUMS, *parts}
    listed = {name: (target / name).read_bytes() for name in (*parts, MANIFEST)}
    assert (target / SUMS).read_bytes() == sha256sums(listed)
    assert f"Released compact, reference  ->  {target}" in capsys.readouterr().out
    assert list(manifest(target)) == list(RELEASED)
    for network, told in manifest(target).items():
        scores = json.loads(model_of(root, network, 1).with_name("metrics.json").read_bytes())
        contents = {name: listed[name] for name in parts if name.startswith(f"{network}.")}
        assert told == {
            "files": {name: {"sha256": sha256(file), "bytes": len(file)} for name, file in contents.items()},
            "study": RELEASED[network],
            "seed": 1,
            "network": network,
            "parameters": COUNTS[network],
            "dataset": "mnist",
            "data_digest": "d" * 64,
            "provenance": {"threads": 1},
            "test": {name: scores[name] for name in TOLD},
        }
        assert read_model(released_weights(network, target))[1].network == network
        properties = read_onnx(released_onnx(network, target)).properties
        assert properties["model_sha256"] == told["files"][f"{network}.safetensors"]["sha256"]
        assert read_description(released_description(network, target)).network == network


@pytest.mark.parametrize("network", RELEASED)
def test_first_seed_is_released_whatever_its_accuracy(root: Path, network: str) -> None:
    release(root, root / "package")
    assert released_weights(network, root / "package").read_bytes() == model_of(root, network, 1).read_bytes()


@pytest.mark.parametrize("network", RELEASED)
def test_another_first_seed_would_be_seen(root: Path, network: str) -> None:
    """The twin: the files of the seeds differ, and it is the summary that says which is first."""
    first = model_of(root, network, 1)
    weights = first.read_bytes()
    shutil.rmtree(first.parent)
    study_summary(Paths(root / "studies" / RELEASED[network]))
    release(root, root / "package")
    released = released_weights(network, root / "package").read_bytes()
    assert released == model_of(root, network, 2).read_bytes() != weights
    assert manifest(root / "package")[network]["seed"] == 2


def test_same_studies_give_the_same_bytes(root: Path) -> None:
    release(root, root / "one")
    release(root, root / "other")
    for path in (root / "one").iterdir():
        assert (root / "other" / path.name).read_bytes() == path.read_bytes()


def flip(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes((content[-1] ^ 1,)))


DAMAGES: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "missing model": ("model.safetensors", lambda path: path.unlink(), "file: got nothing"),
    "damaged model": ("model.safetensors", flip, "SHA-256: got .*, which the file carries"),
    "cut model": ("model.safetensors", lambda path: path.write_bytes(path.read_bytes()[:50]), "header: got damage"),
    "missing metrics": ("metrics.json", lambda path: path.unlink(), "file: got nothing"),
    "metrics that are no JSON": ("metrics.json", lambda path: path.write_text("{"), "metrics.json: "),
    "metrics without a score": ("metrics.json", lambda path: path.write_text("{}"), "metrics.json: "),
}


def test_weights_of_another_network_are_not_released(root: Path) -> None:
    """Whole, with a digest of their own, and in the place of the right ones."""
    write_model(model_of(root, "compact", 1).parent, "reference", 1)
    with pytest.raises(ArtifactError, match="network: got reference, expected compact, as of metrics.json"):
        release(root, root / "package")
    assert not (root / "package").exists()


@pytest.mark.parametrize("network", RELEASED)
@pytest.mark.parametrize("what", DAMAGES)
def test_missing_or_damaged_trial_is_refused(root: Path, network: str, what: str) -> None:
    name, damage, message = DAMAGES[what]
    damage(model_of(root, network, 1).with_name(name))
    with pytest.raises(ArtifactError, match=message):
        release(root, root / "package")
    assert not (root / "package").exists()


@pytest.mark.parametrize("text", [None, "{", "{}"])
def test_missing_or_damaged_summary_is_refused(root: Path, text: str | None) -> None:
    path = root / "studies" / RELEASED["compact"] / "summary.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(ArtifactError, match=r"summary\.json: "):
        release(root, root / "package")
    assert not (root / "package").exists()
