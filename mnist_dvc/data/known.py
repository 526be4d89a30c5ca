"""The data sets beside MNIST that are known by name, read from the files that torchvision would fetch and verify."""

from __future__ import annotations

import hashlib
import struct
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnist_dvc.data.arrays import LabelledImages
from mnist_dvc.data.downloads import folder_of, resources
from mnist_dvc.data.idx import parse_idx
from mnist_dvc.data.named import NamedDigits
from mnist_dvc.data.packed import LARGEST_IDX, unpacked
from mnist_dvc.errors import DataError
from mnist_dvc.files import open_regular

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mnist_dvc.data.downloads import Resource

__all__ = ["KNOWN", "Known", "is_there", "read_known"]


@dataclass(frozen=True, slots=True)
class Known:
    """What torchvision's class ``published_as`` says of a data set, but for the files: it takes seconds to import."""

    published_as: str
    classes: tuple[str, ...] = ()
    """None where they are the digits."""


KNOWN = {
    "fashion": Known(
        "FashionMNIST",
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    ),
    "kmnist": Known("KMNIST", ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo")),
    "emnist-digits": Known("EMNIST"),
    "qmnist": Known("QMNIST"),
}
_MEMBERS = tuple(
    f"gzip/emnist-digits-{part}-{what}-ubyte.gz"
    for part in ("train", "test")
    for what in ("images-idx3", "labels-idx1")
)
_QMNIST_COLUMNS = 8
_INT = 0x0C
_ARCHIVE_DAMAGE = (ValueError, LookupError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)
"""What zipfile raises; a compression that it does not know is one of its ``RuntimeError``."""


def is_there(root: Path, name: str) -> bool:
    """Whether torchvision's folder of the data set ``name`` stands under ``root``."""
    return (root / folder_of(KNOWN[name].published_as)).is_dir()


def read_known(root: Path, name: str) -> NamedDigits:
    """The data set ``name`` from the files that torchvision keeps under ``root``.

    Raises:
        DataError: a file is missing or is not the published one.
        DownloadError: torchvision, which knows what is published, is broken.
        OSError: a file cannot be read.
    """
    known = KNOWN[name]
    published = resources(known.published_as)
    paths = [root / folder_of(known.published_as) / resource.name for resource in published]
    if known.published_as == "EMNIST":
        contents = _members(paths[0], published[0])
    else:
        contents = [_content(path, resource) for path, resource in zip(paths, published, strict=True)]
    origin = {resource.name: f"MD5 {resource.md5}" for resource in published}
    pool, test = (_labelled(contents[at], contents[at + 1], name, paths[min(at, len(paths) - 1)]) for at in (0, 2))
    return NamedDigits(name, origin, pool, test, known.classes)


def _content(path: Path, resource: Resource) -> bytes:
    """The unpacked bytes of the file ``path``."""
    with open_regular(path, resource.largest, DataError, f"the published {resource.name}") as file:
        content = file.read(resource.largest)
    _refuse_other_md5(path, hashlib.md5(content, usedforsecurity=False).hexdigest(), resource)
    return unpacked(content, path)


def _refuse_other_md5(path: Path, got: str, resource: Resource) -> None:
    if got != resource.md5:
        raise DataError(path, "MD5", got=got, expected=f"{resource.md5}, as published")


def _members(path: Path, resource: Resource) -> list[bytes]:
    """The unpacked bytes of EMNIST's digits in the archive of all its parts, which is never in memory as a whole."""
    with open_regular(path, resource.largest, DataError, f"the published {resource.name}") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))  # type: ignore[arg-type]
        _refuse_other_md5(path, digest.hexdigest(), resource)
        try:
            with zipfile.ZipFile(file) as archive:
                packed = [_member(archive, name) for name in _MEMBERS]
        except _ARCHIVE_DAMAGE as error:
            raise DataError(path, "archive", got=f"damage ({error})", expected=", ".join(_MEMBERS)) from error
    return [unpacked(content, f"{path}, {name}") for name, content in zip(_MEMBERS, packed, strict=True)]


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    with archive.open(name) as member:
        return member.read(LARGEST_IDX)


def _labelled(images: bytes, labels: bytes, name: str, where: Path) -> LabelledImages:
    images_NHW = parse_idx(images, where, dimensions=3)
    labels_N = _qmnist_labels(labels, where) if name == "qmnist" else parse_idx(labels, where, dimensions=1)
    if name == "emnist-digits":  # published with rows and columns exchanged
        images_NHW = np.ascontiguousarray(images_NHW.transpose(0, 2, 1))
    return LabelledImages(images_NHW, labels_N, str(where))


def _qmnist_labels(content: bytes, where: Path) -> NDArray[np.uint8]:
    """The class of each image: the first of eight big-endian integers that QMNIST tells of it.

    Format: https://github.com/facebookresearch/qmnist, section "The extended label format".

    Raises:
        DataError: the header or the length is another, or a class is no digit.
    """
    head = struct.Struct(">4B2I")
    if len(content) < head.size:
        raise DataError(where, "length of the labels", got=f"{len(content)} bytes", expected=f"a header of {head.size}")
    *magic, count, columns = head.unpack_from(content)
    if (magic, columns) != ([0, 0, _INT, 2], _QMNIST_COLUMNS):
        got, expected = f"0x{bytes(magic).hex()} of {columns} columns", f"0x00000c02 of {_QMNIST_COLUMNS}"
        raise DataError(where, "header of the labels", got=got, expected=expected)
    if len(content) != head.size + 4 * columns * count:
        expected = f"{head.size + 4 * columns * count} for {count} x {columns}"
        raise DataError(where, "length of the labels", got=f"{len(content)} bytes", expected=expected)
    classes_N = np.frombuffer(content, ">i4", offset=head.size).reshape(count, columns)[:, 0]
    if len(classes_N) and not 0 <= classes_N.min() <= classes_N.max() <= np.iinfo(np.uint8).max:
        raise DataError(where, "labels", got=f"{classes_N.min()} to {classes_N.max()}", expected="0 to 9")
    return classes_N.astype(np.uint8)
