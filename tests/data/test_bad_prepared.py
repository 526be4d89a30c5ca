"""digits.npz and manifest.json as a stranger might leave them: refused in words, or nothing of what is read differs."""

from __future__ import annotations

import contextlib
import io
import json
import struct
import tracemalloc
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from helpers import NO_FILES, raw_digits

from mnist_dvc.data import prepared as module
from mnist_dvc.data.prepared import DIGITS, MANIFEST, Prepared, write_prepared
from mnist_dvc.data.splits import split
from mnist_dvc.errors import DataError
from mnist_dvc.files import SUMS, json_bytes, sha256

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

RAW = raw_digits(train=3, test=1)
PARTS = split(RAW, validation=10, seed=5)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    write_prepared(folder, RAW, PARTS, validation=10, seed=5)
    return folder


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    for name in (DIGITS, MANIFEST, SUMS):
        (tmp_path / name).write_bytes((written / name).read_bytes())
    return tmp_path


def read_all(folder: Path) -> list[bytes]:
    """The digest and every array, as bytes."""
    prepared = Prepared.open(folder)
    content = [prepared.digest.encode(), prepared.dataset.encode()]
    for name in PARTS:
        digits = prepared.read(name)
        content += [digits.images_NHW.tobytes(), digits.labels_N.tobytes(), prepared.index(name).tobytes()]
    return content


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        read_all(folder)
    text = str(caught.value)
    assert text.startswith(str(folder))
    assert text.isprintable()
    assert len(text) < len(str(folder)) + 1000
    assert caught.value.exit_code == 65
    return text


def test_digest_is_that_of_the_manifest(folder: Path) -> None:
    content = (folder / MANIFEST).read_bytes()
    assert Prepared.open(folder).digest == sha256(content) == sha256(json_bytes(json.loads(content)))


def manifest_with(*path: str | int, value: Any) -> Callable[[dict[str, Any]], bytes]:
    def make(manifest: dict[str, Any]) -> bytes:
        node: Any = manifest
        for part in path[:-1]:
            node = node[part]
        node[path[-1]] = value
        return json.dumps(manifest, indent=2, ensure_ascii=False).encode() + b"\n"

    return make


def manifest_without(*path: str) -> Callable[[dict[str, Any]], bytes]:
    def make(manifest: dict[str, Any]) -> bytes:
        node = manifest
        for part in path[:-1]:
            node = node[part]
        del node[path[-1]]
        return json_bytes(manifest)

    return make


def text(content: bytes) -> Callable[[dict[str, Any]], bytes]:
    return lambda _: content


