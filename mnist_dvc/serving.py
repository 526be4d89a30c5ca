"""An exported ONNX file, verified, and the answers that it gives: no PyTorch needed, so it starts in a moment."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime

from mnist_dvc.data.arrays import SIDE
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import read_regular, refuse_broken_seal, refuse_other_digest, sha256
from mnist_dvc.operators import INPUT, OUTPUT

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["CLASSES", "SEAL", "OnnxModel", "read_onnx"]

CLASSES = "classes"
"""The property that holds the names of the answers 0, 1, ... as a JSON list; there is none where they are digits."""
SEAL = "sha256"
"""The property that holds the SHA-256 of the whole file with ``BLANK`` in its place."""
_SEAL = re.compile(rb"\n\x06sha256\x12\x40([0-9a-f]{64})")
"""That property as protobuf writes it, key and value: so no parser sees a file that is not known to be whole."""
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


def read_onnx(path: Path, known: Collection[str] = ()) -> OnnxModel:
    """The network in ``path``, which may come from anybody.

    Args:
        path: the file.
        known: SHA-256 of files that came with the package; any other one is looked into before it is run.

    Raises:
        ArtifactError: the file is missing, changed since it was written, another one than the digest beside it says, no
            graph of our exporter, or one that takes other pixels, as files of earlier versions do.
    """
    content = read_regular(path, LARGEST, ArtifactError, EXPECTED)
    refuse_other_digest(path, content)
    seal = _SEAL.search(content)
    if seal is None:
        raise ArtifactError(path, "digest", got="none", expected=EXPECTED)
    refuse_broken_seal(path, content, seal[1].decode())
    if sha256(content) not in known:
        from mnist_dvc.graph import checked  # noqa: PLC0415  (it takes a tenth of a second, and the released do without)

        content = checked(content, path)
    try:
        model = OnnxModel.of(content)
        model.logits(np.zeros((1, 1, SIDE, SIDE), np.uint8), 1)  # what it has to say against it, it says now
    except Exception as error:  # onnxruntime's errors have no base of their own
        told = str(error).partition("\n")[0][:80]
        raise ArtifactError(path, "network", got=told, expected=EXPECTED) from error
    return model
