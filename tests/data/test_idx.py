from __future__ import annotations

import gzip
import struct
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import idx_bytes
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from mnist_dvc.data import idx
from mnist_dvc.data.idx import parse_idx, read_idx_bytes
from mnist_dvc.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

IMAGES = np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5)
CONTENT = idx_bytes(IMAGES)


@given(npst.arrays(np.uint8, npst.array_shapes(min_dims=1, max_dims=3, max_side=8)))
def test_parse_gives_back_what_was_written(array: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(parse_idx(idx_bytes(array), "here", dimensions=array.ndim), array)


@given(data=st.data())
def test_parse_refuses_or_keeps_the_shape_under_any_damage(data: st.DataObject) -> None:
    """One flipped bit in the header is an error; a flipped pixel is what the SHA-256 of the file is for."""
    position = data.draw(st.integers(0, 8 * len(CONTENT) - 1))
    damaged = bytearray(CONTENT)
    damaged[position // 8] ^= 1 << position % 8
    if position // 8 < 16:
        with pytest.raises(DataError):
            parse_idx(bytes(damaged), "here", dimensions=3)
    else:
        assert parse_idx(bytes(damaged), "here", dimensions=3).shape == IMAGES.shape


@given(st.binary(max_size=200), st.sampled_from([1, 3]))
def test_parse_of_any_bytes_is_an_array_or_a_data_error(content: bytes, dimensions: int) -> None:
    try:
        assert parse_idx(content, "here", dimensions=dimensions).ndim == dimensions
    except DataError as error:
        assert str(error).startswith("here: ")


WRONG = {
    "empty": (b"", "length: got 0 bytes, expected a header of 16"),
    "header only": (CONTENT[:10], "length: got 10 bytes"),
    "labels for images": (
        idx_bytes(np.arange(40, dtype=np.uint8)),
        "magic number: got 0x00000801, expected 0x00000803",
    ),
    "floats": (b"\0\0\x0d\x03" + CONTENT[4:], "magic number: got 0x00000d03"),
    "not IDX": (b"<!DOCTYPE html><html>", "magic number: got 0x3c21444f"),
    "one byte short": (CONTENT[:-1], "length: got 75 bytes, expected 76 for 3 x 4 x 5"),
    "one byte long": (CONTENT + b"\0", "length: got 77 bytes, expected 76"),
    "huge": (CONTENT[:4] + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1), "expected 79228162"),
}


@pytest.mark.parametrize("name", WRONG)
def test_parse_names_the_wrong_field(name: str) -> None:
    content, expected = WRONG[name]
    with pytest.raises(DataError) as caught:
        parse_idx(content, "here", dimensions=3)
    assert expected in str(caught.value)
    assert caught.value.exit_code == 65


@pytest.mark.parametrize("name", ["file", "file.gz", "misnamed.gz"])
def test_read_unpacks_by_content_not_by_name(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(gzip.compress(CONTENT) if name == "file.gz" else CONTENT)
    assert read_idx_bytes(path) == CONTENT


PACKED = gzip.compress(CONTENT, mtime=0)


@given(data=st.data())
def test_read_of_damaged_gzip_never_gives_other_bytes(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, 8 * len(PACKED) - 1))
    damaged = bytearray(PACKED)
    damaged[position // 8] ^= 1 << position % 8
    path = tmp_path_factory.getbasetemp() / "damaged.gz"
    path.write_bytes(damaged)
    try:
        content = read_idx_bytes(path)
    except DataError:
        return
    # Flags and time stamps of the gzip header do not matter; without its magic number the file is not gzip at all.
    assert content in (CONTENT, bytes(damaged))


GZIP_FAULTS = {
    "truncated": (PACKED[:-9], "gzip stream: got an end after"),
    "no trailer": (PACKED[:-8], "gzip stream: got an end after"),
    "second member": (PACKED + PACKED, "bytes after the gzip stream: got"),
    "trailing zeros": (PACKED + b"\0\0\0", "bytes after the gzip stream: got 3, expected 0"),
    "wrong checksum": (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], "gzip stream: got damage"),
}


@pytest.mark.parametrize("name", GZIP_FAULTS)
def test_read_names_the_fault_of_a_gzip_file(tmp_path: Path, name: str) -> None:
    content, expected = GZIP_FAULTS[name]
    path = tmp_path / "file.gz"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        read_idx_bytes(path)
    assert expected in str(caught.value)
    assert str(caught.value).startswith(str(path))


def test_read_refuses_a_bomb_without_unpacking_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "LARGEST_FILE", 10_000)
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(1_000_000)))
    with pytest.raises(DataError, match="unpacked size: got more, expected at most 10000 bytes"):
        read_idx_bytes(path)


def test_read_refuses_a_file_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idx, "LARGEST_FILE", 10)
    path = tmp_path / "large"
    path.write_bytes(CONTENT)
    with pytest.raises(DataError, match="size: got more than 10 bytes, expected an IDX file"):
        read_idx_bytes(path)


def test_read_refuses_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected an IDX file"):
        read_idx_bytes(tmp_path)
