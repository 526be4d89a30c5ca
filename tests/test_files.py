from __future__ import annotations

import errno
import json
import os
import re
import stat
from typing import TYPE_CHECKING

import pytest
from filelock import lock_descriptor

from mnist_dvc import files
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


# ------------------------------------------------------------------------------------------------- several at a time


def interrupted_by_another(path: Path) -> Iterator[bytes]:
    """Content in the middle of whose writing another is written: to the kernel, any other opening is another's."""
    yield b"one"
    write_atomically(path, b"other")
    yield b" two"


def test_two_may_write_a_file_at_once(tmp_path: Path) -> None:
    write_atomically(tmp_path / "file", interrupted_by_another(tmp_path / "file"))
    assert (tmp_path / "file").read_bytes() == b"one two"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_file_that_is_being_written_would_be_taken_for_one_that_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The twin: without the locks, the second clears away what the first is at."""
    monkeypatch.setattr(files, "lock_descriptor", lambda *_, **__: True)
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "file", interrupted_by_another(tmp_path / "file"))


def test_what_a_process_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".file.7-0.tmp").touch()
    (tmp_path / ".file.7.tmp").touch()
    (tmp_path / ".file.link.tmp").symlink_to("/dev/zero")
    write_atomically(tmp_path / "file", b"")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".file.link.tmp", "file"]


def test_name_that_another_machine_has_taken_is_passed_over(tmp_path: Path) -> None:
    taken = tmp_path / f".file.{os.getpid()}-0.tmp"
    with taken.open("wb") as file:
        lock_descriptor(file.fileno(), blocking=False)
        write_atomically(tmp_path / "file", b"content")
        assert taken.exists()
    assert (tmp_path / "file").read_bytes() == b"content"


def test_temporary_file_that_another_was_faster_to_remove_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, lost = files._locked, iter([True])

    def lose_once(handle: int) -> bool:
        for _ in lost:
            next(tmp_path.glob(".file.*.tmp")).unlink()
        return locked(handle)

    monkeypatch.setattr(files, "_locked", lose_once)
    write_atomically(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"


REFUSALS = [
    errno.EIO,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EMFILE,
    errno.ETXTBSY,
    errno.ENAMETOOLONG,
]


@pytest.mark.parametrize("number", REFUSALS)
@pytest.mark.parametrize("call", ["open", "write", "fsync", "replace"])
def test_refusal_of_the_system_names_the_file_and_no_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    def refuse(path: Path | int, *_: object) -> None:
        raise OSError(number, os.strerror(number), *([] if isinstance(path, int) else [str(path)]))

    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OSError, match=re.escape(os.strerror(number))) as caught:
        write_atomically(tmp_path / "file", b"content")
    assert (caught.value.errno, caught.value.filename, caught.value.filename2) == (number, str(tmp_path / "file"), None)
    monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_refusal_knows_no_name_of_its_own(tmp_path: Path) -> None:
    """The twin: what the system says of a handle names nothing."""
    with (tmp_path / "file").open("wb") as file, pytest.raises(OSError, match="Bad file descriptor") as caught:
        os.read(file.fileno(), 1)
    assert caught.value.filename is None


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
