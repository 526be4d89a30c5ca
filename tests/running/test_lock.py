"""One process at a time works in a workspace, and a lock without a holder keeps nobody out."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from helpers import command, params, posix, write_params

from mnist_dvc.errors import BusyError
from mnist_dvc.files import exclusive
from mnist_dvc.pipeline.train import train

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.paths import Paths


@pytest.mark.parametrize("stage", ["prepare", "train", "evaluate", "export", "report"])
def test_stage_is_refused_while_another_process_works(workspace: Paths, stage: str) -> None:
    """The other process is this one; the kernel refuses the child."""
    write_params(workspace.root)
    with exclusive(workspace.state, "mnist-dvc train"):
        result = command(stage, cwd=workspace.root)
    assert result.returncode == 75
    assert f"got a workspace that process {os.getpid()} (mnist-dvc train, since 20" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_without_the_lock_nobody_is_refused(workspace: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of the test above, in one process: it is the lock that refuses, not something else on the way."""
    with exclusive(workspace.state, "one"):
        with pytest.raises(BusyError), exclusive(workspace.state, "two"):
            pass
        monkeypatch.setattr("filelock.FileLock.acquire", lambda _: None)
        monkeypatch.setattr("mnist_dvc.files._locked", lambda _: True)
        with exclusive(workspace.state, "two"):
            pass
        (workspace.state / "holder").touch()


def test_lock_without_a_holder_does_not_block(workspace: Paths) -> None:
    """A process that was killed leaves its file and its note, and the kernel its lock."""
    holder = "import os; from pathlib import Path; from mnist_dvc.files import exclusive\n"
    holder += "with exclusive(Path('.mnist_dvc'), 'mnist-dvc train'): os.kill(os.getpid(), 9)"
    result = subprocess.run([sys.executable, "-c", holder], cwd=workspace.root, check=False)
    assert result.returncode == -9
    assert (workspace.state / "holder").is_file()
    train(params(), workspace)
    assert not (workspace.state / "holder").exists()


def test_lock_is_free_after_an_error(workspace: Paths) -> None:
    with pytest.raises(RuntimeError), exclusive(workspace.state, "one"):
        raise RuntimeError
    with exclusive(workspace.state, "another"):
        pass


def test_lock_is_refused_even_when_the_note_is_gone(workspace: Paths) -> None:
    code = "from pathlib import Path; from mnist_dvc.files import exclusive\nwith exclusive(Path('.mnist_dvc'), 'x'): 0"
    with exclusive(workspace.state, "one"):
        (workspace.state / "holder").unlink()
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=workspace.root, capture_output=True, text=True, check=False
        )
        (workspace.state / "holder").touch()
    assert f"{BusyError.__name__}: .mnist_dvc/lock: got a workspace that another process works in" in result.stderr


IN_ANOTHER_PROCESS = """
import sys; from pathlib import Path; from mnist_dvc.files import exclusive
with exclusive(Path(".mnist_dvc"), "another", Path(sys.argv[1]) if sys.argv[1:] else None): print("works")
"""


def in_another_process(folder: Path, *lasting: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", IN_ANOTHER_PROCESS, *lasting], cwd=folder, capture_output=True, text=True, check=False
    )


@posix
def test_removing_the_lock_lets_nobody_in(tmp_path: Path) -> None:
    with exclusive(tmp_path / ".mnist_dvc", "one", tmp_path):
        shutil.rmtree(tmp_path / ".mnist_dvc")
        result = in_another_process(tmp_path, ".")
    assert f"{BusyError.__name__}: .mnist_dvc/lock: got a workspace that another process works in" in result.stderr
    assert in_another_process(tmp_path, ".").stdout == "works\n"


def test_removing_the_lock_would_let_another_in_without_the_folder(tmp_path: Path) -> None:
    """The twin: a lock file alone is another one once it was removed."""
    with exclusive(tmp_path / ".mnist_dvc", "one"):
        shutil.rmtree(tmp_path / ".mnist_dvc")
        assert in_another_process(tmp_path).stdout == "works\n"


@posix
@pytest.mark.parametrize("stage", ["prepare", "train", "evaluate", "export", "report"])
def test_stage_is_refused_though_the_lock_was_removed(workspace: Paths, stage: str) -> None:
    write_params(workspace.root)
    with exclusive(workspace.state, "mnist-dvc train", workspace.root):
        shutil.rmtree(workspace.state)
        result = command(stage, cwd=workspace.root)
    assert (result.returncode, len(result.stderr.splitlines())) == (75, 1)


@posix
@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.EIO, errno.ENOSYS, errno.EINVAL])
def test_file_system_without_locks_is_refused_by_the_name_of_the_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with pytest.raises(OSError, match=os.strerror(number)) as caught, exclusive(tmp_path, "one", tmp_path):
        pass
    assert caught.value.filename == str(tmp_path / "lock")
    assert not (tmp_path / "holder").exists()


@posix
def test_folder_that_cannot_be_locked_leaves_the_lock_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """NFS locks what is open for writing, and so no folder."""
    fcntl = pytest.importorskip("fcntl")
    lock = fcntl.flock

    def no_folders(handle: int, how: int) -> None:
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        lock(handle, how)

    monkeypatch.setattr("fcntl.flock", no_folders)
    one, two = (exclusive(tmp_path / "state", who, tmp_path) for who in ("one", "two"))
    with one, pytest.raises(BusyError), two:
        pass


@pytest.mark.parametrize("taken", [".mnist_dvc", ".mnist_dvc/lock", ".mnist_dvc/holder"])
def test_name_that_is_taken_is_refused_by_it(tmp_path: Path, taken: str) -> None:
    path = tmp_path / taken
    path.parent.mkdir(exist_ok=True)
    if taken == ".mnist_dvc":
        path.touch()
    else:
        (path / "inside").mkdir(parents=True)
    with (
        pytest.raises(OSError, match="(File exists|Is a directory)") as caught,
        exclusive(tmp_path / ".mnist_dvc", "one"),
    ):
        pass
    assert caught.value.filename == str(path)
