"""Files that hold a pickle, as checkpoints of PyTorch do: known by their name or first bytes, and never read.

A pickle is a program. The bytes of one that asks for the memory of a machine, or never ends, are few, and PyTorch
reads another part of the archive around it than whoever checks it first. What ``predict`` needs stands in the
safetensors and ONNX files of the same training; a checkpoint is for going on elsewhere, by whoever made it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnist_dvc.errors import ArtifactError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["refuse_pickle"]

SUFFIXES = (".pth", ".pt", ".ckpt", ".pkl", ".pickle")
ARCHIVES = (b"PK\x03\x04", b"PK\x05\x06")
"""How the archive begins that PyTorch puts around a pickle."""
PROTOCOLS = tuple(bytes((0x80, protocol)) for protocol in range(2, 6))
_LENGTH_BYTES = 8
LARGEST_HEADER = 2**20
"""Bytes. A safetensors file begins with the length of its header, which may look like a protocol; none is this long."""
EXPECTED = (
    "the model.safetensors or model.onnx of the same training: a checkpoint is a pickle, which is not read here; "
    "to go on with your own elsewhere: torch.load(..., weights_only=True)"
)


def refuse_pickle(path: Path) -> None:
    """Let no file through that is called like a checkpoint or begins like one; of it no more is looked at.

    Raises:
        ArtifactError: it is or does; a file that is missing is left to who reads it.
        OSError: the system refused to read it.
    """
    if path.suffix.lower() in SUFFIXES:
        raise ArtifactError(path, "format", got=f"a checkpoint ({path.suffix})", expected=EXPECTED)
    if not path.is_file():
        return
    with path.open("rb") as file:
        first = file.read(_LENGTH_BYTES)
    is_pickle = first.startswith(PROTOCOLS) and int.from_bytes(first, "little") > LARGEST_HEADER
    if is_pickle or first.startswith(ARCHIVES):
        raise ArtifactError(path, "format", got="a pickle" if is_pickle else "an archive", expected=EXPECTED)
