"""A server on this machine in the place of a data set's mirrors."""

from __future__ import annotations

import http.server
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as its server's ``answer`` says, which gets the bytes that were asked for."""

    server: Mirror

    def do_GET(self) -> None:
        """Count the request and answer it."""
        self.server.requests.append(self.path)
        try:
            self.server.answer(self, self.server.files.get(self.path.lstrip("/"), b""))
        except OSError:  # the reader has hung up
            self.close_connection = True

    def head(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Stay silent."""


class Mirror(http.server.ThreadingHTTPServer):
    """A local mirror of small files; ``released`` is set when the test is over."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files = files
        self.answer: Callable[[Handler, bytes], None] = well
        self.requests: list[str] = []
        self.released = threading.Event()
        self.reached = threading.Event()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}).start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"

    def close(self) -> None:
        self.released.set()
        self.shutdown()
        self.server_close()


def well(handler: Handler, content: bytes) -> None:
    handler.head(Content_Length=len(content))
    handler.wfile.write(content)
