"""What a stroke costs in the demo: from the bytes that a browser sends to the answer, of a server that runs."""

from __future__ import annotations

import contextlib
import http.client
from typing import TYPE_CHECKING, Any

import demos
import pytest
from comparing import compare, only_on_the_cpu

from mnist_dvc.classifier import load
from mnist_dvc.image import parse_drawing

if TYPE_CHECKING:
    from pathlib import Path

    import torch

STROKES = 50


@pytest.mark.benchmark(group="demo")
def test_strokes_of_the_demo(benchmark: Any, device: torch.device, tmp_path: Path) -> None:
    """Fifty questions one after another, as a page asks them, against the same work without server and socket."""
    only_on_the_cpu(device, "the demo answers by ONNX Runtime on the CPU")
    drawing, classifier = demos.encoded(demos.drawn()), load("compact")

    def here() -> None:
        for _ in range(STROKES):
            classifier.answer(parse_drawing(drawing, "drawing"))

    with demos.process(tmp_path, "--model", "compact") as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port)

        def there() -> None:
            for _ in range(STROKES):
                connection.request("POST", "/drawing", drawing, demos.BYTES)
                if connection.getresponse().read()[:10] != b'{"digit":7':
                    raise RuntimeError("a seven was drawn")

        with contextlib.closing(connection):
            told = compare(benchmark, there, {"without_server": here})
    speed = {"milliseconds_per_stroke": round(1000 * told["seconds"] / STROKES, 2)}
    benchmark.extra_info |= {"network": "compact", "strokes": STROKES} | told | speed
