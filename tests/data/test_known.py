"""The data sets that are known by name: small ones of each form, from a mirror on this machine or from a folder."""

from __future__ import annotations

import gzip
import hashlib
import io
import struct
import zipfile
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pytest
import torchvision.datasets
from helpers import blobs, idx_bytes, no_pictures
from mirrors import Mirror

from mnist_dvc.data import downloads
from mnist_dvc.data.known import KNOWN
from mnist_dvc.data.sources import DATA_VARIABLE, read_digits
from mnist_dvc.errors import DataError, DownloadError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from mnist_dvc.data.named import NamedDigits

TRAIN, TEST = blobs(3, seed=1), blobs(2, seed=2)
NAMES = tuple(KNOWN)


def packed(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def qmnist_labels(labels_N: NDArray[np.uint8]) -> bytes:
    """Eight integers an image, of which the first is the class."""
    table_N8 = np.arange(8 * len(labels_N), dtype=">i4").reshape(-1, 8)
    table_N8[:, 0] = labels_N
    return bytes((0, 0, 12, 2)) + struct.pack(">2I", *table_N8.shape) + table_N8.tobytes()


def plain_files() -> dict[str, bytes]:
    pairs = {"train": TRAIN, "t10k": TEST}
    return {f"{part}-images-idx3-ubyte.gz": packed(idx_bytes(digits.images_NHW)) for part, digits in pairs.items()} | {
        f"{part}-labels-idx1-ubyte.gz": packed(idx_bytes(digits.labels_N)) for part, digits in pairs.items()
    }


def qmnist_files() -> dict[str, bytes]:
    files = {}
    for part, digits in (("train", TRAIN), ("test", TEST)):
        files[f"qmnist-{part}-images-idx3-ubyte.gz"] = packed(idx_bytes(digits.images_NHW))
        files[f"qmnist-{part}-labels-idx2-int.gz"] = packed(qmnist_labels(digits.labels_N))
    return files


def emnist_files() -> dict[str, bytes]:
    """The archive of all parts of EMNIST, with images whose rows and columns are exchanged."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("gzip/emnist-letters-mapping.txt", "none of ours")
        for part, digits in (("train", TRAIN), ("test", TEST)):
            images_NWH = np.ascontiguousarray(digits.images_NHW.transpose(0, 2, 1))
            archive.writestr(f"gzip/emnist-digits-{part}-images-idx3-ubyte.gz", packed(idx_bytes(images_NWH)))
            archive.writestr(f"gzip/emnist-digits-{part}-labels-idx1-ubyte.gz", packed(idx_bytes(digits.labels_N)))
    return {"gzip.zip": content.getvalue()}


FILES: dict[str, Callable[[], dict[str, bytes]]] = {
    "fashion": plain_files,
    "kmnist": plain_files,
    "emnist-digits": emnist_files,
    "qmnist": qmnist_files,
}


class Published(NamedTuple):
    """A small data set that torchvision believes to stand on ``mirror``."""

    name: str
    mirror: Mirror


def publish(name: str, mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make torchvision name the files of ``mirror`` as those of ``name``."""
    known = getattr(torchvision.datasets, KNOWN[name].published_as)
    md5 = {file: hashlib.md5(content, usedforsecurity=False).hexdigest() for file, content in mirror.files.items()}
    if name == "emnist-digits":
        monkeypatch.setattr(known, "url", f"{mirror.url}gzip.zip")
        monkeypatch.setattr(known, "md5", md5["gzip.zip"])
    elif name == "qmnist":
        whole = [(f"{mirror.url}{file}", digest) for file, digest in md5.items()]
        monkeypatch.setattr(known, "resources", {"train": whole[:2], "test": whole[2:]})
    else:
        monkeypatch.setattr(known, "mirrors", [mirror.url])
        monkeypatch.setattr(known, "resources", [(file, md5[file]) for file, _ in known.resources])


@pytest.fixture(params=NAMES)
def published(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Published]:
    mirror = Mirror(FILES[request.param]())
    publish(request.param, mirror, monkeypatch)
    yield Published(request.param, mirror)
    mirror.close()


def ask(name: str, root: Path, **environment: str) -> tuple[NamedDigits, list[str]]:
    said: list[str] = []
    root.mkdir(exist_ok=True)
    return read_digits(name, root, environment=environment, say=said.append, pictures=no_pictures), said


def test_torchvision_names_the_classes_so() -> None:
    for known in KNOWN.values():
        if known.classes:
            assert tuple(getattr(torchvision.datasets, known.published_as).classes) == known.classes


def test_published_files_are_within_what_is_received() -> None:
    """The largest that is not EMNIST's, as its mirror says: Fashion-MNIST's training images."""
    assert downloads.LARGEST_DOWNLOAD > 26_421_880
    assert downloads.LARGEST_ARCHIVE > 561_753_746


@pytest.mark.parametrize("name", ["MNIST", *(known.published_as for known in KNOWN.values())])
def test_torchvision_publishes_each_where_it_is_looked_for(name: str) -> None:
    found = downloads.resources(name)
    assert [resource.name for resource in found if not resource.name.endswith((".gz", ".zip"))] == []
    assert len(found) == (1 if name == "EMNIST" else 4)
    assert all(len(resource.md5) == 32 and resource.urls for resource in found)


def test_data_set_is_downloaded_verified_and_kept(tmp_path: Path, published: Published) -> None:
    name, mirror = published
    raw, said = ask(name, tmp_path / "repository")
    assert (raw.dataset, raw.classes) == (name, KNOWN[name].classes)
    assert raw.test is not None
    for read, wanted in ((raw.pool, TRAIN), (raw.test, TEST)):
        np.testing.assert_array_equal(read.images_NHW, wanted.images_NHW)
        np.testing.assert_array_equal(read.labels_N, wanted.labels_N)
    assert set(raw.origin) == set(mirror.files)
    assert said == [f"no files of {name} here: downloading them"]
    folder = tmp_path / "repository/data/raw" / KNOWN[name].published_as / "raw"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == mirror.files
    asked = len(mirror.requests)
    again, said = ask(name, tmp_path / "repository")
    assert said == [f"reading {folder.parent}"]
    assert len(mirror.requests) == asked
    assert again.origin == raw.origin


def test_torchvisions_own_folder_is_read(tmp_path: Path, published: Published) -> None:
    name, mirror = published
    folder = tmp_path / "torchvision" / KNOWN[name].published_as / "raw"
    folder.mkdir(parents=True)
    for file, content in mirror.files.items():
        (folder / file).write_bytes(content)
    _, said = ask(name, tmp_path / "repository", **{DATA_VARIABLE: str(tmp_path / "torchvision")})
    assert said == [f"reading {folder.parent}"]
    assert mirror.requests == []


def test_files_that_are_not_the_published_ones_are_refused(tmp_path: Path, published: Published) -> None:
    name, mirror = published
    ask(name, tmp_path / "repository")
    path = next((tmp_path / "repository/data/raw").rglob(f"*{next(iter(mirror.files))}"))
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r": MD5: got [0-9a-f]{32}, expected [0-9a-f]{32}, as published"):
        ask(name, tmp_path / "repository")
    path.unlink()
    with pytest.raises(DataError, match="file: got nothing, expected the published "):
        ask(name, tmp_path / "repository")


