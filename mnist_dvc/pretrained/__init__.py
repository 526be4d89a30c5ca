"""The released networks that the package carries: which there are, and where their files lie."""

from __future__ import annotations

from pathlib import Path

from mnist_dvc.files import recorded_sha256

__all__ = [
    "FOLDER",
    "MANIFEST",
    "RELEASED",
    "released_description",
    "released_onnx",
    "released_sha256",
    "released_weights",
]

FOLDER = Path(__file__).parent
MANIFEST = "manifest.json"
RELEASED = {"compact": "record", "reference": "default"}
"""Each released network and the study whose first seed it is: the first, whatever its accuracy."""


def released_onnx(network: str, folder: Path = FOLDER) -> Path:
    """The released ``network`` as an ONNX file, to be read by ``read_onnx``, which needs no torch."""
    return folder / f"{network}.onnx"


def released_weights(network: str, folder: Path = FOLDER) -> Path:
    """The same as a model file, to be read by ``read_model``."""
    return folder / f"{network}.safetensors"


def released_description(network: str, folder: Path = FOLDER) -> Path:
    """What ``network`` is made of, to be read by ``read_description``."""
    return folder / f"{network}.json"


def released_sha256(folder: Path = FOLDER) -> frozenset[str]:
    """SHA-256 of each released ONNX file, by which a copy of it is known under any name.

    Raises:
        ArtifactError: the list of them is damaged.
    """
    recorded = (recorded_sha256(released_onnx(network, folder)) for network in RELEASED)
    return frozenset(digest for digest in recorded if digest is not None)
