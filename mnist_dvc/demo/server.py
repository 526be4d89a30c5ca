"""``demo``: the server behind the page, from a free port to Ctrl-C."""

from __future__ import annotations

import contextlib
import ipaddress
import signal
import socket
import sys
import threading
import webbrowser
from typing import TYPE_CHECKING

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from mnist_dvc.classifier import load
from mnist_dvc.demo.app import application
from mnist_dvc.errors import RefusalError, StoppedError

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType

    from starlette.applications import Starlette

__all__ = ["ListenError", "Server", "demo", "server"]

HEADERS = [
    (
        "Content-Security-Policy",
        "default-src 'self'; img-src 'self' data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Cache-Control", "no-cache"),
]
"""The page takes nothing from elsewhere, and no other page takes anything from it, or shows it in a frame."""
MOST_CONNECTIONS = 16
"""Each may hold the largest picture in memory; a browser opens up to six."""
IDLE, FAREWELL = 5, 1
"""Seconds that a connection is kept without a request, and that one has to end in at the end."""


class Server(uvicorn.Server):
    """Ends in good order at Ctrl-C and SIGTERM, and keeps the number in ``received``.

    uvicorn itself raises the signal anew when it has ended, which the command line would take for an impatient second.
    """

    received: int | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002  (uvicorn passes it)
        """Take note, and be seen to end within a tenth of a second."""
        self.received = sig
        self.should_exit = True


class ListenError(RefusalError):
    """The demo cannot be reached where it was asked to be: the port is taken, or the address is not of this machine."""

    exit_code = 74


def demo(model: Path, *, host: str, port: int, browser: bool) -> None:
    """Serve the page until Ctrl-C, which is a success, and say where it is.

    Args:
        model: as ``load`` takes it.
        host: the name or IPv4 address to be reached under; any but this machine's own lets others in.
        port: 0 for any that is free.
        browser: open the page in the user's.

    Raises:
        ArtifactError: the model is missing or damaged.
        ListenError: there is no listening at ``host`` and ``port``.
        StoppedError: SIGTERM came in place of Ctrl-C.
    """
    classifier = load(model)
    with _listening(host, port) as listener, contextlib.suppress(KeyboardInterrupt):
        bound, port = listener.getsockname()[:2]
        address = ipaddress.ip_address(bound)
        if not address.is_loopback:
            told = f"{host}: got an address that others reach too: they can draw and send pictures, expected 127.0.0.1"
            print(f"demo: {told}", file=sys.stderr)
        url = f"http://{'localhost' if address.is_unspecified else bound}:{port}"
        print(f"Draw at {url} (Ctrl-C ends)", flush=True)
        if browser:
            threading.Thread(target=_open, args=(url,), daemon=True).start()
        hosts = ["*"] if address.is_unspecified else ["localhost", host, bound]
        serving = server(application(classifier, hosts))
        serving.run([listener])
        if serving.received == signal.SIGTERM:
            raise StoppedError("demo: stopped by SIGTERM", signal.SIGTERM)


def server(app: Starlette) -> Server:
    """What serves ``app`` on sockets that listen already; it prints nothing, and tells nobody what it is."""
    return Server(
        uvicorn.Config(
            app,
            loop="asyncio",
            http=H11Protocol,  # reads what a refused upload still sends, so that its sender hears of the refusal
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="critical",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            headers=HEADERS,
            limit_concurrency=MOST_CONNECTIONS,
            timeout_keep_alive=IDLE,
            timeout_graceful_shutdown=FAREWELL,
        )
    )


def _listening(host: str, port: int) -> socket.socket:
    """A socket that browsers can connect to from now on.

    Raises:
        ListenError: the system refuses it.
    """
    try:
        listener = socket.create_server((host, port))
    except OSError as error:
        expected = "an address of this machine and a free port; --port 0 takes any"
        got = str(error.strerror).partition(" (")[0]  # the brackets say the address again
        raise ListenError(f"{host}:{port}", "address", got=got, expected=expected) from error
    # Its connections inherit this, which asyncio sets for listeners of its own alone; else each answer waits 40 ms.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _open(url: str) -> None:
    """Show ``url`` in the user's browser, if there is one: where the page is has been said anyway."""
    with contextlib.suppress(OSError, webbrowser.Error):
        webbrowser.open(url)
