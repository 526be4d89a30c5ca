"""One process at a time works in a workspace, and a lock without a holder keeps nobody out."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from helpers import command, params, write_params

from mnist_dvc.errors import BusyError
from mnist_dvc.files import exclusive
from mnist_dvc.pipeline.train import train

if TYPE_CHECKING:
    from collections.abc import Callable

    from mnist_dvc.paths import Paths

    Arm = Callable[..., None]


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
