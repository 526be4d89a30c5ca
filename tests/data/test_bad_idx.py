"""The four files as a stranger might leave them: each fault is refused in words, and every single bit counts."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import NO_FILES, blobs, idx_bytes, idx_folder

from mnist_dvc.data import idx
from mnist_dvc.data.arrays import LabelledImages
from mnist_dvc.data.idx import parse_idx, read_idx_bytes
from mnist_dvc.data.sources import IdxFile, read_folder
from mnist_dvc.errors import DataError
from mnist_dvc.files import sha256

if TYPE_CHECKING:
    from pathlib import Path

TRAIN, TEST = blobs(3, seed=1), blobs(2, seed=2)
IMAGES, LABELS = idx_bytes(TRAIN.images_NHW), idx_bytes(TRAIN.labels_N)
IMAGES_NAME, LABELS_NAME = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
PACKED = gzip.compress(IMAGES, mtime=0)
CRC, SIZE = PACKED[-8:-4], PACKED[-4:]
PAGE = b"<!DOCTYPE html><html><head><title>404</title></head></html>"


def dims(*shape: int) -> bytes:
    """The training images under a header that claims ``shape``."""
    return IMAGES[:4] + struct.pack(f">{len(shape)}I", *shape) + IMAGES[16:]


def magic(text: str) -> bytes:
    return bytes.fromhex(text) + IMAGES[4:]


def flags(bits: int, extra: bytes = b"") -> bytes:
    """The gzip stream with ``bits`` among its flags and ``extra`` after its header."""
    return PACKED[:3] + bytes([bits]) + PACKED[4:10] + extra + PACKED[10:]


def zipped() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(IMAGES_NAME, IMAGES)
    return content.getvalue()


def labels(*changes: tuple[int, int]) -> bytes:
    changed_N = TRAIN.labels_N.copy()
    for position, label in changes:
        changed_N[position] = label
    return idx_bytes(changed_N)


SHORT = "length: got {} bytes, expected a header of 16"
LENGTH = f"length: got {len(IMAGES)} bytes, expected "
SHAPE = "dimensions: got {}, expected (30, 28, 28)"
PIECES = {
    "empty": (b"", SHORT.format(0)),
    "one byte": (b"\0", SHORT.format(1)),
    "magic only": (IMAGES[:4], SHORT.format(4)),
    "header short by one": (IMAGES[:15], SHORT.format(15)),
    "header only": (IMAGES[:16], "length: got 16 bytes, expected 23536 for 30 x 28 x 28"),
    "short by one": (IMAGES[:-1], "length: got 23535 bytes, expected 23536"),
    "long by one": (IMAGES + b"\0", "length: got 23537 bytes, expected 23536"),
    "half": (IMAGES[: len(IMAGES) // 2], "length: got 11768 bytes, expected 23536"),
    "twice": (IMAGES + IMAGES, "length: got 47072 bytes, expected 23536"),
    "first byte not zero": (magic("01000803"), "magic number: got 0x01000803, expected 0x00000803"),
    "second byte not zero": (magic("00ff0803"), "magic number: got 0x00ff0803"),
    "signed bytes": (magic("00000903"), "magic number: got 0x00000903"),
    "shorts": (magic("00000b03"), "magic number: got 0x00000b03"),
    "integers": (magic("00000c03"), "magic number: got 0x00000c03"),
    "floats": (magic("00000d03"), "magic number: got 0x00000d03"),
    "doubles": (magic("00000e03"), "magic number: got 0x00000e03"),
    "type of none": (magic("00000003"), "magic number: got 0x00000003"),
    "no dimension": (magic("00000800"), "magic number: got 0x00000800"),
    "two dimensions": (magic("00000802"), "magic number: got 0x00000802"),
    "four dimensions": (magic("00000804"), "magic number: got 0x00000804"),
    "255 dimensions": (magic("000008ff"), "magic number: got 0x000008ff"),
    "little-endian": (magic("03080000"), "magic number: got 0x03080000"),
    "little-endian dimensions": (IMAGES[:4] + struct.pack("<3I", 30, 28, 28) + IMAGES[16:], LENGTH),
    "no image": (IMAGES[:4] + struct.pack(">3I", 0, 28, 28), SHAPE.format("(0, 28, 28)")),
    "no row": (IMAGES[:4] + struct.pack(">3I", 30, 0, 28), SHAPE.format("(30, 0, 28)")),
    "no image, but pixels": (dims(0, 28, 28), LENGTH + "16 for 0 x 28 x 28"),
    "one image more": (dims(31, 28, 28), LENGTH + "24320 for 31 x 28 x 28"),
    "one image less": (dims(29, 28, 28), LENGTH + "22752 for 29 x 28 x 28"),
    "other shape of the same size": (dims(15, 28, 56), SHAPE.format("(15, 28, 56)")),
    "turned shape": (dims(28, 28, 30), SHAPE.format("(28, 28, 30)")),
    "product of 2^96": (dims(2**32 - 1, 2**32 - 1, 2**32 - 1), LENGTH + "79228162458924105385300197391"),
    "product of 2^64": (dims(2**31, 2**31, 4), LENGTH + "18446744073709551632"),
    "product that is 0 modulo 2^64": (dims(2**31, 2**31, 4)[:16], "length: got 16 bytes, expected 1844674407370955"),
    "minus one image": (dims(2**32 - 1, 28, 28), LENGTH + "3367254359296"),
    "labels in their place": (LABELS, "magic number: got 0x00000801, expected 0x00000803"),
    "test images": (idx_bytes(TEST.images_NHW), SHAPE.format("(20, 28, 28)")),
    "all zero": (idx_bytes(np.zeros_like(TRAIN.images_NHW)), "SHA-256: got "),
    "one pixel": (IMAGES[:-1] + bytes([IMAGES[-1] ^ 1]), "SHA-256: got "),
    "two images swapped": (IMAGES[:16] + IMAGES[800:1584] + IMAGES[16:800] + IMAGES[1584:], "SHA-256: got "),
    "page": (PAGE, "magic number: got 0x3c21444f"),
    "zip": (zipped(), "magic number: got 0x504b0304"),
    "bzip2": (bz2.compress(IMAGES), "magic number: got 0x425a6839"),
    "xz": (lzma.compress(IMAGES), "magic number: got 0xfd377a58"),
    "zlib without gzip": (zlib.compress(IMAGES), "magic number: got 0x789c"),
    "gzip in gzip": (gzip.compress(PACKED), "magic number: got 0x1f8b08"),
    "gzip magic only": (PACKED[:2], "gzip stream: got an end after 2 bytes, expected a whole stream"),
    "gzip header cut": (PACKED[:9], "gzip stream: got an end after 9 bytes"),
    "gzip header only": (PACKED[:10], "gzip stream: got an end after 10 bytes"),
    "gzip body cut": (PACKED[: len(PACKED) // 2], "gzip stream: got an end after"),
    "gzip checksum cut": (PACKED[:-6], "gzip stream: got an end after"),
    "gzip size cut": (PACKED[:-1], "gzip stream: got an end after"),
    "gzip checksum wrong": (PACKED[:-8] + bytes([CRC[0] ^ 1]) + CRC[1:] + SIZE, "incorrect data check"),
    "gzip size wrong": (PACKED[:-4] + bytes([SIZE[0] ^ 1]) + SIZE[1:], "incorrect length check"),
    "gzip of another method": (PACKED[:2] + b"\x07" + PACKED[3:], "unknown compression method"),
    "gzip reserved flag": (flags(0x20), "unknown header flags set"),
    "gzip all flags": (flags(0xFF), "unknown header flags set"),
    "gzip checksum of its header wrong": (flags(0x02, b"\0\0"), "header crc mismatch"),
    "gzip name without an end": (flags(0x08, b"n" * 9), "gzip stream: got "),
    "gzip extra field too long": (flags(0x04, b"\xff\xff"), "gzip stream: got "),
    "second member": (PACKED + PACKED, f"bytes after the gzip stream: got {len(PACKED)}, expected 0"),
    "empty second member": (PACKED + gzip.compress(b""), "bytes after the gzip stream: got 20"),
    "zeros after": (PACKED + bytes(512), "bytes after the gzip stream: got 512"),
    "garbage after": (PACKED + b"garbage", "bytes after the gzip stream: got 7"),
    "two files, one in each member": (gzip.compress(IMAGES[:9]) + gzip.compress(IMAGES[9:]), "bytes after the gzip"),
    "gzip of nothing": (gzip.compress(b""), SHORT.format(0)),
    "gzip of a page": (gzip.compress(PAGE), "magic number: got 0x3c21444f"),
    "gzip of less": (gzip.compress(IMAGES[:-1]), "length: got 23535 bytes"),
    "gzip of more": (gzip.compress(IMAGES + b"\0"), "length: got 23537 bytes"),
    "gzip of other pixels": (gzip.compress(bytes([*IMAGES[:-1], IMAGES[-1] ^ 1])), "SHA-256: got "),
    "bomb": (gzip.compress(bytes(2**20)), "unpacked size: got more, expected at most 100000 bytes"),
    "large": (bytes(100_001), "size: got more than 100,000 bytes"),
}  # fmt: skip
LABEL_PIECES = {
    "images in their place": (IMAGES, "magic number: got 0x00000803, expected 0x00000801"),
    "test labels": (idx_bytes(TEST.labels_N), "dimensions: got (20,), expected (30,)"),
    "one label less": (idx_bytes(TRAIN.labels_N[1:]), "dimensions: got (29,), expected (30,)"),
    "label of 10": (labels((3, 10)), "SHA-256: got "),
    "label of 255": (labels((3, 255)), "SHA-256: got "),
    "class missing": (idx_bytes(TRAIN.labels_N // 2), "SHA-256: got "),
    "two labels swapped": (labels((0, 1), (1, 0)), "SHA-256: got "),
    "empty labels": (b"", "length: got 0 bytes, expected a header of 8"),
}
CORPUS = {name: (IMAGES_NAME, *case) for name, case in PIECES.items()}
CORPUS |= {name: (LABELS_NAME, *case) for name, case in LABEL_PIECES.items()}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[IdxFile, IdxFile, IdxFile, IdxFile]]:
    folder = tmp_path_factory.mktemp("idx")
    return folder, idx_folder(folder)


@pytest.mark.parametrize("name", CORPUS)
def test_bad_file_is_refused_in_words(
    files: tuple[Path, tuple[IdxFile, IdxFile, IdxFile, IdxFile]], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    file, content, expected = CORPUS[name]
    monkeypatch.setattr(idx, "LARGEST_FILE", 100_000)
    folder, wanted = files
    good = (folder / file).read_bytes()
    (folder / file).write_bytes(content)
    try:
        with pytest.raises(DataError) as caught:
            read_folder(folder, wanted)
    finally:
        (folder / file).write_bytes(good)
    assert str(caught.value).startswith(f"{folder / file}: ")
    assert expected in str(caught.value)
    assert str(caught.value).isprintable()
    assert caught.value.exit_code == 65


def test_the_corpus_is_as_long_as_promised() -> None:
    assert len(CORPUS) >= 40
    assert len(CORPUS) == len(PIECES) + len(LABEL_PIECES) == len({case[:2] for case in CORPUS.values()})


HARMLESS = {
    "plain": IMAGES,
    "gzip": PACKED,
    "gzip, fast": gzip.compress(IMAGES, 1),
    "gzip, stored": gzip.compress(IMAGES, 0),
    "gzip with a name": flags(0x08, b"train-images\0"),
    "gzip with a comment": flags(0x10, b"of MNIST\0"),
    "gzip with an extra field": flags(0x04, b"\x04\0abcd"),
    "gzip with a time": PACKED[:4] + b"\x12\x34\x56\x78" + PACKED[8:],
    "gzip said to be text": flags(0x01),
}


@pytest.mark.parametrize("name", HARMLESS)
def test_good_file_passes_the_same_checks(
    files: tuple[Path, tuple[IdxFile, IdxFile, IdxFile, IdxFile]], name: str
) -> None:
    folder, wanted = files
    (folder / IMAGES_NAME).write_bytes(HARMLESS[name])
    np.testing.assert_array_equal(read_folder(folder, wanted).pool.images_NHW, TRAIN.images_NHW)


def test_naive_readers_would_take_what_is_refused() -> None:
    """The twin: Python's gzip module joins members, skips zeros, and unpacks bombs; a product may wrap around."""
    assert gzip.decompress(PACKED + gzip.compress(b"more")) == IMAGES + b"more"
    assert gzip.decompress(PACKED + bytes(512)) == IMAGES
    assert gzip.decompress(b"") == b""
    assert len(gzip.decompress(PIECES["bomb"][0])) > 900 * len(PIECES["bomb"][0])
    assert int(np.prod(np.array([2**31, 2**31, 4], np.uint64))) == 0


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path, kind: str) -> None:
    wanted = idx_folder(tmp_path)
    (tmp_path / LABELS_NAME).unlink()
    NO_FILES[kind](tmp_path / LABELS_NAME)
    with pytest.raises(DataError, match=f"{LABELS_NAME}: file: got (nothing|something else than a file), expected an"):
        read_folder(tmp_path, wanted)