SPLIT = ("splits", "train")
BAD_MANIFESTS: dict[str, tuple[Callable[[dict[str, Any]], bytes], str]] = {
    "empty": (text(b""), "content: got no JSON (Expecting value"),
    "no JSON": (text(b"<html>"), "content: got no JSON"),
    "NUL": (text(b"\0" * 100), "content: got no JSON"),
    "UTF-16": (text("{}".encode("utf-16")), "content: got no JSON ('utf-8' codec can't decode"),
    "deep": (text(b"[" * 60_000), "content: got no JSON (maximum recursion depth exceeded"),
    "large": (text(b" " * 70_000), "size: got more than 65,536 bytes"),
    "list": (text(b"[]\n"), "content: got Input should be a valid dictionary"),
    "null": (text(b"null\n"), "content: got Input should be a valid dictionary"),
    "empty mapping": (text(b"{}\n"), "schema: got Field required"),
    "other schema": (manifest_with("schema", value=2), "schema: got Input should be "),
    "schema of another kind": (manifest_with("schema", value="1"), "schema: got Input should be "),
    "schema true": (manifest_with("schema", value=True), "schema: got "),
    "additional key": (manifest_with("more", value=1), "more: got Extra inputs are not permitted"),
    "no dataset": (manifest_without("dataset"), "dataset: got Field required"),
    "dataset of a number": (manifest_with("dataset", value=5), "dataset: got Input should be a valid string"),
    "endless dataset": (manifest_with("dataset", value="x" * 5000), "dataset: got String should have at most 100"),
    "origin of a list": (manifest_with("origin", value=[]), "origin: got Input should be a valid dictionary"),
    "long origin": (manifest_with("origin", value={str(i): "x" for i in range(50)}), "origin: got Dictionary should"),
    "classes null": (manifest_with("classes", value=None), "classes: got Input should be a valid list"),
    "one class": (manifest_with("classes", value=["a"]), "classes: got List should have at least 2 items"),
    "eleven classes": (manifest_with("classes", value=[*"abcdefghijk"]), "classes: got List should have at most 10"),
    "class in HTML": (manifest_with("classes", value=[*"abcdefghi", "<b>"]), "classes.9: got String should match"),
    "class that paints": (manifest_with("classes", value=[*"abcdefghi", "\x1b[31m"]), "classes.9: got String should"),
    "class twice": (manifest_with("classes", value=[*"abcdefghii"]), "got a class is named twice"),
    "class without a name": (manifest_with("classes", value=[*"abcdefghi"]), "a label has no name in classes"),
    "negative validation": (manifest_with("validation", value=-1), "validation: got Input should be greater"),
    "seed of a fraction": (manifest_with("seed", value=1.5), "seed: got Input should be a valid integer"),
    "seed NaN": (manifest_with("seed", value=float("nan")), "seed: got "),
    "seed infinite": (manifest_with("seed", value=float("inf")), "seed: got "),
    "seed of 65 bits": (manifest_with("seed", value=2**64), "seed: got Input should be less than"),
    "seed of 5000 digits": (text(b'{"seed": 1' + b"0" * 5000 + b"}"), "content: got no JSON (Exceeds the limit"),
    "splits null": (manifest_with("splits", value=None), "splits: got "),
    "no test": (manifest_without("splits", "test"), "splits.test: got Field required"),
    "split of another name": (manifest_with("splits", "extra", value={}), "splits.extra: got Extra inputs"),
    "split that is a list": (manifest_with(*SPLIT, value=[]), "splits.train: got "),
    "images true": (manifest_with(*SPLIT, "images", value=True), "splits.train.images: got Input should be a valid"),
    "images in words": (manifest_with(*SPLIT, "images", value="20"), "splits.train.images: got Input should be a"),
    "images negative": (manifest_with(*SPLIT, "images", value=-20), "splits.train.images: got Input should be greater"),
    "images beyond memory": (manifest_with(*SPLIT, "images", value=2**40), "splits.train.images: got Input should be"),
    "images miscounted": (manifest_with(*SPLIT, "images", value=21), "per_class does not add up to images"),
    "nine classes": (manifest_with(*SPLIT, "per_class", value=[2] * 9), "splits.train.per_class: got List should have"),
    "no digest": (manifest_without(*SPLIT, "sha256", "labels"), "splits.train.sha256.labels: got Field required"),
    "digest of another form": (manifest_with(*SPLIT, "sha256", "labels", value="x" * 64), "got String should match"),
    "digest in capitals": (manifest_with(*SPLIT, "sha256", "labels", value="A" * 64), "got String should match"),
    "other digest": (manifest_with(*SPLIT, "sha256", "labels", value="a" * 64), "SHA-256 of train_labels: got"),
    "other digest of the index": (manifest_with(*SPLIT, "sha256", "index", value="a" * 64), "SHA-256 of train_index"),
    "other spelling": (lambda manifest: json.dumps(manifest).encode(), "content: got another spelling"),
    "key twice": (lambda manifest: json_bytes(manifest).replace(b'"seed": 5', b'"seed": 5,\n  "seed": 5'), "spelling"),
    "something after": (lambda manifest: json_bytes(manifest) + b" ", "content: got another spelling"),
    "mark of UTF-8": (lambda manifest: b"\xef\xbb\xbf" + json_bytes(manifest), "content: got no JSON"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_MANIFESTS)
def test_bad_manifest_is_refused_in_words(folder: Path, name: str) -> None:
    make, expected = BAD_MANIFESTS[name]
    (folder / SUMS).unlink()  # so that it is the content which is refused
    path = folder / MANIFEST
    path.write_bytes(make(json.loads(path.read_bytes())))
    assert expected in refusal(folder)


def manifests(content: bytes) -> Iterator[bytes]:
    """``content`` with every third of its bits flipped."""
    for bit in range(0, 8 * len(content), 3):
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        yield bytes(damaged)


def test_every_flipped_bit_of_the_manifest_is_refused(folder: Path) -> None:
    path = folder / MANIFEST
    for damaged in manifests(path.read_bytes()):
        path.write_bytes(damaged)
        with pytest.raises(DataError):
            Prepared.open(folder)


def test_without_the_digests_beside_it_flipped_bits_are_seen_in_its_own(folder: Path) -> None:
    """The twin, and what holds where DVC restored the files: a seed or a name that reads well passes here.

    The digest is another one then, by which every model knows what it was trained on.
    """
    (folder / SUMS).unlink()
    path = folder / MANIFEST
    digest, passed = Prepared.open(folder).digest, 0
    for damaged in manifests(path.read_bytes()):
        path.write_bytes(damaged)
        try:
            prepared = Prepared.open(folder)
        except DataError:
            continue
        passed += 1
        assert prepared.digest != digest
    assert passed > 100


def test_digests_of_other_digits_say_nothing(folder: Path, tmp_path: Path) -> None:
    """As where DVC has put an earlier preparation back: the list beside it is of a later one."""
    parts = split(RAW, validation=10, seed=6)
    write_prepared(tmp_path / "later", RAW, parts, validation=10, seed=6)
    (folder / SUMS).write_bytes((tmp_path / "later" / SUMS).read_bytes())
    assert Prepared.open(folder).digest == sha256((folder / MANIFEST).read_bytes())


@pytest.mark.parametrize("text", [b"", b"\xff", b"0  other\n"])
def test_damaged_list_of_digests_is_refused(folder: Path, text: bytes) -> None:
    (folder / SUMS).write_bytes(text)
    assert "SHA256SUMS: content: got damage, expected the digests that `prepare` writes" in refusal(folder)


def test_every_truncation_of_the_manifest_is_refused(folder: Path) -> None:
    path = folder / MANIFEST
    content = path.read_bytes()
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(DataError):
            Prepared.open(folder)


def arrays_of(folder: Path) -> dict[str, np.ndarray]:
    with np.load(folder / DIGITS) as archive:
        return dict(archive)


def saved(arrays: dict[str, np.ndarray]) -> bytes:
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # numpy types **kwds as its own flag, too
    return content.getvalue()


def archived(members: list[tuple[str, bytes]], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, member in members:
            archive.writestr(zipfile.ZipInfo(name), member, compression)
    return content.getvalue()


def members_of(folder: Path) -> list[tuple[str, bytes]]:
    with zipfile.ZipFile(folder / DIGITS) as archive:
        return [(name, archive.read(name)) for name in archive.namelist()]


def changed(name: str, change: Callable[[np.ndarray], Any]) -> Callable[[Path], bytes]:
    def make(folder: Path) -> bytes:
        arrays = arrays_of(folder)
        return saved(arrays | {name: change(arrays[name])})

    return make


def first_member(change: Callable[[bytes], bytes]) -> Callable[[Path], bytes]:
    def make(folder: Path) -> bytes:
        (name, content), *rest = members_of(folder)
        return archived([(name, change(content)), *rest])

    return make


def twice(folder: Path) -> bytes:
    members = members_of(folder)
    return archived([*members, ("train_imageX.npy", b"")]).replace(b"train_imageX.npy", b"train_images.npy")


def many_members(_: Path) -> bytes:
    return archived([(str(number), b"") for number in range(2000)])


def with_64_bit_end(folder: Path) -> bytes:
    content = (folder / DIGITS).read_bytes()
    return content[:-22] + struct.pack("<4sLQL", b"PK\6\7", 0, 0, 1) + content[-22:]


def many_members_behind_a_comment(_: Path) -> bytes:
    """The end of the comment looks like an end record, but for its signature."""
    content = bytearray(many_members(_))
    content[-2:] = struct.pack("<H", 22)
    return bytes(content) + bytes(12) + struct.pack("<2IH", 0, len(content), 0)


def many_members_behind_another_record(_: Path) -> bytes:
    """A record of 64 bits tells of all the members, the last one of nothing but that record."""
    content = many_members(_)
    length, start = struct.unpack("<2I", content[-10:-2])
    content = content[:-22]
    record = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 2000, 2000, length, start)
    locator = struct.pack("<4sLQL", b"PK\6\7", 0, len(content), 1)
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 2000, 2000, len(record + locator), len(content), 0)
    return content + record + locator + last


