"""digits.npz and manifest.json: the prepared splits as deterministic bytes, verified on the way back in.

Compressed, the digits take 12 MB, and as much again in DVC's cache and for each study; as safetensors they would take
55 MB each time, to save 27 lines here and at best 0.15 s of reading.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, Self

import numpy as np
from pydantic import Field, model_validator

from mnist_dvc.data.arrays import CLASSES, FEWEST, MOST_IMAGES, NAME, SIDE, LabelledImages
from mnist_dvc.data.splits import SPLITS
from mnist_dvc.errors import ArtifactError, DataError
from mnist_dvc.files import SUMS, file_sha256, open_regular, publish, read_regular, recorded_sha256, sha256, sha256sums
from mnist_dvc.records import Name, Record, parsed, record_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mnist_dvc.data.splits import Part, RawDigits

__all__ = ["DIGITS", "MANIFEST", "Prepared", "write_prepared"]

DIGITS = "digits.npz"
MANIFEST = "manifest.json"
SCHEMA = 1
ARRAYS = ("images", "labels", "index")

LARGEST_MANIFEST = 64 * 2**10
"""Bytes; a manifest has some 2,000."""
LARGEST_DIGITS = 512 * 2**20
"""Bytes; twice ``MOST_IMAGES`` take 470,400,000 if they cannot be compressed at all, MNIST's 11 MB as they are."""
LARGEST_DIRECTORY = 4 * 2**10
"""Bytes of the archive's list of members; nine take 600."""
LARGEST_HEADER = 1024
"""Bytes before the values of an array; numpy writes 128."""
READ_AT_ONCE = 2**18
"""Bytes unpacked at a time."""


def write_prepared(
    folder: Path,
    raw: RawDigits,
    parts: Mapping[str, Part],
    *,
    validation: int,
    seed: int,
    classes: Sequence[str] = (),
) -> dict[str, Any]:
    """Write both files as one, and return the manifest.

    Args:
        folder: where to.
        raw: where the digits come from.
        parts: the splits of it, by name.
        validation: images that were asked for.
        seed: what chose them.
        classes: names of the labels 0, 1, ...; none where they are digits.

    Raises:
        OSError: the system refused; whatever stood there before is whole.
    """
    arrays = {f"{name}_{key}": value for name in SPLITS if name in parts for key, value in _arrays(parts[name])}
    manifest = {
        "schema": SCHEMA,
        "dataset": raw.dataset,
        "origin": raw.origin,
        **({"classes": list(classes)} if classes else {}),
        "validation": validation,
        "seed": seed,
        "splits": {name: _summary(parts[name]) for name in SPLITS if name in parts},
    }
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # numpy types **kwds as its own flag, too
    outputs = {DIGITS: content.getvalue(), MANIFEST: record_bytes(_Manifest, manifest)}
    files = {folder / name: file for name, file in outputs.items()}
    publish(files | {folder / SUMS: sha256sums(outputs)}, folder / MANIFEST)
    return manifest


def _arrays(part: Part) -> list[tuple[str, NDArray[Any]]]:
    return list(zip(ARRAYS, (part.digits.images_NHW, part.digits.labels_N, part.index_N), strict=True))


def _summary(part: Part) -> dict[str, Any]:
    return {
        "images": len(part.digits),
        "per_class": np.bincount(part.digits.labels_N, minlength=CLASSES).tolist(),
        "sha256": {key: sha256(np.ascontiguousarray(value).data) for key, value in _arrays(part)},
    }


_Count = Annotated[int, Field(ge=0, le=MOST_IMAGES)]
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
_Class = Annotated[str, Field(pattern=NAME)]


class _Digests(Record):
    images: _Digest
    labels: _Digest
    index: _Digest


class _Split(Record):
    images: _Count
    per_class: Annotated[list[_Count], Field(min_length=CLASSES, max_length=CLASSES)]
    sha256: _Digests

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        if sum(self.per_class) != self.images:
            raise ValueError("per_class does not add up to images")
        return self

    def kind(self, key: str) -> tuple[np.dtype[Any], tuple[int, ...]]:
        """Element type and shape of the array ``key``."""
        kinds = {"images": (np.uint8, (self.images, SIDE, SIDE)), "labels": (np.uint8, (self.images,))}
        dtype, shape = kinds.get(key, (np.int32, (self.images,)))
        return np.dtype(dtype), shape


