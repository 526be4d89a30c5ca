"""The demo's server: what it answers and refuses, whom it answers, how it starts and how it ends."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import signal
import socket
import threading
import webbrowser
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import demos
import numpy as np
import pytest
from demos import asked, drawn, requested
from helpers import command, posix
from PIL import Image, ImageOps

from mnist_dvc.classifier import Classifier, load
from mnist_dvc.demo import app, server
from mnist_dvc.demo.app import application
from mnist_dvc.errors import ImageError
from mnist_dvc.image import LARGEST_FILE, read_picture
from mnist_dvc.pipeline.predict import predict
from mnist_dvc.pretrained import released_onnx

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOSTS = ("127.0.0.1", "localhost")


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


SEVEN = encoded(drawn())
PICTURES = {
    "drawing": SEVEN,
    "photo": encoded(drawn(640), "JPEG", quality=70),
    "light on dark": encoded(Image.eval(drawn(), lambda value: 255 - value)),
    "PGM": encoded(drawn(40).convert("L"), "PPM"),
}
REFUSED = {
    "text": b"a seven",
    "nothing": b"",
    "cut off": SEVEN[: len(SEVEN) // 2],
    "blank": encoded(Image.new("RGB", (280, 280), "white")),
    "speck": encoded(ImageOps.expand(Image.new("RGB", (5, 5)), 100, "white")),
    "decompression bomb": demos.BOMB,
    "animation": encoded(drawn(), "GIF", save_all=True, append_images=[drawn().rotate(90)]),
    "too many bytes": SEVEN + bytes(LARGEST_FILE),
}

REASONS = dict.fromkeys(REFUSED, "content: got ") | {
    "blank": "contrast: got 0 of 255",
    "speck": "pixels of ink: got ",
    "decompression bomb": "size: got far more, expected at most ",
    "too many bytes": "size: got more than ",
}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """That of a server that answers with the released network."""
    with demos.thread(application(load(), HOSTS)) as listening:
        yield listening


# ----------------------------------------------------------------------------------------------------------- answering


@pytest.mark.parametrize("name", PICTURES)
def test_answer_is_that_of_the_classifier_for_the_same_bytes(port: int, tmp_path: Path, name: str) -> None:
    path = tmp_path / "picture"
    path.write_bytes(PICTURES[name])
    expected, seen = load().classify(path), read_picture(path)
    status, told = asked(port, PICTURES[name])
    assert status == HTTPStatus.OK
    assert told["digit"] == expected.digit == 7
    assert told["confidence"] == expected.confidence
    assert told["probabilities"] == list(expected.probabilities)
    assert told["inverted"] == expected.inverted == (name != "light on dark")
    np.testing.assert_array_equal(np.reshape(told["pixels"], (28, 28)), seen.pixels_HW)


def test_other_ink_has_another_answer_so_the_test_above_can_fail(port: int) -> None:
    upright, fallen = (asked(port, encoded(picture))[1] for picture in (drawn(), drawn().rotate(90)))
    assert upright["pixels"] != fallen["pixels"]
    assert upright["probabilities"] != fallen["probabilities"]


def lines_of_predict(content: bytes, path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    path.write_bytes(content)
    with contextlib.suppress(ImageError):
        predict([str(path)], released_onnx("compact"), as_json=True)
    told: dict[str, Any] = json.loads(capsys.readouterr().out)
    return told


@pytest.mark.parametrize("name", REFUSED)
def test_refusal_is_the_line_of_predict_for_the_same_bytes(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    status, told = asked(port, REFUSED[name])
    expected = lines_of_predict(REFUSED[name], tmp_path / "picture", capsys)
    assert told == {"error": expected["error"]}
    assert told["error"].startswith(REASONS[name])
    assert status == (HTTPStatus.REQUEST_ENTITY_TOO_LARGE if name == "too many bytes" else HTTPStatus.BAD_REQUEST)


def test_picture_is_no_refusal_so_the_test_above_can_fail(
    port: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = lines_of_predict(SEVEN, tmp_path / "picture", capsys)
    assert expected["digit"] == asked(port, SEVEN)[1]["digit"]


def uploading(port: int, announced: int, sent: bytes) -> http.client.HTTPConnection:
    """A connection in the midst of a picture of which more bytes are announced than sent."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=demos.TIMEOUT)
    connection.putrequest("POST", "/answer")
    connection.putheader("content-type", "image/png")
    connection.putheader("content-length", str(announced))
    connection.endheaders(sent)
    return connection


def test_upload_is_refused_at_the_first_byte_too_many_and_not_waited_for(port: int) -> None:
    with contextlib.closing(uploading(port, 10 * LARGEST_FILE, bytes(LARGEST_FILE + 1))) as connection:
        response = connection.getresponse()
        assert response.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        assert json.loads(response.read())["error"].startswith("size: got more than 16,777,216 bytes")


def test_upload_of_the_largest_size_is_read_to_its_end(port: int) -> None:
    """The twin of the test above."""
    status, told = asked(port, bytes(LARGEST_FILE))
    assert (status, told["error"][:33]) == (HTTPStatus.BAD_REQUEST, "content: got an unknown or damage")