def far_beyond_numbers(folder: Path) -> bytes:
    """An offset of 2^62, as an additional field of 64 bits: the system refuses to go there."""
    content, extra = (folder / DIGITS).read_bytes(), struct.pack("<2HQ", 1, 8, 2**62)
    start = content.index(b"PK\1\2")
    entry = bytearray(content[start : start + 46])
    entry[30:32], entry[42:46] = struct.pack("<H", len(extra)), b"\xff" * 4
    name_end = start + 46 + int.from_bytes(entry[28:30], "little")
    directory = bytes(entry) + content[start + 46 : name_end] + extra + content[name_end:-22]
    return content[:start] + directory + content[-22:-10] + struct.pack("<2IH", len(directory), start, 0)


def past_the_end(folder: Path) -> bytes:
    """The first member is said to begin, header and all, in a comment within the list of members."""
    members = members_of(folder)
    (name, content), small = members[0], archived(members[1:])
    _, start = struct.unpack("<2I", small[-10:-2])
    fields = struct.pack("<5H3L", 20, 0, 0, 0, 0, 0, len(content), len(content))
    local = struct.pack("<4s", b"PK\3\4") + fields + struct.pack("<2H", len(name), 0) + name.encode() + content[:128]
    at = start + 46 + len(name)
    entry = struct.pack("<4sH", b"PK\1\2", 20) + fields + struct.pack("<5H2L", len(name), 0, len(local), 0, 0, 0, at)
    directory = entry + name.encode() + local + small[start:-22]
    counts = struct.pack("<2H", len(members), len(members))
    return small[:start] + directory + small[-22:-14] + counts + struct.pack("<2IH", len(directory), start, 0)


