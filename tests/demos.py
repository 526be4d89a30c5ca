"""The demo as it runs: in a process of its own, started by our command, or in a thread of this one."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import zlib
from typing import TYPE_CHECKING, Any, NamedTuple

from PIL import Image, ImageDraw

from mnist_dvc.demo.server import server

if TYPE_CHECKING:
    import signal
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from starlette.applications import Starlette

__all__ = ["BOMB", "Reply", "asked", "drawn", "encoded", "ended", "process", "requested", "thread", "uploading"]

LINE = re.compile(r"Draw at http://127\.0\.0\.1:(\d+) \(Ctrl-C ends\)\n")
BYTES = {"content-type": "application/octet-stream"}
TIMEOUT = 60


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


_HEADER = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
BOMB = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", _HEADER) + _chunk(b"IDAT", zlib.compress(b"")) + _chunk(b"IEND", b"")
"""A hundred bytes that say they are 3,600 million pixels."""


class Reply(NamedTuple):
    """What the server sent."""

    status: int
    headers: Mapping[str, str]
    body: bytes


@contextlib.contextmanager
def process(folder: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """``mnist-dvc demo`` in ``folder``, and its port; it is killed at the end, if it still runs."""
    command = [sys.executable, "-m", "mnist_dvc", "demo", "--no-browser", "--port", "0", *arguments]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as child:
        try:
            line = child.stdout.readline() if child.stdout else ""
            found = LINE.fullmatch(line)
            if found is None:
                raise RuntimeError(f"got {line!r} on standard output, expected where the page is")
            yield child, int(found[1])
        finally:
            child.kill()


def ended(child: subprocess.Popen[str], number: signal.Signals) -> tuple[int, str, str]:
    """Send a signal; the exit code, and what was printed until then."""
    os.kill(child.pid, number)
    out, err = child.communicate(timeout=TIMEOUT)
    return child.returncode, out, err


@contextlib.contextmanager
def thread(app: Starlette) -> Iterator[int]:
    """The port of a server of ``app`` in this process."""
    serving = server(app)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        running = threading.Thread(target=serving.run, args=([listener],))
        running.start()
        try:
            yield listener.getsockname()[1]
        finally:
            serving.should_exit = True
            running.join(TIMEOUT)


def requested(
    port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> Reply:
    """The reply to one request."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    with contextlib.closing(connection):
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return Reply(response.status, {key.lower(): value for key, value in response.getheaders()}, response.read())


def asked(
    port: int, content: bytes, headers: Mapping[str, str] = BYTES, *, question: str = "/answer"
) -> tuple[int, Any]:
    """The status of the answer to a picture, and the answer."""
    reply = requested(port, "POST", question, content, headers)
    return reply.status, json.loads(reply.body)


def drawn(side: int = 280) -> Image.Image:
    """A seven as the page draws it: dark ink on white paper."""
    picture = Image.new("RGB", (side, side), "white")
    stroke = [(x * side // 10, y * side // 10) for x, y in ((3, 2), (7, 2), (5, 8))]
    ImageDraw.Draw(picture).line(stroke, fill=(17, 17, 17), width=side // 12)
    return picture


def encoded(picture: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """A picture as the bytes of a file."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def uploading(port: int, announced: int, sent: bytes) -> http.client.HTTPConnection:
    """A connection in the midst of a picture of which more bytes are announced than sent."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    connection.putrequest("POST", "/answer")
    connection.putheader("content-type", "image/png")
    connection.putheader("content-length", str(announced))
    connection.endheaders(sent)
    return connection
