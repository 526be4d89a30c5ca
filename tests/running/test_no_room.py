"""A stage whose names are taken, or that is out of disk or memory, says so and leaves the old outputs whole."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from helpers import params, params_of, posix, write_params
from killing import golden, published, tracked

from mnist_dvc.pipeline.train import train

if TYPE_CHECKING:
    from collections.abc import Callable

    from mnist_dvc.paths import Paths

    Arm = Callable[..., None]


pytestmark = posix

LARGE = {"model": {"name": "compact"}}
TAKEN = ("models/model.safetensors", "models/checkpoint.pth", "models/SHA256SUMS", "reports/train/history.csv")


@pytest.mark.parametrize("name", TAKEN)
def test_name_taken_by_a_folder_is_met_before_the_training(workspace: Paths, name: str) -> None:
    (workspace.root / name / "inside").mkdir(parents=True)
    with pytest.raises(IsADirectoryError) as caught:
        train(params(), workspace)
    assert caught.value.filename == str(workspace.root / name)
    assert not workspace.runs.exists()


@pytest.mark.parametrize("name", ["models", "reports", "checkpoints", ".mnist_dvc"])
def test_folder_taken_by_a_file_is_met_before_the_training(workspace: Paths, name: str) -> None:
    (workspace.root / name).write_text("a file")
    with pytest.raises(OSError, match="(File exists|Not a directory)"):
        train(params(), workspace)
    assert not workspace.runs.exists()


def test_full_disk_ends_in_74_in_the_system_s_own_words(workspace: Paths) -> None:
    """No file may grow beyond 100,000 bytes, as on a disk with that much left: snapshots take 380,000."""
    write_params(workspace.root, LARGE)
    whole = golden(workspace)
    train(params(), workspace)
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
        "from mnist_dvc.program import main; sys.argv = ['mnist-dvc', 'train', '--snapshot-every', '0']; main()"
    )
    result = subprocess.run(
        [sys.executable, "-c", limited], cwd=workspace.root, capture_output=True, text=True, check=False
    )
    assert result.returncode == 74, result.stderr
    *others, last = result.stderr.splitlines()
    assert re.fullmatch(rf"mnist-dvc: \.mnist_dvc/resume/\w+/step-0+1\.snapshot: {os.strerror(errno.EFBIG)}", last)
    assert [line for line in others if "no TensorBoard curves from here on" not in line] == []
    assert tracked(workspace) == whole
    assert list(workspace.root.rglob("*.tmp")) == []


@pytest.mark.parametrize("full", ["snapshot", "publishing"])
def test_disk_that_fills_up_leaves_the_old_outputs_whole(
    workspace: Paths, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    chosen = params_of("compact")
    train(chosen, workspace)
    whole = tracked(workspace)
    write, calls = os.write, iter(range(1000))

    def fill(handle: int, content: Any) -> int:
        if len(content) > (300_000 if full == "snapshot" else 0) and next(calls) >= (1 if full == "snapshot" else 5):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(handle, content)

    monkeypatch.setattr(os, "write", fill)
    with pytest.raises(OSError, match="No space left"):
        train(chosen, workspace)
    monkeypatch.undo()
    assert tracked(workspace) == whole
    assert list(workspace.root.rglob("*.tmp")) == []
    train(chosen, workspace)
    assert tracked(workspace) == whole


def test_out_of_memory_ends_in_74_and_names_the_batch_size(workspace: Paths) -> None:
    """The address space ends 60 MB above what the process has; a batch of 300 images needs more."""
    write_params(workspace.root, LARGE, batch_size=300)
    limited = (
        "import resource, sys, torch, mnist_dvc.running.run as t\n"
        "import torch._dynamo\n"
        "follow = t._follow\n"
        "def limit(*arguments):\n"
        "    now = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize() + 60 * 2**20\n"
        "    resource.setrlimit(resource.RLIMIT_AS, (now, now))\n"
        "    return follow(*arguments)\n"
        "t._follow = limit\n"
        "from mnist_dvc.program import main; sys.argv = ['mnist-dvc', 'train']; main()\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", limited], cwd=workspace.root, capture_output=True, text=True, check=False
    )
    assert result.stderr.splitlines()[-1].startswith("mnist-dvc: out of memory (")
    assert result.returncode == 74
    assert published(workspace) == {}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_folder_without_permission_is_met_before_the_training(workspace: Paths) -> None:
    workspace.model.parent.mkdir()
    workspace.model.parent.chmod(0o555)
    with pytest.raises(PermissionError):
        train(params(), workspace)
    assert not workspace.runs.exists()
