"""The released weights that the package carries: which there are, and where they lie."""

from __future__ import annotations

from pathlib import Path

__all__ = ["FOLDER", "MANIFEST", "RELEASED", "released_model"]

FOLDER = Path(__file__).parent
MANIFEST = "manifest.json"
RELEASED = {"compact": "record", "reference": "default"}
"""Each released network and the study whose first seed it is: the first, whatever its accuracy."""


def released_model(network: str, folder: Path = FOLDER) -> Path:
    """The file with the released weights of ``network``, to be read by ``read_model``."""
    return folder / f"{network}.safetensors"
