"""The networks that the package carries: the first seed of the studies, with a manifest of what they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from mnist_dvc.study.complete import MODEL, read_summary
from mnist_dvc.study.defined import refuse_other_md5
from mnist_dvc.study.records import METRICS, Trial, read_record

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.model.weights import Card

__all__ = ["release"]

LARGEST = 2**20
"""Bytes; a network below 20,000 parameters takes 80,000."""
EXPECTED = "a file of a study that has run"
TOLD = ("accuracy", "errors", "images", "nll", "ece")
"""What the manifest repeats of a trial's scores."""
OPSET = 18
"""The oldest that the exporter writes, so that the oldest runtimes read it."""


def release(root: Path, target: Path = FOLDER) -> None:
    """Write the models of the studies in the repository ``root`` to ``target``: weights, ONNX, description, manifest.

    Raises:
        ArtifactError: a study's summary, a trial's model or its metrics are missing, damaged, not those on record, or
            not of one network; nothing is written.
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
    seed = read_summary(study, EXPECTED).seeds[0]
    path = Paths(study).trial(network, seed) / MODEL
    test = read_record(path.with_name(METRICS), Trial, EXPECTED)
    files, card = _files(network, study, path)
    for what in ("network", "parameters", "dataset"):
        if getattr(card, what) != getattr(test, what):
            raise ArtifactError(path, what, got=getattr(card, what), expected=f"{getattr(test, what)}, as of {METRICS}")
    told = {name: {"sha256": sha256(content), "bytes": len(content)} for name, content in files.items()}
    scores = test.model_dump(include=set(TOLD))
    return files, {"files": told, "study": study.name, "seed": seed} | card.told() | {"test": scores}


def _files(network: str, study: Path, path: Path) -> tuple[dict[str, bytes], Card]:
    """The model file ``path`` of ``study`` and what is made of it, by name, and the model's card."""
    model, card = read_model(path)
    weights = read_regular(path, LARGEST, ArtifactError, EXPECTED)
    refuse_other_md5(study, path, weights)
    files = {
        released_weights(network).name: weights,
        released_onnx(network).name: onnx_bytes(model, OPSET, properties_of(card, sha256(weights))),
        released_description(network).name: json_bytes(description_json(describe(network, model))),
    }
    return files, card