def test_sender_who_leaves_in_the_midst_of_a_picture_harms_nobody(port: int, capfd: pytest.CaptureFixture[str]) -> None:
    uploading(port, len(SEVEN), SEVEN[:-1]).close()
    assert asked(port, SEVEN)[1]["digit"] == 7
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("kind", ["", "text/plain", "multipart/form-data; boundary=x", "application/json"])
def test_what_a_form_can_send_is_refused(port: int, kind: str) -> None:
    status, told = asked(port, SEVEN, {"content-type": kind} if kind else {})
    assert status == HTTPStatus.UNSUPPORTED_MEDIA_TYPE
    assert told["error"] == f"content type: got {kind or 'none'}, expected image/ or application/octet-stream"


@pytest.mark.parametrize("kind", ["image/png", "application/octet-stream"])
def test_what_the_page_sends_is_taken(port: int, kind: str) -> None:
    """The twin of the test above."""
    assert asked(port, SEVEN, {"content-type": kind})[0] == HTTPStatus.OK


def numbers_that_are_none(images_N1HW: Any) -> Any:
    return np.full((len(images_N1HW), 10), np.nan, np.float32)


def defective(_: Any) -> Any:
    raise ZeroDivisionError("of ours")


@pytest.mark.parametrize(
    ("logits", "line", "traceback"),
    [
        (numbers_that_are_none, "x.onnx: answers: got values that are no numbers, expected probabilities", False),
        (defective, "internal error: ZeroDivisionError: of ours", True),
    ],
    ids=["damaged network", "defect"],
)
def test_answer_that_fails_is_told_and_the_next_question_is_heard(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], logits: Callable[[Any], Any], line: str, *, traceback: bool
) -> None:
    with demos.thread(application(Classifier(logits, tmp_path / "x.onnx"), HOSTS)) as listening:
        for _ in range(2):
            status, told = asked(listening, SEVEN)
            assert status == HTTPStatus.INTERNAL_SERVER_ERROR
            assert line in told["error"]
    assert ("Traceback" in capfd.readouterr().err) == traceback


# -------------------------------------------------------------------------------------------------- the page, and whom


@pytest.mark.parametrize(
    ("path", "kind"), [("/", "text/html"), ("/demo.js", "text/javascript"), ("/demo.css", "text/css")]
)
def test_page_and_its_files_are_served(port: int, path: str, kind: str) -> None:
    reply = requested(port, "GET", path)
    assert reply.status == HTTPStatus.OK
    assert reply.headers["content-type"].startswith(kind)
    assert b"http:" not in reply.body.replace(b"http://www.w3.org/2000/svg", b"")
    assert b"https:" not in reply.body


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/answer"),
        ("POST", "/"),
        ("PUT", "/demo.js"),
        ("GET", "/../app.py"),
        ("GET", "/..%2fapp.py"),
        ("GET", "/docs"),
        ("OPTIONS", "/answer"),
    ],
)
def test_nothing_else_is_served(port: int, method: str, path: str) -> None:
    assert requested(port, method, path).status in (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", ""])
def test_request_to_another_name_is_refused(port: int, host: str) -> None:
    for method, path in (("GET", "/"), ("POST", "/answer")):
        assert requested(port, method, path, SEVEN, {"host": host} | demos.BYTES).status == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:8028", "127.0.0.1:8028"])
def test_request_to_this_machine_is_answered(port: int, host: str) -> None:
    """The twin of the test above."""
    assert requested(port, "GET", "/", headers={"host": host}).status == HTTPStatus.OK
    assert asked(port, SEVEN, {"host": host} | demos.BYTES)[0] == HTTPStatus.OK


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/", {}),
        ("GET", "/none", {}),
        ("GET", "/", {"host": "evil.example"}),
        ("POST", "/answer", {}),
        ("POST", "/answer", demos.BYTES),
        ("OPTIONS", "/answer", {"origin": "http://evil.example", "access-control-request-method": "POST"}),
    ],
)
def test_every_reply_keeps_others_out(port: int, method: str, path: str, headers: dict[str, str]) -> None:
    told = requested(port, method, path, SEVEN, headers).headers
    assert told["content-security-policy"].startswith("default-src 'self'; img-src 'self' data: blob:; ")
    assert told["x-content-type-options"] == "nosniff"
    assert told["cross-origin-resource-policy"] == "same-origin"
    assert told["referrer-policy"] == "no-referrer"
    assert not {name for name in told if name.startswith("access-control-") or name in ("set-cookie", "server")}


def test_connections_are_bounded(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert requested(port, "GET", "/").status == HTTPStatus.OK
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 2)
    with demos.thread(application(load(), HOSTS)) as listening:
        held = [uploading(listening, 10, b"") for _ in range(2)]
        try:
            assert requested(listening, "GET", "/").status == HTTPStatus.SERVICE_UNAVAILABLE
        finally:
            for connection in held:
                connection.close()


# ------------------------------------------------------------------------------------------------- the start, the end

RELEASED = "no model in models: the released network compact answers\n"


@posix
@pytest.mark.parametrize(
    ("number", "code", "line"), [(signal.SIGINT, 0, ""), (signal.SIGTERM, 143, "mnist-dvc: demo: stopped by SIGTERM\n")]
)
def test_command_serves_until_it_is_stopped_and_says_nothing_more(
    tmp_path: Path, number: signal.Signals, code: int, line: str
) -> None:
    with demos.process(tmp_path) as (child, listening):
        assert asked(listening, SEVEN)[1]["digit"] == 7
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


def test_page_is_in_the_package() -> None:
    names = {path.name for path in app.PAGE.iterdir()}
    assert names == {"demo.css", "demo.js", "icon.svg", "index.html"}
