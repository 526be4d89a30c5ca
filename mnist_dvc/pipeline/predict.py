"""``predict``: the published model on pictures of the user's own, as a table or as JSON lines."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.console import Console

from mnist_dvc.classifier import BEST, load
from mnist_dvc.errors import ImageError
from mnist_dvc.files import own_sums, recorded_sha256
from mnist_dvc.image import LARGEST_FILE, Picture, parse_picture, read_picture
from mnist_dvc.pretrained import released_onnx
from mnist_dvc.report.answers import answers_table
from mnist_dvc.serving import read_onnx
from mnist_dvc.streams import delivery

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mnist_dvc.classifier import Classifier
    from mnist_dvc.paths import Paths

__all__ = ["predict", "published_model"]

STANDARD_INPUT = "-"
BATCH = 100
"""So many pictures are in memory, and in a table, at a time."""
DIGITS = 6
"""Decimal places, beyond which float32 logits say nothing."""


def predict(sources: Iterable[str], model_path: Path, *, as_json: bool) -> None:
    """Print an answer for each picture, in order, as they come.

    Args:
        sources: files, folders (their files by name, without hidden ones and folders), or ``-`` for standard input.
        model_path: the ONNX file that ``export`` wrote, the model that ``train`` wrote, or its checkpoint.
        as_json: JSON lines instead of tables.

    Raises:
        ArtifactError: the model is missing or damaged.
        ImageError: after all answers, if any of them was a refusal.
        OSError: standard output takes no more.
    """
    classifier = load(model_path)
    pictures = (found for source in sources for found in _pictures(source))
    total = refused = 0
    while batch := list(itertools.islice(pictures, BATCH)):
        answers = _answers(classifier, batch)
        _show(answers, as_json=as_json)
        total += len(answers)
        refused += sum("error" in answer for answer in answers)
    if refused:
        raise ImageError("pictures", "not read", got=f"{refused} of {total}", expected="none")


def published_model(paths: Paths) -> Path:
    """The ONNX file, where it is that of the model on record; else the model itself, which PyTorch has to read.

    Where nothing was trained yet, the released weights that the package carries.

    Raises:
        ArtifactError: the ONNX file is damaged.
    """
    if not paths.model.is_file():
        if paths.onnx.is_file():
            return paths.onnx
        print(f"no model in {paths.model.parent}: the released network {BEST} answers", file=sys.stderr)
        return released_onnx(BEST)
    if not paths.onnx.is_file() or not own_sums(paths.onnx).is_file():
        return paths.model
    recorded = recorded_sha256(paths.model)
    current = recorded is not None and read_onnx(paths.onnx).properties.get("model_sha256") == recorded
    return paths.onnx if current else paths.model


def _pictures(source: str) -> Iterator[tuple[str, Picture | ImageError]]:
    """The picture that ``source`` names or the pictures in it, each under its name, or why it is none."""
    try:
        names = _names(source)
    except ImageError as error:
        yield source, error
        return
    for name in names:
        try:
            yield name, _standard_input() if source == STANDARD_INPUT else read_picture(Path(name))
        except ImageError as error:
            yield name, error


def _names(source: str) -> list[str]:
    """``source`` itself, or the names of the files in the folder that it is.

    Raises:
        ImageError: there is no file in it, or the system does not let us look.
    """
    folder = Path(source)
    try:
        if source in ("", STANDARD_INPUT) or not folder.is_dir():  # an empty name is not the current folder
            return [source]
        names = sorted(str(path) for path in folder.iterdir() if not path.name.startswith(".") and not path.is_dir())
    except OSError as error:
        raise ImageError(folder, "folder", got=error.strerror, expected="one that can be read") from error
    if not names:
        raise ImageError(folder, "folder", got="no files", expected="pictures")
    return names


def _standard_input() -> Picture:
    """The picture on standard input.

    Raises:
        ImageError: there is none, or ``parse_picture`` refuses it.
    """
    try:
        content = sys.stdin.buffer.read(LARGEST_FILE + 1)
    except (AttributeError, OSError) as error:  # None where it is closed
        raise ImageError(STANDARD_INPUT, "standard input", got="nothing to read", expected="a picture") from error
    return parse_picture(content, STANDARD_INPUT)


def _answers(classifier: Classifier, batch: list[tuple[str, Picture | ImageError]]) -> list[dict[str, Any]]:
    """What is told of each picture, or of why there is none."""
    read = [found.pixels_HW for _, found in batch if isinstance(found, Picture)]
    probabilities = iter(classifier.probabilities(np.stack(read)).tolist() if read else ())
    answers = []
    for name, found in batch:
        shown = name.encode(errors="backslashreplace").decode()  # JSON has no place for bytes that are not UTF-8
        if isinstance(found, Picture):
            answers.append({"file": shown} | _answer(next(probabilities), inverted=found.inverted))
        else:
            answers.append({"file": shown, "error": found.problem})
    return answers


def _answer(probabilities_K: list[float], *, inverted: bool) -> dict[str, Any]:
    confidence = max(probabilities_K)
    return {
        "digit": probabilities_K.index(confidence),
        "confidence": round(confidence, DIGITS),
        "probabilities": [round(probability, DIGITS) for probability in probabilities_K],
        "inverted": inverted,
    }


def _show(answers: list[dict[str, Any]], *, as_json: bool) -> None:
    """Print ``answers`` at once: who reads them through a pipe must not lag behind, nor be missed if gone.

    Raises:
        OSError: standard output takes no more.
    """
    with delivery() as output:
        if as_json:
            output.write("".join(f"{json.dumps(answer, allow_nan=False)}\n" for answer in answers))
            return
        console = Console(highlight=False)
        with console.capture() as table:  # on its own it would end the process where a pipe is not read on
            console.print(answers_table(answers))
        output.write(table.get())