def test_mirror_without_the_files_ends_in_69_and_leaves_nothing(tmp_path: Path, published: Published) -> None:
    name, mirror = published
    mirror.files = dict.fromkeys(mirror.files, b"<html>moved</html>")
    with pytest.raises(DownloadError, match=rf"^{KNOWN[name].published_as} download failed: .* 18 bytes with MD5"):
        ask(name, tmp_path / "repository")
    assert list((tmp_path / "repository/data/raw").iterdir()) == []


def other(content: bytes, name: str, monkeypatch: pytest.MonkeyPatch, root: Path, file: str) -> str:
    """What is said of a data set that has ``content`` for ``file``, with the MD5 that torchvision would name then."""
    mirror = Mirror(FILES[name]() | {file: content})
    try:
        publish(name, mirror, monkeypatch)
        with pytest.raises(DataError) as caught:
            ask(name, root)
    finally:
        mirror.close()
    assert list((root / "data/raw").iterdir()) == []
    return str(caught.value)


QMNIST_LABELS = "qmnist-train-labels-idx2-int.gz"
GOOD = qmnist_labels(TRAIN.labels_N)
BAD_LABELS = {
    "empty": (b"", "length of the labels: got 0 bytes, expected a header of 12"),
    "bytes": (
        bytes((0, 0, 8, 2)) + GOOD[4:],
        "header of the labels: got 0x00000802 of 8 columns, expected 0x00000c02 of 8",
    ),
    "columns": (GOOD[:8] + struct.pack(">I", 9) + GOOD[12:], "header of the labels: got 0x00000c02 of 9 columns"),
    "cut": (GOOD[:-1], "length of the labels: got 971 bytes, expected 972 for 30 x 8"),
    "count": (GOOD[:4] + struct.pack(">I", 2**31) + GOOD[8:], "length of the labels: got 972 bytes, expected"),
    "negative": (GOOD[:12] + struct.pack(">i", -1) + GOOD[16:], "labels: got -1 to 9, expected 0 to 9"),
    "large": (GOOD[:12] + struct.pack(">i", 256) + GOOD[16:], "labels: got 0 to 256, expected 0 to 9"),
    "eleven": (GOOD[:12] + struct.pack(">i", 11) + GOOD[16:], "largest label: got 11, expected at most 9"),
}


@pytest.mark.parametrize("how", BAD_LABELS)
def test_unfit_labels_of_qmnist_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    content, expected = BAD_LABELS[how]
    assert expected in other(packed(content), "qmnist", monkeypatch, tmp_path / "repository", QMNIST_LABELS)


def archive_without(name: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(emnist_files()["gzip.zip"])) as whole, zipfile.ZipFile(content, "w") as archive:
        for member in whole.infolist():
            if member.filename != name:
                archive.writestr(member, whole.read(member))
    return content.getvalue()


BAD_ARCHIVES = {
    "no archive": (b"<html>", "archive: got damage (File is not a zip file), expected gzip/emnist-digits-train-images"),
    "a member less": (archive_without("gzip/emnist-digits-test-labels-idx1-ubyte.gz"), "There is no item named"),
    "flipped": (emnist_files()["gzip.zip"].replace(b"\x1f\x8b", b"\x1f\x8c", 1), "archive: got damage (Bad CRC-32"),
}


@pytest.mark.parametrize("how", BAD_ARCHIVES)
def test_unfit_archive_of_emnist_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    content, expected = BAD_ARCHIVES[how]
    assert expected in other(content, "emnist-digits", monkeypatch, tmp_path / "repository", "gzip.zip")


def test_folder_of_the_same_name_has_to_be_named_as_one(tmp_path: Path) -> None:
    """The twin of the downloads: ``./fashion`` is no known name, so nothing is asked for."""
    with pytest.raises(DataError, match="folder: got no MNIST file"):
        ask("./fashion", tmp_path)
