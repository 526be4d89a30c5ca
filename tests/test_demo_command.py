"""The command `demo`: how it starts, and how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import threading
import webbrowser
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import demos
import pytest
from demos import asked, drawn, encoded, uploading
from helpers import command, posix

from mnist_dvc.demo import server
from mnist_dvc.pretrained import released_onnx

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

RELEASED = "no model in models: the released network compact answers\n"


@posix
@pytest.mark.parametrize(
    ("number", "code", "line"), [(signal.SIGINT, 0, ""), (signal.SIGTERM, 143, "mnist-dvc: demo: stopped by SIGTERM\n")]
)
def test_command_serves_until_it_is_stopped_and_says_nothing_more(
    tmp_path: Path, number: signal.Signals, code: int, line: str
) -> None:
    with demos.process(tmp_path) as (child, listening):
        assert asked(listening, encoded(drawn()))[1]["digit"] == 7
        assert asked(listening, b"a seven")[0] == HTTPStatus.BAD_REQUEST
        with contextlib.closing(uploading(listening, 1000, b"half a picture")):  # whose sender says no more
            assert demos.ended(child, number) == (code, "", RELEASED + line)
    assert list(tmp_path.iterdir()) == []


def started(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command where it must fail; in an environment of its own, for which no torch is loaded."""
    return command("demo", "--no-browser", "--model", "compact", *arguments, cwd=folder, environment=dict(os.environ))


@pytest.mark.parametrize(
    ("arguments", "code", "line"),
    [
        (
            ["--model", "missing.onnx"],
            65,
            "missing.onnx: file: got nothing, expected the ONNX file",
        ),
        (["--port", "65536"], 2, "or equal to 65535"),
        (["--host", "nowhere.invalid"], 74, "nowhere.invalid:0: address: got "),
    ],
    ids=["no model", "no port", "no host"],
)
def test_start_that_fails_is_told_in_a_line(tmp_path: Path, arguments: list[str], code: int, line: str) -> None:
    result = started(tmp_path, "--port", "0", *arguments)
    assert (result.returncode, result.stdout) == (code, "")
    assert line in result.stderr
    assert "Traceback" not in result.stderr


def test_port_that_is_taken_is_told_in_a_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = str(other.getsockname()[1])
        result = started(tmp_path, "--port", taken)
    assert (result.returncode, result.stdout) == (74, "")
    assert result.stderr == (
        f"mnist-dvc: 127.0.0.1:{taken}: address: got Address already in use, "
        "expected an address of this machine and a free port; --port 0 takes any\n"
    )


class Served:
    """A server that ends at once."""

    def __init__(self) -> None:
        self.hosts: list[str] = []

    def __call__(self, served: Any) -> Served:
        (trusted,) = served.user_middleware
        self.hosts = trusted.kwargs["allowed_hosts"]
        return self

    def run(self, sockets: list[socket.socket]) -> None:
        """Ctrl-C, as uvicorn passes it on."""
        assert sockets[0].getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        raise KeyboardInterrupt


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Served:
    ends = Served()
    monkeypatch.setattr(server, "server", ends)
    return ends


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pages that the user's browser was asked for; it is opened in a thread, which is waited for."""
    pages: list[str] = []

    class Now:
        def __init__(self, target: Callable[[str], None], args: tuple[str], **_: Any) -> None:
            self.start = lambda: target(*args)

    monkeypatch.setattr(threading, "Thread", Now)
    monkeypatch.setattr(webbrowser, "open", pages.append)
    return pages


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize("wanted", [True, False])
def test_browser_is_opened_where_it_is_wanted(
    opened: list[str], capsys: pytest.CaptureFixture[str], *, wanted: bool
) -> None:
    server.demo(released_onnx("compact"), host="127.0.0.1", port=0, browser=wanted)
    told = capsys.readouterr()
    assert opened == (([told.out.split()[2]]) if wanted else [])
    assert told.err == ""


@pytest.mark.usefixtures("served", "opened")
@pytest.mark.parametrize("error", [webbrowser.Error("none"), OSError("none")])
def test_browser_that_is_missing_harms_nobody(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(_: str) -> None:
        raise error

    monkeypatch.setattr(webbrowser, "open", fail)
    server.demo(released_onnx("compact"), host="127.0.0.1", port=0, browser=True)


def test_address_that_others_reach_is_warned_of(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    server.demo(released_onnx("compact"), host="0.0.0.0", port=0, browser=False)  # noqa: S104
    told = capsys.readouterr()
    assert told.out.startswith("Draw at http://localhost:")
    assert told.err == (
        "demo: 0.0.0.0: got an address that others reach too: they can draw and send pictures, expected 127.0.0.1\n"
    )
    assert served.hosts == ["*"]


def test_address_of_this_machine_alone_is_not_warned_of(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    """The twin of the test above."""
    server.demo(released_onnx("compact"), host="localhost", port=0, browser=False)
    assert capsys.readouterr().err == ""
    assert served.hosts == ["localhost", "localhost", "127.0.0.1"]
