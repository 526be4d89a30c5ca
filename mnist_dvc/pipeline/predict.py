"""``predict``: the published model on pictures of the user's own, as a table or as JSON lines."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from rich.console import Console

from mnist_dvc.classifier import BEST, load
from mnist_dvc.errors import ImageError
from mnist_dvc.files import own_sums, recorded_sha256
from mnist_dvc.image import LARGEST_FILE, Picture, parse_digits, parse_picture, picture_bytes
from mnist_dvc.image.sheet import Found, Sheets
from mnist_dvc.pretrained import released_onnx
from mnist_dvc.report.answers import answers_table, progress
from mnist_dvc.report.text import per_cent
from mnist_dvc.serving import read_onnx
from mnist_dvc.streams import delivery

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mnist_dvc.classifier import Answer, Classifier
    from mnist_dvc.paths import Paths

__all__ = ["predict", "published_model"]

STANDARD_INPUT = "-"
DIGITS = 6
"""Decimal places, beyond which float32 logits say nothing."""


class _Input(NamedTuple):
    """A picture to be read, or why there is none: its name, its file if it is not standard input, the refusal."""

    name: str
    path: Path | None
    refusal: str = ""


def predict(
    sources: Iterable[str],
    model_path: Path,
    *,
    as_json: bool,
    many: bool = False,
    show: Path | None = None,
    at_least: float = 0.0,
) -> None:
    """Tell which digits pictures show, in order: as JSON lines while they come, or as one table.

    One picture at a time is in memory; what is kept of it are the words of its answer.

    Args:
        sources: files, folders (their files and folders by name, without hidden ones), or ``-`` for standard input.
        model_path: the ONNX file that ``export`` wrote, or the model that ``train`` wrote.
        as_json: JSON lines instead of a table.
        many: read all digits of a picture, instead of refusing one that shows several.
        show: a folder for sheets of what was read in each picture, made if absent.
        at_least: confidence from 0 to 1 below which an answer is refused.

    Raises:
        ArtifactError: the model is missing, damaged, or a checkpoint, which is not read.
        ImageError: after all answers, if any of them was a refusal.
        OSError: standard output takes no more, or ``show`` no sheet.
    """
    classifier = load(model_path)
    inputs = [found for source in sources for found in _inputs(source, show)]
    sheets = None if show is None else Sheets(show, (found.path for found in inputs if found.path is not None))
    asking = _Asking(classifier, many=many, sheets=sheets, at_least=at_least)
    lines_there = as_json and sys.stdout is not None and sys.stdout.isatty()
    kept, refused = [], 0
    try:
        with progress(len(inputs), shown=len(inputs) > 1 and not lines_there) as advance:
            for found in inputs:
                told = asking.told(found)
                refused += any("error" in part for part in (told, *told.get("digits", ())))
                if as_json:
                    _deliver(f"{json.dumps(told, allow_nan=False)}\n")
                else:
                    kept.append(told)
                advance()
    finally:  # Ctrl-C loses no answer
        if kept:
            _deliver(_table(kept, many=many))
    if refused:
        raise ImageError("pictures", "not read", got=f"{refused} of {len(inputs)}", expected="none")


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


def _inputs(source: str, show: Path | None) -> Iterator[_Input]:
    """What ``source`` names: itself, or the files in it, in the order of their names, each folder once.

    What ``show`` holds are sheets of an earlier run, if it lies in ``source``.
    """
    if source == STANDARD_INPUT:
        yield _Input(source, None)
        return
    root = Path(source)
    waiting, entered, none = [root], {_identity(show)}, True
    while waiting:
        path = waiting.pop()
        name = source if path == root else str(path)
        try:
            if source and path.is_dir():  # an empty name is not the current folder
                if path == root or _identity(path) not in entered:
                    entered.add(_identity(path))
                    waiting += sorted((inner for inner in path.iterdir() if inner.name[0] != "."), reverse=True)
                continue
            found = _Input(name, path)
        except OSError as error:
            refused = ImageError(name, "folder", got=error.strerror, expected="one that can be read")
            found = _Input(name, path, refused.problem)
        none = False
        yield found
    if none:
        yield _Input(source, root, ImageError(root, "folder", got="no files", expected="pictures").problem)


def _identity(folder: Path | None) -> tuple[int, int] | None:
    """What a folder is known by whatever links lead to it; None where there is none yet."""
    if folder is None or not folder.is_dir():
        return None
    status = folder.stat()
    return status.st_dev, status.st_ino


@dataclass(frozen=True, slots=True)
class _Asking:
    """How pictures are read and told of; the fields are the arguments of :func:`predict`."""

    classifier: Classifier
    many: bool
    sheets: Sheets | None
    at_least: float

    def told(self, found: _Input) -> dict[str, Any]:
        """What is told of a picture, or of why there is none; its sheet is written."""
        name = found.name.encode(errors="backslashreplace").decode()  # JSON has no place for bytes that are not UTF-8
        if found.refusal:
            return {"file": name, "error": found.refusal}
        content, pictures = b"", tuple[Picture, ...]()
        try:
            content = _content(found)
            pictures = parse_digits(content, found.name) if self.many else (parse_picture(content, found.name),)
        except ImageError as error:
            told: dict[str, Any] = {"error": error.problem}
        else:
            digits = [self._digit(answer) for answer in self.classifier.answers(pictures)]
            told = {"digits": digits} if self.many else digits[0]
        if self.sheets is not None and content:
            digits = told.get("digits", [told])[: len(pictures)]
            read = [Found(picture, *_label(digit)) for picture, digit in zip(pictures, digits, strict=True)]
            self.sheets.write(found.name, content, read, told.get("error", ""))
        return {"file": name} | told

    def _digit(self, answer: Answer) -> dict[str, Any]:
        """What is told of one digit."""
        if not answer.confidence >= self.at_least:
            got = f"{answer.confidence:.{DIGITS}g} for {answer.name}"
            refused = ImageError("digit", "confidence", got=got, expected=f"at least {self.at_least:g}")
            return {"error": refused.problem, "box": answer.box}
        return {
            "digit": answer.digit,
            **({"class": answer.name} if self.classifier.classes else {}),
            "confidence": round(answer.confidence, DIGITS),
            "probabilities": [round(probability, DIGITS) for probability in answer.probabilities],
            "inverted": answer.inverted,
            "unsure": answer.unsure,
            "box": answer.box,
        }


def _content(found: _Input) -> bytes:
    """The bytes of a picture.

    Raises:
        ImageError: there are none, or too many of them, or the system does not let us read them.
    """
    if found.path is not None:
        return picture_bytes(found.path)
    try:
        return sys.stdin.buffer.read(LARGEST_FILE + 1)
    except (AttributeError, OSError) as error:  # None where it is closed
        raise ImageError(found.name, "standard input", got="nothing to read", expected="a picture") from error


def _label(told: dict[str, Any]) -> tuple[str, str]:
    """What a sheet says of a digit: the answer, and how sure it is."""
    if "error" in told:
        return "?", "refused"
    unsure = ", unsure" if told["unsure"] else ""
    return str(told.get("class", told["digit"])), f"{per_cent(told['confidence'])}{unsure}"


def _table(answers: list[dict[str, Any]], *, many: bool) -> str:
    """The answers as a table, as wide as the terminal."""
    on_terminal = sys.stdout is not None and sys.stdout.isatty()
    text = io.StringIO()  # rich itself would end the process where a pipe is not read on
    Console(file=text, highlight=False, force_terminal=on_terminal or None).print(answers_table(answers, many=many))
    return text.getvalue()


def _deliver(text: str) -> None:
    """Print ``text`` at once: who reads it through a pipe must not lag behind, nor be missed if gone.

    Raises:
        OSError: standard output takes no more.
    """
    with delivery() as output:
        output.writelines(text.splitlines(keepends=True))  # one large write may count as done where nobody reads it
