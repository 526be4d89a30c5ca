from __future__ import annotations

import errno
import json
import os
import stat
from typing import TYPE_CHECKING

import pytest

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import (
    SUMS,
    csv_bytes,
    json_bytes,
    own_sums,
    recorded_sha256,
    refuse_other_digest,
    sha256,
    sha256sums,
    write_atomically,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def test_write_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a/b/file.bin"
    write_atomically(path, b"one")
    write_atomically(path, b"two")
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_content_that_comes_in_parts_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    write_atomically(path, iter([b"one", b"", b" two"]))
    assert path.read_bytes() == b"one two"

    def breaking_off() -> Iterator[bytes]:
        yield b"three"
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write_atomically(path, breaking_off())
    assert path.read_bytes() == b"one two"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_failed_write_keeps_the_old_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str) -> None:
    path = tmp_path / "file.bin"
    write_atomically(path, b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, full)
    with pytest.raises(OSError, match="No space left"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_naive_write_would_fail_the_test_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    def write_naively(content: bytes) -> None:
        with path.open("wb") as file:
            file.write(content)
            os.fsync(file.fileno())

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_naively(b"new")
    assert path.read_bytes() != b"old"


def test_write_refuses_a_name_taken_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="directory"):
        write_atomically(tmp_path / "taken", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


@pytest.mark.skipif(os.name == "nt", reason="permissions are POSIX")
def test_written_file_has_ordinary_permissions(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        write_atomically(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


def test_json_is_readable_text_with_a_final_newline() -> None:
    content = json_bytes({"a": 0.9962, "b": "é"})
    assert content.endswith(b"}\n")
    assert json.loads(content) == {"a": 0.9962, "b": "é"}


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_json_refuses_what_json_cannot_say(number: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        json_bytes({"loss": number})


def test_csv_writes_none_as_an_empty_cell() -> None:
    assert csv_bytes(("a", "b"), [(1, None), (0.5, "x,y")]) == b'a,b\n1,\n0.5,"x,y"\n'


# ---------------------------------------------------------------------------------------------------- digests on record


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """A file whose digest stands in the list of its folder."""
    path = tmp_path / "model.bin"
    path.write_bytes(b"content")
    (tmp_path / SUMS).write_bytes(sha256sums({"other.bin": b"other", "model.bin": b"content"}))
    return path


def test_digest_stands_in_the_list_of_the_folder(listed: Path) -> None:
    assert recorded_sha256(listed) == sha256(b"content")
    refuse_other_digest(listed, b"content")
    with pytest.raises(ArtifactError, match="SHA-256: got .*, expected .*, as in SHA256SUMS beside it"):
        refuse_other_digest(listed, b"changed")


def test_list_of_its_own_goes_before_the_list_of_the_folder(listed: Path) -> None:
    assert own_sums(listed).name == "model.bin.sha256"
    own_sums(listed).write_bytes(sha256sums({"model.bin": b"changed"}))
    assert recorded_sha256(listed) == sha256(b"changed")
    refuse_other_digest(listed, b"changed")
    with pytest.raises(ArtifactError, match="SHA-256: got .*, expected .*, as in model.bin.sha256 beside it"):
        refuse_other_digest(listed, b"content")


def test_list_of_another_file_changes_nothing(listed: Path) -> None:
    """The twin: it is the name that makes a list a file's own."""
    own_sums(listed.with_name("other.bin")).write_bytes(sha256sums({"model.bin": b"changed"}))
    refuse_other_digest(listed, b"content")
    with pytest.raises(ArtifactError, match="as in SHA256SUMS beside it"):
        refuse_other_digest(listed, b"changed")


@pytest.mark.parametrize("text", ["", "nonsense", "0  other.bin\n"])
def test_list_of_its_own_that_does_not_name_the_file_is_refused(listed: Path, text: str) -> None:
    """Whatever the list of the folder says."""
    own_sums(listed).write_text(text)
    with pytest.raises(ArtifactError, match="model.bin.sha256: list of digests: got nothing for model.bin"):
        refuse_other_digest(listed, b"content")


def test_without_a_list_nothing_is_on_record(listed: Path) -> None:
    listed.with_name(SUMS).unlink()
    assert recorded_sha256(listed) is None
    refuse_other_digest(listed, b"anything")
