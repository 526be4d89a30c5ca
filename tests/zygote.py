"""A process that has imported everything and forks a real `mnist-dvc` process for each line it reads.

A line is a JSON list: the working folder, what to break in this process, for the twins of tests that must be able to
fail, and the arguments. It answers with the process number, later with the exit status (negative: the signal that
killed it).
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from filelock import FileLock

from mnist_dvc import codebase, files, program
from mnist_dvc.training import snapshot
from mnist_dvc.training.engine import Training

if TYPE_CHECKING:
    from pathlib import Path

for stage in ("prepare", "train", "evaluate", "export"):
    importlib.import_module(f"mnist_dvc.pipeline.{stage}")
    codebase.code_digest(f"mnist_dvc.pipeline.{stage}")
importlib.import_module("torch._dynamo")  # an optimiser imports it: a second that each process would spend anew


def write_naively(path: Path, content: bytes) -> None:
    """Open the file itself and write: what most training scripts do."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb", buffering=0) as file:
        for start in range(0, len(content), 20_000):
            file.write(content[start : start + 20_000])
            os.fsync(file.fileno())


def sabotage(what: str) -> None:
    restore = Training.restore
    match what:
        case "naive save":
            snapshot.write_atomically = write_naively  # type: ignore[attr-defined, assignment]
        case "missing generator state":

            def forgetful(self: Training, state: snapshot.TrainingState) -> None:
                fresh = self.capture().tensors["distortion"]
                restore(self, replace(state, tensors={**state.tensors, "distortion": fresh}))

            Training.restore = forgetful  # type: ignore[method-assign]
        case "no lock":
            FileLock.acquire = lambda *_, **__: None  # type: ignore[method-assign, assignment]
            files._locked = lambda handle: handle >= 0


def become(folder: str, arguments: list[str]) -> None:
    os.setsid()
    os.chdir(folder)
    log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(log, stream)
    sys.argv = ["mnist-dvc", *arguments]
    program.main()


def tell(number: int) -> None:
    sys.stdout.write(f"{number}\n")
    sys.stdout.flush()


def serve() -> None:
    left: list[int] = []
    for line in sys.stdin:
        while left:
            os.waitpid(left.pop(), 0)
        folder, what, arguments = json.loads(line)
        child = os.fork()
        if child == 0:
            sabotage(what)
            become(folder, arguments)
        tell(child)
        # A zombie until the next line comes: a kill that is sent a moment too late meets this process and no other.
        ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
        assert ended is not None
        tell(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status)
        left.append(child)


if __name__ == "__main__":
    serve()
