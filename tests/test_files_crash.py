"""One atomic save, cut off at every call that it makes to the system."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mnist_dvc.files import publish, write_atomically

if TYPE_CHECKING:
    from pathlib import Path

CRASH = 137
CHILD = """
import os, sys
from pathlib import Path
import mnist_dvc.files as files

path, point, when, how = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3], sys.argv[4]
calls = 0

def counted(function):
    def call(*arguments, **options):
        global calls
        calls += 1
        if calls == point and when == "before":
            os._exit(137)
        result = function(*arguments, **options)
        if calls == point and when == "after":
            os._exit(137)
        return result
    return call

for name in ("open", "write", "fsync", "close", "replace", "unlink"):
    setattr(os, name, counted(getattr(os, name)))

def naive(path, content):
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.write(handle, content[: len(content) // 2])
    os.write(handle, content[len(content) // 2 :])
    os.fsync(handle)
    os.close(handle)

def together(record, content):
    parts = [record.with_name("one"), record.with_name("two"), record]
    files.publish({part: content for part in parts}, record)

def one_by_one(record, content):
    for part in (record, record.with_name("one"), record.with_name("two")):
        files.write_atomically(part, content)

ways = {"atomic": files.write_atomically, "naive": naive, "together": together, "one by one": one_by_one}
ways[how](path, b"new" * 1000)
print(calls)
"""
OLD, NEW = b"old" * 900, b"new" * 1000


def crash(path: Path, point: int, when: str, how: str = "atomic") -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-c", CHILD, str(path), str(point), when, how]
    return subprocess.run(arguments, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def calls(tmp_path_factory: pytest.TempPathFactory) -> int:
    """How many calls a save that nothing interrupts makes."""
    return int(crash(tmp_path_factory.mktemp("count") / "file", -1, "before").stdout)


def test_every_crash_point_leaves_the_old_bytes_or_the_new(tmp_path: Path, calls: int) -> None:
    assert calls == 8  # open, write, fsync, replace, close; open, fsync and close of the folder
    seen = []
    for point in range(1, calls + 1):
        for when in ("before", "after"):
            path = tmp_path / f"{point}-{when}/file"
            path.parent.mkdir()
            path.write_bytes(OLD)
            assert crash(path, point, when).returncode == CRASH
            seen.append(path.read_bytes())
            write_atomically(path, b"next")
            assert [entry.name for entry in path.parent.iterdir()] == ["file"]
            assert path.read_bytes() == b"next"
    assert set(seen) == {OLD, NEW}
    assert seen.index(NEW) == 7  # after the replace, and from then on
    assert seen[9:] == [NEW] * 7


def test_naive_save_would_fail_the_test_above(tmp_path: Path) -> None:
    path = tmp_path / "file"
    damaged = 0
    for point in range(1, 6):
        path.write_bytes(OLD)
        assert crash(path, point, "after", "naive").returncode == CRASH
        damaged += path.read_bytes() not in (OLD, NEW)
    assert damaged == 2


def left_by_crashes(folder: Path, how: str) -> list[dict[str, bytes]]:
    """What stands there after a crash before each call of a publication of three files over three old ones."""
    calls = int(crash(folder / "count" / "record", -1, "before", how).stdout)
    left = []
    for point in range(1, calls + 1):
        record = folder / f"{point}/record"
        record.parent.mkdir()
        for name in ("one", "two", "record"):
            record.with_name(name).write_bytes(OLD)
        assert crash(record, point, "before", how).returncode == CRASH
        left.append({path.name: path.read_bytes() for path in record.parent.glob("[!.]*")})
    return left


def mixed(files: dict[str, bytes]) -> bool:
    """Whether a record tells of files that are not the ones it was published with."""
    return "record" in files and len(set(files.values())) > 1


def test_every_crash_point_of_a_publication_leaves_a_record_with_its_own_files_or_none(tmp_path: Path) -> None:
    left = left_by_crashes(tmp_path, "together")
    assert len(left) == 28  # three files written, the record removed, three renames, each with its folder flushed
    assert not any(mixed(files) for files in left)
    assert all({"one", "two"} <= set(files) and set(files.values()) <= {OLD, NEW} for files in left)
    assert left[0] == dict.fromkeys(("one", "two", "record"), OLD)
    assert left[-1] == dict.fromkeys(("one", "two", "record"), NEW)
    assert any("record" not in files for files in left)


def test_files_written_one_by_one_would_fail_the_test_above(tmp_path: Path) -> None:
    assert any(mixed(files) for files in left_by_crashes(tmp_path, "one by one"))


def test_publication_that_the_disk_has_no_room_for_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = [tmp_path / "one", tmp_path / "two", tmp_path / "record"]
    for part in parts:
        part.write_bytes(OLD)
    write = os.write

    def refuse_the_last(handle: int, data: bytes) -> int:
        if bytes(data) == b"last":
            raise OSError(28, "No space left on device")
        return write(handle, data)

    monkeypatch.setattr(os, "write", refuse_the_last)
    with pytest.raises(OSError, match="No space left"):
        publish({parts[0]: NEW, parts[1]: NEW, parts[2]: b"last"}, parts[2])
    assert [path.read_bytes() for path in parts] == [OLD] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "record", "two"]


def test_system_that_takes_a_few_bytes_at_a_time_gets_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, bytes(data)[:7]))
    write_atomically(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW
