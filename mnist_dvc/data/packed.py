"""IDX files of any count, plain or gzipped, to arrays and the digest of what was read."""

from __future__ import annotations

import gzip
import io
import zlib
from typing import TYPE_CHECKING

from mnist_dvc.data.idx import GZIP_MAGIC, parse_idx
from mnist_dvc.errors import DataError
from mnist_dvc.files import read_regular, sha256

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LARGEST_IDX", "read_idx", "unpacked"]

LARGEST_IDX = 256 * 2**20
"""Bytes; ``MOST_IMAGES`` images take 235,200,016. Nothing larger is read or unpacked, whatever it says of itself."""


def read_idx(path: Path, *, dimensions: int) -> tuple[NDArray[np.uint8], str]:
    """The array of ``dimensions`` axes in ``path``, and the SHA-256 of its IDX bytes, unpacked.

    Raises:
        DataError: not a regular file, too large, damaged, or not an IDX file of bytes with so many axes.
        OSError: the file cannot be read.
    """
    packed = read_regular(path, LARGEST_IDX, DataError, f"an IDX file of at most {LARGEST_IDX:,} bytes")
    content = unpacked(packed, path)
    return parse_idx(content, path, dimensions=dimensions), sha256(content)


def unpacked(content: bytes, where: object) -> bytes:
    """``content``, unpacked if it is gzipped, which its first bytes tell.

    Raises:
        DataError: damaged, or larger than ``LARGEST_IDX``; ``where`` names it.
    """
    if not content.startswith(GZIP_MAGIC):
        return content
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
            plain = file.read(LARGEST_IDX + 1)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(where, "gzip stream", got=f"damage ({error})", expected="a whole stream") from error
    if len(plain) > LARGEST_IDX:
        raise DataError(where, "unpacked size", got="more", expected=f"at most {LARGEST_IDX:,} bytes")
    return plain
