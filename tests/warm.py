"""A `python` for the stages that DVC starts: a copy of a process that has imported the libraries, made by forking.

A stage takes seconds to import PyTorch and what stands on it, and the pipeline has five. A script named `python`, put
first on the PATH, asks the server in this file for `python -m mnist_dvc ...`, and becomes the interpreter for all else;
one named `mnist-dvc` does the same. The package itself is not imported before the fork: each copy reads the one that
is found from its working folder and its PYTHONPATH.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import json
import os
import runpy
import select
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NoReturn

HERE = hasattr(os, "fork") and hasattr(socket, "send_fds")
"""Not on Windows."""
READ_EARLY = ("OMP_", "MKL_", "OPENBLAS_", "PYTHON", "LC_", "LANG", "TZ")
"""How the names of variables begin that a library, or Python, reads while it is loaded."""
SIZE = 4
"""Bytes of the length before a request."""
SCRIPT = """#!/bin/sh
exec "{python}" -IS "$(dirname "$0")/client.py" "$(basename "$0")" "$@"
"""
CLIENT = """
import json, os, socket, sys
name, *words = sys.argv[1:]
early = {{name: value for name, value in os.environ.items() if name.startswith({early}) and name != "PYTHONPATH"}}
module = ["-m", "mnist_dvc"] if name == "python" else []
if words[: len(module)] != module or early != {given}:
    program = os.path.join(os.path.dirname({python!r}), name)
    os.execv(program, [program, *words])
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    path = [os.getcwd()] if module else []
    request = json.dumps([os.getcwd(), path, words[len(module) :], dict(os.environ)]).encode()
    socket.send_fds(server, [len(request).to_bytes({size}, "big")], [0, 1, 2])
    server.sendall(request)
    sys.exit(int(server.recv(8)))
"""


@functools.cache
def first_programs() -> list[str]:
    """What to put first on the PATH: a folder with such a `python`, whose server ends with this process, if at all."""
    if not HERE:
        return []
    folder = tempfile.mkdtemp(prefix="warm")
    server = subprocess.Popen([sys.executable, __file__, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    if server.stdout is None or not server.stdout.readline():
        raise RuntimeError("the server of warm processes does not answer")
    atexit.register(shutil.rmtree, folder)
    atexit.register(server.communicate)
    return [folder]


def _early() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith(READ_EARLY) and name != "PYTHONPATH"}


def _serve(folder: Path) -> None:
    """Fork a process for each connection until standard input ends."""
    importlib.import_module("libraries")
    address = folder / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(address))
        listener.listen()
        _write_client(folder, str(address))
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while sys.stdin not in select.select([listener, sys.stdin], [], [])[0]:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                _answer(connection)
            connection.close()
            with contextlib.suppress(ChildProcessError):
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _write_client(folder: Path, address: str) -> None:
    told = CLIENT.format(python=sys.executable, early=READ_EARLY, given=_early(), address=address, size=SIZE)
    (folder / "client.py").write_text(told, encoding="utf-8")
    for script in (folder / "python", folder / "mnist-dvc"):
        script.write_text(SCRIPT.format(python=sys.executable), encoding="utf-8")
        script.chmod(0o700)


def _answer(connection: socket.socket) -> NoReturn:
    """Fork the process itself, and tell its exit code as a shell does."""
    head, streams, _, _ = socket.recv_fds(connection, SIZE, 3)
    request = connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
    folder, path, words, environment = json.loads(request)
    child = os.fork()
    if child == 0:
        connection.close()
        _become(streams, folder, path, words, environment)
    for stream in streams:
        os.close(stream)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.sendall(str(status if status >= 0 else 128 - status).encode())
    os._exit(0)


def _become(
    streams: list[int], folder: str, path: list[str], words: list[str], environment: dict[str, str]
) -> NoReturn:
    for descriptor, stream in enumerate(streams):
        os.dup2(stream, descriptor)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    given = environment.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:1] = [*path, *filter(None, given)]  # this file's folder stood first
    sys.argv = ["mnist-dvc", *words]
    runpy.run_module("mnist_dvc", run_name="__main__", alter_sys=True)
    os._exit(0)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
