"""Our commands in processes that need not import PyTorch anew: copies of one that has, made by forking.

A command takes seconds to import the libraries, and the pipeline has five. A server has imported them; each copy of it
becomes a `mnist-dvc` of its own. The tests ask it themselves; DVC asks by scripts named `python` and `mnist-dvc` that
are put first on the PATH, and become the programs of that name for all else that they are asked for.

All workers of a run share one server, since it takes as long to start as ten tests. It ends when nobody holds the pipe
in its folder open any more, which the process that made the folder does.
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
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NoReturn

from filelock import FileLock

HERE = hasattr(os, "fork") and hasattr(socket, "send_fds")
"""Not on Windows."""
OUR_COMMANDS = (
    *(f"mnist_dvc.pipeline.{stage}" for stage in ("train", "evaluate", "export", "report", "summary")),
    "mnist_dvc.study.trial",
)
READ_EARLY = ("OMP_", "MKL_", "OPENBLAS_", "PYTHON", "LC_", "LANG", "TZ")
"""How the names of variables begin that a library, or Python, reads while it is loaded."""
TIMEOUT = 240
"""Seconds of a command that the tests run."""
SIZE = 4
"""Bytes of the length before a request."""
ANSWER = 12
"""Bytes of each answer: the process number, then its exit code."""

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
    server.recv({answer})
    code = int(server.recv({answer}))
sys.exit(code if code >= 0 else 128 - code)
"""


def command(cwd: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run ``mnist-dvc`` in ``cwd`` and return what it printed and its exit code, as of ``subprocess.run``."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err, socket.socket(socket.AF_UNIX) as server:
        server.settimeout(TIMEOUT)
        server.connect(str(_served() / "commands"))
        request = json.dumps([str(cwd), [], words, dict(os.environ)]).encode()
        with open(os.devnull, "rb") as nothing:  # noqa: PTH123
            socket.send_fds(
                server, [len(request).to_bytes(SIZE, "big")], [file.fileno() for file in (nothing, out, err)]
            )
        server.sendall(request)
        process = int(server.recv(ANSWER))
        try:
            code = int(server.recv(ANSWER))
        except TimeoutError:
            os.kill(process, signal.SIGKILL)
            raise subprocess.TimeoutExpired(words, TIMEOUT) from None
        told = []
        for file in (out, err):
            file.seek(0)
            told.append(file.read().decode())
    return subprocess.CompletedProcess(words, code, *told)


def first_programs() -> list[str]:
    """What to put first on the PATH: a folder with such scripts. Each copy reads the package that it finds there."""
    return [str(_served())] if HERE else []


def share(folder: str) -> None:
    """Take the server of this folder, which another process has made."""
    _given[:] = [Path(folder)]


_given: list[Path] = []


@functools.cache
def own_folder() -> Path:
    """A folder for a server that ends with this process."""
    made = Path(tempfile.mkdtemp(prefix="warm"))
    os.mkfifo(made / "open")
    held = os.open(made / "open", os.O_RDWR)
    atexit.register(shutil.rmtree, made)
    atexit.register(os.close, held)
    return made


@functools.cache
def _served() -> Path:
    """The folder of the server, which the first that needs it starts."""
    folder = _given[0] if _given else own_folder()
    with FileLock(folder / "lock"):
        if not (folder / "client.py").exists():
            subprocess.run([sys.executable, __file__, str(folder)], stdin=subprocess.DEVNULL, check=True)
    return folder


def _serve(folder: Path) -> NoReturn:
    """Fork a process for each connection until nobody holds the pipe: of the libraries, or of our commands."""
    pipe = os.open(folder / "open", os.O_RDONLY)
    importlib.import_module("libraries")
    programs, commands = (_listener(folder / name) for name in ("socket", "commands"))
    _write_client(folder, str(folder / "socket"))
    if os.fork():
        os._exit(0)  # whoever started this one waits for no other
    if _accept_until(pipe, programs, commands) is commands and os.fork() == 0:
        programs.close()
        for name in OUR_COMMANDS:
            importlib.import_module(name)
        _accept_until(pipe, commands)
    else:
        commands.close()
        _accept_until(pipe, programs)
    os._exit(0)  # taking the libraries apart in a copy may never end


def _listener(address: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen()
    return listener


def _accept_until(pipe: int, listener: socket.socket, other: socket.socket | None = None) -> socket.socket | None:
    """Answer until the pipe ends, or somebody asks the other."""
    ends = [pipe, *([other.fileno()] if other else [])]
    while not (ended := [end for end in select.select([listener.fileno(), *ends], [], [])[0] if end in ends]):
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _answer(connection)
        connection.close()
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
    return None if pipe in ended else other


def _write_client(folder: Path, address: str) -> None:
    given = {name: os.environ[name] for name in os.environ if name.startswith(READ_EARLY) and name != "PYTHONPATH"}
    told = CLIENT.format(
        python=sys.executable, early=READ_EARLY, given=given, address=address, size=SIZE, answer=ANSWER
    )
    (folder / "client.py").write_text(told, encoding="utf-8")
    for script in (folder / "python", folder / "mnist-dvc"):
        script.write_text(SCRIPT.format(python=sys.executable), encoding="utf-8")
        script.chmod(0o700)


def _answer(connection: socket.socket) -> NoReturn:
    """Fork the process itself, and tell its number and its exit code."""
    head, streams, _, _ = socket.recv_fds(connection, SIZE, 3)
    request = connection.recv(int.from_bytes(head, "big"), socket.MSG_WAITALL)
    child = os.fork()
    if child == 0:
        connection.close()
        _become(streams, *json.loads(request))
    for stream in streams:
        os.close(stream)
    connection.sendall(f"{child:{ANSWER}}".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    connection.sendall(f"{code:{ANSWER}}".encode())
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
    code = 1
    try:
        runpy.run_module("mnist_dvc", run_name="__main__", alter_sys=True)
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
    except BaseException:  # noqa: BLE001  (as the interpreter does)
        traceback.print_exc()
    sys.stdout.flush()
    os._exit(code)  # as the server does


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