def encrypted(folder: Path) -> bytes:
    content = (folder / DIGITS).read_bytes()
    at = content.rindex(b"PK\1\2", 0, content.index(b"PK\1\2") + 4)
    return content[: at + 8] + b"\1" + content[at + 9 :]


def swapped(folder: Path) -> bytes:
    other = {"train": "validation", "validation": "train", "test": "test"}
    arrays = arrays_of(folder)
    return saved({name: arrays["_".join((other[name.split("_")[0]], name.split("_")[1]))] for name in arrays})


def far_away(folder: Path) -> bytes:
    content = bytearray((folder / DIGITS).read_bytes())
    at = content.index(b"PK\1\2")
    content[at + 42 : at + 46] = b"\xff" * 4
    return bytes(content)


def header(descr: str, shape: str) -> bytes:
    line = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(line)) + line


BOMB = 10_000_000
OTHERWISE = "damage (stored in another way)"
OTHER_HEADER = "array train_images: got damage (another header than that of uint8 (20, 28, 28))"
UNPACKED = "bytes unpacked, not 15680 and a header)"
BAD_DIGITS: dict[str, tuple[Callable[[Path], bytes], str]] = {
    "empty": (lambda _: b"", "no list of members at the end"),
    "page": (lambda _: b"<html>" * 100, "no list of members at the end"),
    "an array instead of an archive": (lambda folder: members_of(folder)[0][1], "no list of members at the end"),
    "pickle": (lambda _: b"\x80\x04}\x94.", "no list of members at the end"),
    "something after": (lambda folder: (folder / DIGITS).read_bytes() + b"\0", "no list of members at the end"),
    "something before": (lambda folder: b"\0" * 9 + (folder / DIGITS).read_bytes(), "no list of members"),
    "64-bit end": (with_64_bit_end, "no list of members at the end"),
    "many members": (many_members, "no list of members at the end"),
    "many members behind a comment": (many_members_behind_a_comment, "no list of members at the end"),
    "many members behind another record": (many_members_behind_another_record, "no list of members at the end"),
    "no member": (lambda _: archived([]), 'array train_images: got damage ("There is no item named'),
    "member missing": (lambda folder: archived(members_of(folder)[:-1]), 'array test_index: got damage ("There is no'),
    "member more": (lambda folder: archived([*members_of(folder), ("x.npy", b"")]), "members: got x.npy as well"),
    "member twice": (twice, "members: got train_images.npy as well, expected the manifest's"),
    "path for a name": (lambda folder: archived([("/etc/x", b""), *members_of(folder)[1:]]), "members: got /etc/x"),
    "name that paints": (lambda folder: archived([("\x1b[31m", b""), *members_of(folder)[1:]]), "got \\x1b[31m"),
    "bzip2": (lambda folder: archived(members_of(folder), zipfile.ZIP_BZIP2), OTHERWISE),
    "lzma": (lambda folder: archived(members_of(folder), zipfile.ZIP_LZMA), OTHERWISE),
    "encrypted": (encrypted, "is encrypted, password required"),
    "bomb": (first_member(lambda content: content + bytes(BOMB)), UNPACKED),
    "member of nothing": (first_member(lambda _: b""), "0 " + UNPACKED),
    "one byte more": (first_member(lambda content: content + b"\0"), OTHER_HEADER),
    "one byte less": (first_member(lambda content: content[:-1]), OTHER_HEADER),
    "header of nine bytes": (first_member(lambda content: content[119:]), "array train_images: got damage ("),
    "no header": (first_member(lambda content: b"\1" * len(content)), OTHER_HEADER),
    "header that claims objects": (first_member(lambda c: header("'|O'", "(20, 28, 28)") + c[128:]), OTHER_HEADER),
    "header beyond memory": (first_member(lambda c: header("'|u1'", f"({2**50},)") + c[128:]), OTHER_HEADER),
    "header of Python 2": (first_member(lambda c: header("'|u1'", "(20L, 28L, 28L)") + c[128:]), OTHER_HEADER),
    "header that nests": (first_member(lambda c: header("'|u1'", "(" * 60) + c[128:]), OTHER_HEADER),
    "other pixels": (changed("train_images", lambda images: images ^ 1), "SHA-256 of train_images: got"),
    "signed pixels": (changed("train_images", lambda images: images.astype(np.int8)), OTHER_HEADER),
    "wide pixels": (changed("train_images", lambda images: images.astype(np.float64)), UNPACKED),
    "flat pixels": (changed("train_images", lambda images: images.reshape(20, -1)), OTHER_HEADER),
    "columns first": (changed("train_images", np.asfortranarray), OTHER_HEADER),
    "fewer images": (changed("train_images", lambda images: images[1:]), "15024 " + UNPACKED),
    "objects": (changed("train_labels", lambda labels: labels.astype(object)), "array train_labels: got damage ("),
    "wide labels": (changed("train_labels", lambda labels: labels.astype(np.int64)), "array train_labels: got damage"),
    "index of big-endian numbers": (changed("test_index", lambda index: index.astype(">i4")), "array test_index: got"),
    "index of fractions": (changed("test_index", lambda index: index.astype(np.float32)), "array test_index: got"),
    "splits swapped": (swapped, UNPACKED),
    "member far away": (far_away, OTHERWISE),
    "member beyond the system's numbers": (far_beyond_numbers, OTHERWISE),
    "member that runs past the end": (past_the_end, "array train_images: got damage ("),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_DIGITS)
