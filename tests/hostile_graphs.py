"""Mutated ONNX files, and how the command ends with files of anybody, under limits."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from graphs import MOST, good, with_digest
from graphs_table import PLAIN

from mnist_dvc import graph
from mnist_dvc.errors import ArtifactError
from mnist_dvc.serving import read_onnx

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

IMAGES_N1HW = np.random.default_rng(0).integers(0, 256, (7, 1, 28, 28), dtype=np.uint8)
NUMBERS = (-(2**31), -28, -2, -1, 0, 1, 2, 3, 4, 5, 7, 16, 28, 64, 784, 2**16, 2**31 - 1)
LISTED = (*NUMBERS, -MOST - 1, 2**31, 2**62, MOST)

LIMITED = """
import contextlib, io, json, resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_DATA, (2**30, 2**30))
from mnist_dvc.program import _run
told = {}
for path in sorted(Path("hostile").iterdir()):
    sys.argv = ["mnist-dvc", "predict", "--json", "--model", str(path), "picture.png"]
    with contextlib.redirect_stderr(io.StringIO()) as errors:
        told[path.name] = (_run(), errors.getvalue())
print(json.dumps(told))
"""


def codes_of(contents: Mapping[str, bytes], folder: Path) -> dict[str, int]:
    """The exit code of ``predict`` for each file, all in one process of a gigabyte, after one line about that file.

    Where a file says that its weights are in another one, that one is there.
    """
    (folder / "hostile").mkdir()
    (folder / "weights.bin").write_bytes(bytes(10_000))
    for number, content in enumerate(contents.values()):
        (folder / f"hostile/{number}.onnx").write_bytes(content)
    result = subprocess.run(
        [sys.executable, "-c", LIMITED], cwd=folder, capture_output=True, text=True, timeout=300, check=True
    )
    codes = {}
    for number, (name, (code, errors)) in enumerate(
        (name, json.loads(result.stdout)[f"{number}.onnx"]) for number, name in enumerate(contents)
    ):
        assert errors.startswith(f"mnist-dvc: hostile/{number}.onnx: "), f"{name}: {errors}"
        assert errors.count("\n") == 1
        codes[name] = code
    return codes


def with_bytes_changed(draw: np.random.Generator) -> bytes:
    """The good file with up to four bytes changed, outside of the weights."""
    content = bytearray(PLAIN)
    outside = [at for at in range(len(content)) if at < 4_000 or at > len(content) - 3_000]
    for at in draw.choice(outside, draw.integers(1, 5)):
        content[at] = draw.integers(256)
    return with_digest(bytes(content))


def with_fields_changed(draw: np.random.Generator) -> bytes:
    """The good file with up to three of its numbers, names and parts changed, so that it stays one of its form."""
    model = good()
    parts = [part for _, part in graph._parts(model, "model") if part.ListFields()]
    for _ in range(draw.integers(1, 4)):
        part: Any = parts[draw.integers(len(parts))]
        fields = part.ListFields()
        if not fields:
            continue
        field, value = fields[draw.integers(len(fields))]
        if isinstance(value, int):
            setattr(part, field.name, 1 if field.enum_type else int(draw.choice(NUMBERS)))
        elif isinstance(value, str):
            setattr(part, field.name, model.graph.node[0].output[0])
        elif field.name in {"ints", "dims"}:
            value[draw.integers(len(value))] = LISTED[draw.integers(len(LISTED))]
        elif field.name in {"input", "node", "initializer", "attribute"} and len(value):
            value.append(value[draw.integers(len(value))])
    return with_digest(model.SerializeToString())


def outcomes(folder: Path, seed: int, count: int) -> tuple[int, int]:
    """How many mutated files were refused, and how many answered; no other end is one."""
    draw, refused = np.random.default_rng(seed), 0
    for number in range(count):
        (folder / "model.onnx").write_bytes((with_bytes_changed, with_fields_changed)[number % 2](draw))
        try:
            answers_NK = read_onnx(folder / "model.onnx").logits(IMAGES_N1HW, 7)
        except ArtifactError as error:
            assert str(error).isprintable()
            refused += 1
        else:
            assert answers_NK.shape == (7, 10)
    return refused, count - refused
