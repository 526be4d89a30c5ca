"""The weights that the package carries: the first seed of the studies, with a manifest of what they are."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import json_bytes, read_regular, sha256, write_atomically
from mnist_dvc.model.weights import read_model
from mnist_dvc.paths import Paths
from mnist_dvc.pretrained import FOLDER, MANIFEST, RELEASED, released_model
from mnist_dvc.study.records import read_record

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["release"]

LARGEST = 2**20
"""Bytes; a network below 20,000 parameters takes 80,000."""
EXPECTED = "a file of a study that has run"


def release(root: Path, target: Path = FOLDER) -> None:
    """Copy the models of the studies in the repository ``root`` to ``target``, and write its manifest.

    Raises:
        ArtifactError: a study's summary, a trial's model or its metrics are missing or damaged; nothing is written.
        OSError: a file cannot be written.
    """
    found = {network: _first_trial(network, root / "studies" / study) for network, study in RELEASED.items()}
    for network, (content, _) in found.items():
        write_atomically(released_model(network, target), content)
    write_atomically(target / MANIFEST, json_bytes({network: told for network, (_, told) in found.items()}))
    print(f"Released {', '.join(found)}  ->  {target}")


def _first_trial(network: str, study: Path) -> tuple[bytes, dict[str, Any]]:
    """The model of the first seed of ``study``, and what the manifest says of it."""
    (seed, *_) = read_record(study / "summary.json", _Summary, EXPECTED).seeds
    trial = Paths(study).trial(network, seed)
    _, card = read_model(trial / "model.safetensors")
    content = read_regular(trial / "model.safetensors", LARGEST, ArtifactError, EXPECTED)
    test = read_record(trial / "metrics.json", _Test, EXPECTED).model_dump()
    told = {"file": released_model(network).name, "sha256": sha256(content), "bytes": len(content)}
    return content, told | {"study": study.name, "seed": seed} | asdict(card) | {"test": test}


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
