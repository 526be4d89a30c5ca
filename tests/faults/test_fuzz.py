"""Fuzzed files at the two parsers that meet them first: nothing comes out but a value or our own error."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import ROOT, idx_bytes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mnist_dvc.data.idx import parse_idx, read_idx_bytes
from mnist_dvc.errors import DataError, ParamsError
from mnist_dvc.params import Params, load_params

if TYPE_CHECKING:
    from pathlib import Path

FEW = settings(max_examples=300)
MANY = settings(max_examples=10_000, suppress_health_check=[HealthCheck.too_slow])

COMMITTED = (ROOT / "params.yaml").read_bytes()
# Without its comments, so that most of the damage hits something.
BARE = b"\n".join(line.split(b" #")[0].rstrip() for line in COMMITTED.splitlines() if not line.startswith(b"#"))
SYNTAX = [
    b"&a ",
    b"*a",
    b"!!int ",
    b"<<: ",
    b"- ",
    b"? ",
    b": ",
    b"[",
    b"]",
    b"{",
    b"}",
    b"---\n",
    b"%YAML 1.1\n",
    b"'",
]
SYNTAX += [b'"', b"|\n", b">\n", b"\t", b"\0", b"\xff", b"\xef\xbb\xbf", b"~", b".nan", b"1e999", b"0x" + b"f" * 5000]
SYNTAX += [b"2026-13-13", b"=", b"-_", b"\r", b"\xc2\x85", b"\xe2\x80\xa8", b"\\", b"@", b"`", b"\n", b" ", b","]
IMAGES = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
PLAIN = idx_bytes(IMAGES)
PACKED = gzip.compress(PLAIN, mtime=0)


@st.composite
def damaged(draw: st.DrawFn, content: bytes, pieces: list[bytes]) -> bytes:
    """``content`` with up to four changes: a part cut out, doubled, or overwritten by bytes or one of ``pieces``."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        stop = draw(st.integers(start, min(start + 40, len(content))))
        middle = draw(st.binary(max_size=8) | st.sampled_from([*pieces, b"", content[start:stop] * 2]))
        content = content[:start] + middle + content[stop:]
    return content


texts = st.lists(st.sampled_from(SYNTAX) | st.text(max_size=5).map(str.encode), max_size=30).map(b"".join)
params_files = damaged(BARE, SYNTAX) | texts | st.binary(max_size=300)
idx_files = damaged(PLAIN, [b"\0" * 4, b"\xff" * 4]) | damaged(PACKED, [PACKED, b"\x1f\x8b"]) | st.binary(max_size=200)


def check_params(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    try:
        assert isinstance(load_params(path), Params)
    except ParamsError as error:
        for line in str(error).splitlines():
            assert line.startswith(f"{path}: ")
            assert line.isprintable()
            assert len(line) < len(str(path)) + 500


def check_idx(content: bytes, path: Path) -> None:
    path.write_bytes(content)
    try:
        array = parse_idx(read_idx_bytes(path), path, dimensions=3)
    except DataError as error:
        assert str(error).startswith(f"{path}: ")
        assert str(error).isprintable()
    else:
        assert array.dtype == np.uint8
        assert array.ndim == 3
        if content[:2] == PACKED[:2]:  # a checksum stands behind these
            np.testing.assert_array_equal(array, IMAGES)


@pytest.fixture(scope="session")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz") / "file"


@FEW
@given(content=params_files)
def test_some_params_files_give_params_or_our_error(path: Path, content: bytes) -> None:
    check_params(content, path)


@FEW
@given(content=idx_files)
def test_some_idx_files_give_an_array_or_our_error(path: Path, content: bytes) -> None:
    check_idx(content, path)


@pytest.mark.faults
@MANY
@given(content=params_files)
def test_many_params_files_give_params_or_our_error(path: Path, content: bytes) -> None:
    check_params(content, path)


@pytest.mark.faults
@MANY
@given(content=idx_files)
def test_many_idx_files_give_an_array_or_our_error(path: Path, content: bytes) -> None:
    check_idx(content, path)


def test_the_checks_can_fail(path: Path) -> None:
    """The twins: the committed file and the whole IDX file get through, another gzip file does not."""
    check_params(COMMITTED, path)
    check_idx(PLAIN, path)
    check_idx(PACKED, path)
    with pytest.raises(AssertionError):
        check_idx(gzip.compress(idx_bytes(IMAGES + np.uint8(1))), path)
