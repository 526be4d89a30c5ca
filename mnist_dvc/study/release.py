"""The networks that the package carries: the first seed of the studies, with a manifest of what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mnist_dvc.describe import describe
from mnist_dvc.description import description_json
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import SUMS, json_bytes, publish, read_regular, sha256, sha256sums
from mnist_dvc.model.weights import read_model
from mnist_dvc.onnx import onnx_bytes, properties_of
from mnist_dvc.paths import Paths
from mnist_dvc.pretrained import (
    FOLDER,
    MANIFEST,
    RELEASED,
    released_description,
    released_onnx,
    released_weights,
)
from mnist_dvc.study.records import read_record

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["release"]

LARGEST = 2**20
"""Bytes; a network below 20,000 parameters takes 80,000."""
EXPECTED = "a file of a study that has run"
OPSET = 18
"""The oldest that the exporter writes, so that the oldest runtimes read it."""


def release(root: Path, target: Path = FOLDER) -> None:
    """Write the models of the studies in the repository ``root`` to ``target``: weights, ONNX, description, manifest.

    Raises:
        ArtifactError: a study's summary, a trial's model or its metrics are missing or damaged; nothing is written.
        OSError: a file cannot be written.
    """
    manifest: dict[str, Any] = {}
    contents: dict[Path, bytes] = {}
    for network, study in RELEASED.items():
        files, manifest[network] = _first_trial(network, root / "studies" / study)
        contents |= {target / name: content for name, content in files.items()}
    contents[target / MANIFEST] = json_bytes(manifest)
    sums = target / SUMS
    publish(contents | {sums: sha256sums({path.name: content for path, content in contents.items()})}, sums)
    print(f"Released {', '.join(manifest)}  ->  {target}")


def _first_trial(network: str, study: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The files of the first seed of ``study`` by name, and what the manifest says of them."""
    (seed, *_) = read_record(study / "summary.json", _Summary, EXPECTED).seeds
    path = Paths(study).trial(network, seed) / "model.safetensors"
    test = read_record(path.with_name("metrics.json"), _Test, EXPECTED).model_dump()
    files, card = _files(network, path)
    told = {name: {"sha256": sha256(content), "bytes": len(content)} for name, content in files.items()}
    return files, {"files": told, "study": study.name, "seed": seed} | card | {"test": test}


def _files(network: str, path: Path) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The model file ``path`` and what is made of it, by name, and the model's card."""
    model, card = read_model(path)
    weights = read_regular(path, LARGEST, ArtifactError, EXPECTED)
    files = {
        released_weights(network).name: weights,
        released_onnx(network).name: onnx_bytes(model, OPSET, properties_of(card, sha256(weights))),
        released_description(network).name: json_bytes(description_json(describe(network, model))),
    }
    return files, card.told()


class _Summary(BaseModel):
    """What is read of a summary.json."""

    model_config = ConfigDict(frozen=True, strict=True)

    seeds: Annotated[list[int], Field(min_length=1)]


class _Test(BaseModel):
    """What the manifest repeats of a metrics.json."""

    model_config = ConfigDict(frozen=True, strict=True)

    accuracy: float
    errors: int
    images: int
    nll: float
    ece: float
