"""What the demo's page asks for: its own files, and what a network answers to the bytes of a picture."""

from __future__ import annotations

import traceback
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from mnist_dvc.errors import ImageError, MnistDvcError, RefusalError
from mnist_dvc.image import LARGEST_FILE, parse_drawing, parse_picture

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mnist_dvc.classifier import Answer, Classifier
    from mnist_dvc.image import Picture

__all__ = ["application"]

PAGE = Path(__file__).parent / "static"
PICTURE = "picture"
KINDS = ("image/", "application/octet-stream")
"""What no form and no script of another site can send without asking first, and a question gets no leave here."""


def application(classifier: Classifier, hosts: Sequence[str]) -> Starlette:
    """The routes of the demo: its page, and the bytes of a picture to ``POST /answer``, of a drawing to ``/drawing``.

    An answer is a JSON object: ``digit``, ``confidence`` and ten ``probabilities`` from 0 to 1, ``inverted`` as in
    :class:`Answer`, and ``pixels``, the 784 that the network saw, row by row, 0 background to 255 ink. A refusal is an
    object with ``error`` alone, the line that ``predict`` has for the same bytes.

    Args:
        classifier: what answers.
        hosts: names of this server; a request to any other, as of a page whose name was made to lead here, is refused.
    """

    async def answer(request: Request, parse: Callable[[bytes, object], Picture]) -> Response:
        kind = request.headers.get("content-type", "")
        if not kind.startswith(KINDS):
            error = RefusalError(PICTURE, "content type", got=kind or "none", expected=" or ".join(KINDS))
            return _refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, error.problem)
        content = await _content(request)
        try:
            # In the one thread of the server: so no more than one picture at a time is unpacked in memory.
            picture = parse(content, PICTURE)
        except ImageError as refused:
            large = len(content) > LARGEST_FILE
            return _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE if large else HTTPStatus.BAD_REQUEST, refused.problem)
        return JSONResponse(_told(classifier.answer(picture), picture))

    async def answer_to_picture(request: Request) -> Response:
        return await answer(request, parse_picture)

    async def answer_to_drawing(request: Request) -> Response:
        return await answer(request, parse_drawing)

    return Starlette(
        routes=[
            Route("/answer", answer_to_picture, methods=["POST"]),
            Route("/drawing", answer_to_drawing, methods=["POST"]),
            Mount("/", StaticFiles(directory=PAGE, html=True)),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts), www_redirect=False)],
        exception_handlers={ClientDisconnect: _gone, MnistDvcError: _failed, Exception: _defect},
    )


async def _content(request: Request) -> bytes:
    """The body of ``request``, or only its beginning if that is too large for a picture already."""
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > LARGEST_FILE:
            break
    return bytes(content)


def _told(answer: Answer, picture: Picture) -> dict[str, Any]:
    return {
        "digit": answer.digit,
        "confidence": answer.confidence,
        "probabilities": answer.probabilities,
        "inverted": answer.inverted,
        "pixels": picture.pixels_HW.ravel().tolist(),
    }


def _refusal(status: HTTPStatus, problem: str) -> Response:
    return JSONResponse({"error": problem}, status)


async def _gone(_: Request, __: Exception) -> Response:
    """Whoever sent half a picture has left; nobody reads this."""
    return Response(status_code=HTTPStatus.BAD_REQUEST)


async def _failed(_: Request, error: Exception) -> Response:
    return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, str(error))


async def _defect(_: Request, error: Exception) -> Response:
    """A defect of ours costs one answer, and its traceback stands where the server was started."""
    traceback.print_exception(error)
    return _refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"internal error: {type(error).__name__}: {error}")
