"""One atomic save, cut off at every call that it makes to the system."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from mnist_dvc.files import write_atomically

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

{"atomic": files.write_atomically, "naive": naive}[how](path, b"new" * 1000)
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
    assert calls == 8  # open, write, fsync, close, replace; open, fsync and close of the folder
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
    assert seen.index(NEW) == 9  # after the replace, and from then on
    assert seen[9:] == [NEW] * 7


def test_naive_save_would_fail_the_test_above(tmp_path: Path) -> None:
    path = tmp_path / "file"
    damaged = 0
    for point in range(1, 6):
        path.write_bytes(OLD)
        assert crash(path, point, "after", "naive").returncode == CRASH
        damaged += path.read_bytes() not in (OLD, NEW)
    assert damaged == 2


def test_system_that_takes_a_few_bytes_at_a_time_gets_them_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda handle, data: write(handle, bytes(data)[:7]))
    write_atomically(tmp_path / "file", NEW)
    assert (tmp_path / "file").read_bytes() == NEW
