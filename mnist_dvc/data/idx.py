"""IDX files, plain or gzipped, to numpy arrays; every field of the header is checked.

Format: http://yann.lecun.com/exdb/mnist, section "File formats": two zero bytes, a type code, the number of
dimensions, each dimension as a big-endian 32-bit integer, then the values, the last dimension fastest.
"""

from __future__ import annotations

import math
import struct
import zlib
from typing import TYPE_CHECKING

import numpy as np

from mnist_dvc.errors import DataError
from mnist_dvc.files import read_regular

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["LARGEST_FILE", "parse_idx", "read_idx_bytes"]

UNSIGNED_BYTE = 0x08
GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 16 + zlib.MAX_WBITS  # zlib's way of asking for the gzip wrapper and its CRC

LARGEST_FILE = 64 * 2**20
"""Bytes; MNIST's largest file has 47,040,016. Nothing larger is read or unpacked, whatever it says of itself."""


def read_idx_bytes(path: Path) -> bytes:
    """The IDX bytes of ``path``, unpacked if it is gzipped (told by its first bytes, not by its name).

    Raises:
        DataError: not a regular file, larger than ``LARGEST_FILE``, or not exactly one whole gzip member.
        OSError: the file cannot be read.
    """
    content = read_regular(path, LARGEST_FILE, DataError, f"an IDX file of at most {LARGEST_FILE:,} bytes")
    return _unpack(content, path) if content.startswith(GZIP_MAGIC) else content


def _unpack(packed: bytes, where: Path) -> bytes:
    unpacker = zlib.decompressobj(wbits=_GZIP_WINDOW)
    try:
        content = unpacker.decompress(packed, LARGEST_FILE + 1)
    except zlib.error as error:
        raise DataError(where, "gzip stream", got=f"damage ({error})", expected="a whole stream") from error
    if len(content) > LARGEST_FILE:
        raise DataError(where, "unpacked size", got="more", expected=f"at most {LARGEST_FILE} bytes")
    if not unpacker.eof:
        raise DataError(where, "gzip stream", got=f"an end after {len(packed)} bytes", expected="a whole stream")
    if unpacker.unused_data:
        raise DataError(where, "bytes after the gzip stream", got=len(unpacker.unused_data), expected=0)
    return content


def parse_idx(content: bytes, where: object, *, dimensions: int) -> NDArray[np.uint8]:
    """IDX bytes as a read-only uint8 array of ``dimensions`` axes, a view of ``content``.

    Raises:
        DataError: a header field or the length is wrong; ``where`` names the file in it.
    """
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise DataError(where, "length", got=f"{len(content)} bytes", expected=f"a header of {start}")
    magic = content[:4]
    expected = bytes((0, 0, UNSIGNED_BYTE, dimensions))
    if magic != expected:
        raise DataError(where, "magic number", got=f"0x{magic.hex()}", expected=f"0x{expected.hex()}")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    values = math.prod(shape)
    if len(content) != start + values:
        dims = " x ".join(map(str, shape))
        raise DataError(where, "length", got=f"{len(content)} bytes", expected=f"{start + values} for {dims}")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)
