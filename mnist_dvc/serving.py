"""An exported ONNX file, verified, and the answers that it gives: no PyTorch needed, so it starts in a moment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import read_regular, refuse_broken_seal, refuse_other_digest

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["CLASSES", "INPUT", "OUTPUT", "SEAL", "OnnxModel", "read_onnx"]

INPUT, OUTPUT = "images", "logits"
CLASSES = "classes"
"""The property that holds the names of the answers 0, 1, ... as a JSON list; there is none where they are digits."""
SEAL = "sha256"
"""The property that holds the SHA-256 of the whole file with ``BLANK`` in its place."""
_SEAL = re.compile(rb"\n\x06sha256\x12\x40([0-9a-f]{64})")
"""That property as protobuf writes it, key and value: so no parser sees a file that is not known to be whole."""
LARGEST = 2**20
"""Bytes; the reference network takes 92,000."""
EXPECTED = "the ONNX file that `export` writes"
INPUT_TYPE = "tensor(uint8)"
LOG_FATAL = 4
"""Level of onnxruntime's log from which on it prints; what is an error to us we say ourselves."""


@dataclass(frozen=True, slots=True)
class OnnxModel:
    """A network ready to answer on the CPU, and what its file says of itself."""

    session: onnxruntime.InferenceSession
    properties: Mapping[str, str]

    @classmethod
    def of(cls, content: bytes, *, threads: int = 1) -> OnnxModel:
        """From the bytes of a file that is known to be good."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.log_severity_level = LOG_FATAL
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        return cls(session, session.get_modelmeta().custom_metadata_map)

    def logits(self, images_N1HW: NDArray[np.uint8], batch_size: int) -> NDArray[np.float32]:
        """Logits (N, 10) of images (N, 1, 28, 28), 0 to 255, ``batch_size`` at a time."""
        parts = range(0, len(images_N1HW), batch_size)
        run = self.session.run
        return np.concatenate([run([OUTPUT], {INPUT: images_N1HW[at : at + batch_size]})[0] for at in parts])


def read_onnx(path: Path) -> OnnxModel:
    """The network in ``path``.

    Raises:
        ArtifactError: the file is missing, not to the byte what ``export`` wrote, another one than the digest beside it
            says, not a network of ours, or one that takes other pixels, as files of earlier versions do.
    """
    content = read_regular(path, LARGEST, ArtifactError, EXPECTED)
    refuse_other_digest(path, content)
    seal = _SEAL.search(content)
    if seal is None:
        raise ArtifactError(path, "digest", got="none", expected=EXPECTED)
    refuse_broken_seal(path, content, seal[1].decode())
    try:
        model = OnnxModel.of(content)
    except Exception as error:  # onnxruntime's errors have no base of their own
        told = str(error).partition("\n")[0][:80]
        raise ArtifactError(path, "network", got=told, expected=EXPECTED) from error
    (taken,) = model.session.get_inputs()
    if taken.type != INPUT_TYPE:
        raise ArtifactError(path, "input", got=taken.type, expected=f"{INPUT_TYPE}; run `export` again")
    return model