class _Splits(Record):
    train: _Split
    validation: _Split | None = None
    test: _Split


class _Manifest(Record):
    version: Annotated[int, Field(ge=SCHEMA, le=SCHEMA, alias="schema")]
    dataset: Name
    origin: Annotated[dict[Name, Name], Field(max_length=10)]
    classes: Annotated[list[_Class], Field(default_factory=list, min_length=FEWEST, max_length=CLASSES)]
    validation: _Count
    seed: Annotated[int, Field(ge=0, le=2**63 - 1)]
    splits: _Splits

    @model_validator(mode="after")
    def _names_every_label(self) -> Self:
        if len(set(self.classes)) != len(self.classes):
            raise ValueError("a class is named twice")
        parts = (self.splits.train, self.splits.validation, self.splits.test)
        if self.classes and any(part is not None and any(part.per_class[len(self.classes) :]) for part in parts):
            raise ValueError("a label has no name in classes")
        return self


@dataclass(frozen=True, slots=True)
class Prepared:
    """A folder that ``prepare`` wrote. Opening it reads the manifest; a split is read and verified when asked for."""

    folder: Path
    digest: str
    """SHA-256 over the manifest, and with it over every array."""
    _manifest: _Manifest

    @classmethod
    def open(cls, folder: Path) -> Prepared:
        """Read the manifest of ``folder``.

        Raises:
            DataError: it is missing, or not to the byte what ``prepare`` would write.
        """
        path = folder / MANIFEST
        content = read_regular(path, LARGEST_MANIFEST, DataError, "the manifest that `prepare` writes")
        manifest = parsed(content, path, _Manifest, "a manifest of schema 1", DataError)
        digest = sha256(content)
        _refuse_other_manifest(folder, digest)
        return cls(folder, digest, manifest)

    @staticmethod
    def files(folder: Path) -> tuple[Path, Path]:
        """What there is to read in ``folder``."""
        return folder / DIGITS, folder / MANIFEST

    @property
    def dataset(self) -> str:
        """Name of the data set: mnist, mnist-5k, another that is known by name, or that of a folder."""
        return self._manifest.dataset

    @property
    def classes(self) -> tuple[str, ...]:
        """What the labels 0, 1, ... stand for; empty where they are digits."""
        return tuple(self._manifest.classes)

    def __contains__(self, name: str) -> bool:
        """Whether there is a split ``name``."""
        return self._split(name) is not None

    def _split(self, name: str) -> _Split | None:
        return getattr(self._manifest.splits, name) if name in SPLITS else None

    def read(self, name: str) -> LabelledImages:
        """The images and labels of one split; the others are not touched.

        Raises:
            DataError: ``digits.npz`` is missing, damaged, or does not hold what the manifest says.
        """
        images_NHW = self._array(name, "images")
        digits = LabelledImages(images_NHW, self._array(name, "labels"), f"{self.folder / DIGITS}, {name}")
        split, counts = self._split(name), np.bincount(digits.labels_N, minlength=CLASSES).tolist()
        if split is not None and counts != split.per_class:
            expected = f"{split.per_class}, as {MANIFEST} says"
            raise DataError(self.folder / DIGITS, f"labels of {name} per class", got=counts, expected=expected)
        return digits

    def index(self, name: str) -> NDArray[np.int32]:
        """Positions of the images of split ``name`` in the file or pool that they were taken from.

        Raises:
            DataError: as :meth:`read`.
        """
        return self._array(name, "index")

    def _array(self, name: str, key: str) -> NDArray[Any]:
        path, split = self.folder / DIGITS, self._split(name)
        if split is None:
            raise DataError(path, "split", got=f"no {name}", expected=f"one that {MANIFEST} names")
        known = {f"{split}_{array}.npy" for split in SPLITS if split in self for array in ARRAYS}
        try:
            with open_regular(path, LARGEST_DIGITS, DataError, "the digits that `prepare` writes") as file:
                _check_directory(file)
                with zipfile.ZipFile(file) as archive:
                    unknown = Counter(archive.namelist()) - Counter(known)
                    if unknown:
                        raise DataError(path, "members", got=f"{', '.join(unknown)} as well", expected="the manifest's")
                    array = _read_array(archive.getinfo(f"{name}_{key}.npy"), archive, split, key)
        except _DAMAGE as error:
            raise DataError(path, f"array {name}_{key}", got=f"damage ({error})", expected="a whole array") from error
        digest, expected = sha256(array.data), getattr(split.sha256, key)
        if digest != expected:
            raise DataError(path, f"SHA-256 of {name}_{key}", got=digest, expected=expected)
        return array