def test_bad_digits_are_refused_in_words(folder: Path, name: str) -> None:
    make, expected = BAD_DIGITS[name]
    (folder / DIGITS).write_bytes(make(folder))
    assert expected in refusal(folder)


def test_archives_of_the_same_content_pass_the_same_checks(folder: Path) -> None:
    """The twin: repacking alone, with the tools that made the bad ones, is no fault."""
    before = read_all(folder)
    members = members_of(folder)
    stored = archived(members, zipfile.ZIP_STORED)
    for content in (saved(arrays_of(folder)), archived(members), archived(members[::-1]), stored):
        (folder / DIGITS).write_bytes(content)
        assert read_all(folder) == before


def silent_about_its_size(bomb: bytes, size: int) -> bytes:
    """The list of members says that the first one unpacks to ``size`` bytes."""
    at = bomb.index(b"PK\1\2") + 24
    return bomb[:at] + struct.pack("<I", size) + bomb[at + 4 :]


@pytest.mark.parametrize("honest", [True, False])
def test_bomb_takes_no_memory(folder: Path, honest: bool) -> None:  # noqa: FBT001
    size = len(members_of(folder)[0][1])
    bomb = first_member(lambda content: content + bytes(BOMB))(folder)
    (folder / DIGITS).write_bytes(bomb if honest else silent_about_its_size(bomb, size))
    assert 100 * len(bomb) < BOMB
    tracemalloc.start()
    refusal(folder)
    _, refused = tracemalloc.get_traced_memory()
    tracemalloc.reset_peak()
    with np.load(folder / DIGITS) as archive, contextlib.suppress(zipfile.BadZipFile):  # the twin: numpy unpacks it all
        archive.zip.read("train_images.npy")
    _, naive = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert refused < BOMB / 10 < naive


