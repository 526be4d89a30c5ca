"""The weights that the package carries: the first seed of the studies, with a manifest of what they are."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import json_bytes, read_regular, sha256, write_atomically
from mnist_dvc.model.weights import read_model
from mnist_dvc.pretrained import FOLDER, MANIFEST, RELEASED, released_model
from mnist_dvc.stages.paths import Paths

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["release"]

LARGEST = 2**20


def release(root: Path, target: Path = FOLDER) -> None:
    """Copy the models of the studies in the repository ``root`` to ``target``, and write its manifest.

    Raises:
        ArtifactError: a trial's model or its metrics are missing or damaged.
        OSError: a file cannot be written.
    """
    manifest = {network: _release(network, root / "studies" / study, target) for network, study in RELEASED.items()}
    write_atomically(target / MANIFEST, json_bytes(manifest))
    print(f"Released {', '.join(manifest)}  ->  {target}")


def _release(network: str, study: Path, target: Path) -> dict[str, Any]:
    seed = json.loads(_content(study / "summary.json"))["seeds"][0]
    trial = Paths(study).trial(network, seed)
    _, card = read_model(trial / "model.safetensors")
    metrics = json.loads(_content(trial / "metrics.json"))
    content = _content(trial / "model.safetensors")
    file = released_model(network, target)
    write_atomically(file, content)
    figures = {key: metrics[key] for key in ("accuracy", "errors", "images", "nll", "ece")}
    told = {"file": file.name, "sha256": sha256(content), "bytes": len(content), "study": study.name, "seed": seed}
    return told | asdict(card) | {"test": figures}


def _content(path: Path) -> bytes:
    return read_regular(path, LARGEST, ArtifactError, "a file of a study that has run")