def test_link_to_a_file_is_followed(tmp_path: Path) -> None:
    wanted = idx_folder(tmp_path)
    (tmp_path / LABELS_NAME).rename(tmp_path / "elsewhere")
    (tmp_path / LABELS_NAME).symlink_to(tmp_path / "elsewhere")
    assert len(read_folder(tmp_path, wanted).pool) == 30


@pytest.mark.parametrize(
    ("digits", "expected"),
    [
        (labels((3, 10)), "largest label: got 10, expected at most 9"),
        (labels((3, 255)), "largest label: got 255"),
        (idx_bytes(TRAIN.labels_N // 10), "classes present: got [0], expected at least 2"),
        (idx_bytes(TRAIN.labels_N[1:]), "number of labels: got 29, expected 30, as images"),
        (idx_bytes(TRAIN.labels_N[:0]), "number of labels: got 0"),
    ],
)
def test_labels_are_checked_even_where_no_digest_is_known(digits: bytes, expected: str) -> None:
    with pytest.raises(DataError) as caught:
        LabelledImages(TRAIN.images_NHW, parse_idx(digits, "here", dimensions=1), "here")
    assert expected in str(caught.value)


SMALL = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))
SMALL_PACKED = gzip.compress(SMALL, mtime=0)


def flipped(content: bytes) -> list[bytes]:
    """``content`` with each of its bits flipped in turn."""
    whole = int.from_bytes(content, "big")
    return [(whole ^ 1 << bit).to_bytes(len(content), "big") for bit in range(8 * len(content))]