def _refuse_other_manifest(folder: Path, digest: str) -> None:
    """Hold a manifest against the one that was written with these digits.

    The list of both is no output of the pipeline, since each has to stay the same bytes: it is there where ``prepare``
    ran, and is about other digits where DVC has put others in their place since; then it says nothing.

    Raises:
        DataError: the list is about these digits and another manifest, or is damaged.
    """
    try:
        recorded = recorded_sha256(folder / MANIFEST, folder / SUMS)
        of_digits = recorded_sha256(folder / DIGITS, folder / SUMS)
    except ArtifactError as error:
        raise DataError(folder / SUMS, "content", got="damage", expected="the digests that `prepare` writes") from error
    if recorded not in (None, digest) and of_digits == file_sha256(folder / DIGITS):
        expected = f"{recorded}, as in {SUMS} beside it; run `prepare` again"
        raise DataError(folder / MANIFEST, "SHA-256", got=digest, expected=expected)


_DAMAGE = (ValueError, LookupError, EOFError, RuntimeError, OverflowError, zipfile.BadZipFile, zlib.error)
"""What comes of a file that is not what it should be; EOFError of a member that runs past its end, RuntimeError of an
encrypted one, OverflowError of a header that is too short for its own length.
"""


def _check_directory(file: BinaryIO) -> None:
    """Refuse an archive whose list of members is long or misplaced, before zipfile makes an object of each.

    numpy writes the list at the end, before an end record of 22 bytes.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(size - 42, 0))
    tail = file.read().rjust(42, b"\0")
    length, start = struct.unpack("<2I", tail[-10:-2])
    last = tail[-22:-18] == b"PK\5\6"  # else zipfile searches for a record with a comment after it
    only = tail[:4] != b"PK\6\7"  # else zipfile believes another record, of 64 bits
    if not (last and only and start + length == size - 22 and length <= LARGEST_DIRECTORY):
        raise ValueError("no list of members at the end")


def _read_array(member: zipfile.ZipInfo, archive: zipfile.ZipFile, split: _Split, key: str) -> NDArray[Any]:
    """The array of the manifest's type and shape that ``member`` holds; nothing larger is unpacked."""
    dtype, shape = split.kind(key)
    array = np.empty(shape, dtype)
    header = member.file_size - array.nbytes
    # bzip2 and LZMA take memory as they like; an offset too large to seek would be called a fault of the disk.
    if member.compress_type not in {zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED} or member.header_offset > LARGEST_DIGITS:
        raise ValueError("stored in another way")
    if not 0 < header <= LARGEST_HEADER:  # unpacked in one piece
        raise ValueError(f"{member.file_size} bytes unpacked, not {array.nbytes} and a header")
    with archive.open(member) as file:
        _check_header(file.read(header), dtype, shape)
        values, start = array.reshape(-1).view(np.uint8), 0
        # In parts, for half the memory and two thirds of the time; without a length zipfile unpacks all that there is.
        while chunk := file.read(READ_AT_ONCE):
            values[start : start + len(chunk)] = np.frombuffer(chunk, np.uint8)
            start += len(chunk)
    return array


def _check_header(header: bytes, dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """Compare the header of a .npy file with the one that numpy writes: magic number, version, length, dictionary.

    Other readers, ours not, take from it what the values mean.
    Format: https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html
    """
    text = f"{{'descr': '{dtype.str}', 'fortran_order': False, 'shape': {shape}, }}"
    start = b"\x93NUMPY\x01\x00" + (len(header) - 10).to_bytes(2, "little") + text.encode()
    if not header.startswith(start):
        raise ValueError(f"another header than that of {dtype} {shape}")
