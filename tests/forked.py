"""Our own command in a process of its own that need not import torch anew: a copy of one that has, made by forking."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import tempfile
from multiprocessing.forkserver import set_forkserver_preload
from pathlib import Path

STAGES = ("train", "evaluate", "export", "report", "summary")
PRELOADED = ["libraries", *(f"mnist_dvc.pipeline.{stage}" for stage in STAGES), "mnist_dvc.study.trial"]
TIMEOUT = 240
HERE = "forkserver" in multiprocessing.get_all_start_methods()
"""Not on Windows."""


def forked(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run ``mnist-dvc`` in ``cwd`` and return what it printed and its exit code, as of ``subprocess.run``."""
    context = multiprocessing.get_context("forkserver")
    set_forkserver_preload(PRELOADED)
    with tempfile.TemporaryDirectory() as folder:
        streams = Path(folder, "out"), Path(folder, "err")
        child = context.Process(target=_become, args=(cwd, arguments, streams))
        child.start()
        child.join(TIMEOUT)
        if child.exitcode is None:
            child.kill()
            raise subprocess.TimeoutExpired(arguments, TIMEOUT)
        told = [stream.read_text(encoding="utf-8") for stream in streams]
    return subprocess.CompletedProcess(arguments, child.exitcode, *told)


def _become(cwd: Path, arguments: tuple[str, ...], streams: tuple[Path, Path]) -> None:
    from mnist_dvc.cli import main  # noqa: PLC0415  (in the child only)

    os.chdir(cwd)
    for descriptor, stream in enumerate(streams, start=1):
        handle = os.open(stream, os.O_WRONLY | os.O_CREAT)
        os.dup2(handle, descriptor)
        os.close(handle)
    sys.argv = ["mnist-dvc", *arguments]
    main()
