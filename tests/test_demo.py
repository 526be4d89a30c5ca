"""The demo's server: what it answers and refuses, and whom."""

from __future__ import annotations

import contextlib
import json
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import demos
import numpy as np
import pytest
from demos import asked, drawn, encoded, requested, uploading
from PIL import Image, ImageDraw, ImageOps

from mnist_dvc.classifier import Classifier, load
from mnist_dvc.demo import app, server
from mnist_dvc.demo.app import application
from mnist_dvc.errors import ImageError
from mnist_dvc.image import LARGEST_FILE, read_picture
from mnist_dvc.pipeline.predict import predict
from mnist_dvc.pretrained import released_onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

HOSTS = ("127.0.0.1", "localhost")


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


def strokes_apart() -> bytes:
    """A four as many write it, its strokes not touching."""
    picture = Image.new("RGB", (280, 280), "white")
    pen = ImageDraw.Draw(picture)
    pen.line([(100, 50), (84, 145), (150, 140)], fill=(17, 17, 17), width=22, joint="curve")
    pen.line([(205, 50), (200, 235)], fill=(17, 17, 17), width=22)
    return encoded(picture)


def test_drawing_is_one_digit_however_many_strokes_apart(port: int) -> None:
    status, told = asked(port, strokes_apart(), question="/drawing")
    assert status == HTTPStatus.OK
    seen_HW = np.array(told["pixels"]).reshape(28, 28)
    assert seen_HW[:, :14].any()
    assert seen_HW[:, 18:].any()
    status, told = asked(port, strokes_apart())  # the twin: the same as a picture
    assert (status, told["error"][:13]) == (HTTPStatus.BAD_REQUEST, "digits: got 2")


def test_beginning_of_a_drawing_is_answered(port: int) -> None:
    """A dot, which no picture is taken to show a digit by."""
    dot = encoded(ImageOps.expand(Image.new("RGB", (22, 22)), 129, "white"))
    assert asked(port, dot, question="/drawing")[0] == HTTPStatus.OK
    assert asked(port, encoded(Image.new("RGB", (280, 280), "white")), question="/drawing")[0] == HTTPStatus.BAD_REQUEST
    assert asked(port, REFUSED["speck"], question="/drawing")[0] == HTTPStatus.BAD_REQUEST


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
        # They ask for nothing: a request while both are open would itself be refused, and end its connection.
        first, second = (socket.create_connection(("127.0.0.1", listening)) for _ in range(2))
        with first, second:
            assert requested(listening, "GET", "/").status == HTTPStatus.SERVICE_UNAVAILABLE


def test_page_is_in_the_package() -> None:
    names = {path.name for path in app.PAGE.iterdir()}
    assert names == {"demo.css", "demo.js", "icon.svg", "index.html"}