def test_every_flipped_bit_of_a_plain_file_is_refused() -> None:
    """The header by its fields, the pixels by the digest: 320 of 320."""
    digest, refused = sha256(SMALL), 0
    for damaged in flipped(SMALL):
        try:
            parse_idx(damaged, "here", dimensions=3)
        except DataError:
            refused += 1
        else:
            refused += sha256(damaged) != digest
    assert refused == 8 * len(SMALL)


def test_every_flipped_bit_of_a_gzip_file_is_refused_or_harmless(tmp_path: Path) -> None:
    """Harmless are the bits of the header that say nothing about the content: its time, system and speed."""
    path, harmless = tmp_path / "file.gz", 0
    for damaged in flipped(SMALL_PACKED):
        path.write_bytes(damaged)
        try:
            array = parse_idx(read_idx_bytes(path), path, dimensions=3)
        except DataError:
            continue
        np.testing.assert_array_equal(array, parse_idx(SMALL, "here", dimensions=3))
        harmless += 1
    assert 8 * (4 + 1 + 1) < harmless < 60  # and a flag that says it is text, and what fills up the last byte


@pytest.mark.parametrize("content", [SMALL, SMALL_PACKED], ids=["plain", "gzip"])
def test_every_truncation_and_extension_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file"
    for damaged in [*(content[:length] for length in range(len(content))), content + b"\0", content + content]:
        path.write_bytes(damaged)
        with pytest.raises(DataError):
            parse_idx(read_idx_bytes(path), path, dimensions=3)