def test_flipped_bits_of_the_digits_are_refused_or_harmless(folder: Path) -> None:
    """Every bit of the archive's own records, and one in 97 of what is packed."""
    path = folder / DIGITS
    content, before = path.read_bytes(), read_all(folder)
    directory = content.index(b"PK\1\2")
    bits = [*range(8 * 80), *range(640, 8 * directory, 997), *range(8 * directory, 8 * len(content), 5)]
    for bit in bits:
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        path.write_bytes(damaged)
        try:
            after = read_all(folder)
        except DataError:
            continue
        assert after == before


def test_truncated_digits_are_refused(folder: Path) -> None:
    path = folder / DIGITS
    content = path.read_bytes()
    for length in [*range(0, len(content), 199), *range(len(content) - 60, len(content))]:
        path.write_bytes(content[:length])
        refusal(folder)


def test_digits_that_are_too_large_are_not_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LARGEST_DIGITS", 1000)
    assert "size: got more than 1,000 bytes" in refusal(folder)


def test_split_that_is_not_there_is_an_error_in_words(folder: Path) -> None:
    with pytest.raises(DataError, match="split: got no holdout, expected one that manifest.json names"):
        Prepared.open(folder).read("holdout")


@pytest.mark.parametrize("kind", sorted(NO_FILES.keys() - {"circle"}))
@pytest.mark.parametrize("name", [DIGITS, MANIFEST])
def test_what_is_no_file_is_refused_without_waiting(folder: Path, name: str, kind: str) -> None:
    (folder / name).unlink()
    NO_FILES[kind](folder / name)
    assert f"{name}: file: got " in refusal(folder)
