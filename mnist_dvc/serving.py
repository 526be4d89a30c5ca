"""An exported ONNX file, verified, and the answers that it gives: no PyTorch needed, so it starts in a moment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import BLANK, read_regular, refuse_broken_seal, refuse_other_digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["INPUT", "OUTPUT", "SEAL", "OnnxModel", "read_onnx"]

INPUT, OUTPUT = "images", "logits"
SEAL = "sha256"
"""The property that holds the SHA-256 of the whole file with ``BLANK`` in its place."""
LARGEST = 2**20
"""Bytes; the reference network takes 92,000."""
EXPECTED = "the ONNX file that `export` writes"
LOG_FATAL = 4
"""Level of onnxruntime's log from which on it prints; what is an error to us we say ourselves."""


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A network ready to answer on the CPU, and what its file says of itself."""

    session: onnxruntime.InferenceSession
    properties: Mapping[str, str]

    @classmethod
    def of(cls, content: bytes, *, threads: int = 1, properties: Mapping[str, str] | None = None) -> OnnxModel:
        """From the bytes of a file that is known to be good."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = LOG_FATAL
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return cls(session, properties or {})

    def logits(self, images_N1HW: NDArray[np.float32], batch_size: int) -> NDArray[np.float32]:
        """Logits (N, 10) of images in [0, 1], ``batch_size`` at a time."""
        parts = range(0, len(images_N1HW), batch_size)
        run = self.session.run
        return np.concatenate([run([OUTPUT], {INPUT: images_N1HW[at : at + batch_size]})[0] for at in parts])


def read_onnx(path: Path) -> OnnxModel:
    """The network in ``path``.

    Raises:
        ArtifactError: the file is missing, not to the byte what ``export`` wrote, another one than the digest beside it
            says, or not a network of ours.
    """
    content = read_regular(path, LARGEST, ArtifactError, EXPECTED)
    refuse_other_digest(path, content)
    try:
        properties = {entry.key: entry.value for entry in onnx.load_from_string(content).metadata_props}
    except Exception as error:  # protobuf's own, which comes with onnx under a name that is no part of its interface
        raise ArtifactError(path, "content", got="damage", expected=EXPECTED) from error
    recorded = properties.get(SEAL, "")
    if len(recorded) != len(BLANK):
        raise ArtifactError(path, "digest", got="none", expected=EXPECTED)
    refuse_broken_seal(path, content, recorded)
    try:
        return OnnxModel.of(content, properties=properties)
    except Exception as error:  # onnxruntime's errors have no base of their own
        told = str(error).partition("\n")[0][:80]
        raise ArtifactError(path, "network", got=told, expected=EXPECTED) from error
