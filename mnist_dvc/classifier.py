"""A trained network as it is used from Python: pictures or pixels in, digits and probabilities out."""

from __future__ import annotations

import difflib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from mnist_dvc.data.arrays import CLASSES, FEWEST, SIDE
from mnist_dvc.data.named import EXPECTED_NAME, is_name
from mnist_dvc.errors import ArtifactError, DataError
from mnist_dvc.image import parse_digits, parse_picture, read_digits, read_picture
from mnist_dvc.image.memory import as_file, is_image
from mnist_dvc.pickled import refuse_pickle
from mnist_dvc.pretrained import RELEASED, released_onnx, released_sha256
from mnist_dvc.report.classes import answer_names
from mnist_dvc.serving import read_onnx

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from numpy.typing import NDArray

    from mnist_dvc.image import Picture
    from mnist_dvc.image.memory import Image

    Logits = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    File = str | os.PathLike[str] | bytes | Image.Image
    Pixels = NDArray[np.uint8] | NDArray[np.floating]

__all__ = ["BEST", "SURE", "Answer", "Classifier", "load"]

BEST = "compact"
"""The released network with the fewest errors in its study."""
SURE = 0.9
"""Confidence below which an answer is called unsure; docs/predict.md says what that gives on validation images."""
BATCH = 100
A_PICTURE = "picture"
PICTURES = "a path, the bytes of a picture file, an image of PIL, or an array"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a picture shows.

    ``name`` is the digit in letters, or what the network's classes are called where they are not digits;
    ``probabilities`` are those of each class. ``inverted`` tells of dark ink on a light ground; ``box`` is where the
    ink is in the upright picture: left, top, right and bottom in pixels, the last two exclusive. An array has no box.
    """

    digit: int
    name: str
    probabilities: tuple[float, ...]
    inverted: bool = False
    box: tuple[int, int, int, int] | None = None

    @property
    def confidence(self) -> float:
        """The probability of ``digit``, from 0.1 to 1."""
        return self.probabilities[self.digit]

    @property
    def unsure(self) -> bool:
        """Whether ``confidence`` is below 0.9: of such answers a third to a half are wrong, on digits like MNIST's."""
        return self.confidence < SURE


class Classifier:
    """A network that is ready to answer, on the CPU."""

    def __init__(self, logits: Logits, where: Path, classes: Sequence[str] = ()) -> None:
        """``logits`` takes images (N, 1, 28, 28), uint8 from 0 to 255, to (N, 10); ``where`` names it in messages.

        ``classes`` are what those are called that are not digits.
        """
        self._logits = logits
        self._where = where
        self.classes = answer_names(classes) if classes else ()
        """Names of the ten answers; none where they are digits."""

    @overload
    def classify(self, pictures: File) -> Answer: ...  # type: ignore[overload-overlap]  # a text is one path
    @overload
    def classify(self, pictures: Pixels) -> Any: ...  # its axes decide, which the type of an array does not tell
    @overload
    def classify(self, pictures: Iterable[File | Pixels]) -> list[Answer]: ...
    def classify(self, pictures: Any) -> Answer | list[Answer]:
        """The digit that a picture shows, or those that several show, one each.

        Args:
            pictures: one, or an iterable of any number: a path or the bytes of a file (PNG, JPEG, BMP, GIF, WebP or
                PGM), or an image of PIL, of which the digit is cut out and centred as MNIST's are; or an array
                (28, 28) or, for several, (N, 28, 28), as :meth:`probabilities` takes them and as it stands.

        Returns:
            An answer for one picture, a list of answers for several.

        Raises:
            ImageError: a file is missing or damaged, or a picture shows no digit, or several.
            DataError: an array has another shape, type or range, or there is something else.
            ArtifactError: the network computes no numbers.
        """
        if isinstance(pictures, np.ndarray):
            one = pictures.ndim == len(("H", "W"))
            found = self._answers(pictures[None] if one else pictures)
            return found[0] if one else found
        if is_image(pictures) or isinstance(pictures, (str, os.PathLike, bytes)):
            return self.answer(_picture(pictures, A_PICTURE))
        try:
            several = enumerate(pictures)
        except TypeError as error:
            raise _no_picture(pictures, A_PICTURE) from error
        return [self._one(picture, f"{A_PICTURE} {number}") for number, picture in several]

    def read(self, picture: File) -> list[Answer]:
        """All digits of one picture, line by line, left to right, each with its box.

        Args:
            picture: a path, the bytes of a file or an image of PIL, as :meth:`classify` takes them.

        Raises:
            ImageError: the file is missing, damaged, or shows no digit.
            DataError: ``picture`` is something else.
            ArtifactError: the network computes no numbers.
        """
        return self.answers(_digits(picture, A_PICTURE))

    def answer(self, picture: Picture) -> Answer:
        """The digit in a picture that was read already.

        Raises:
            ArtifactError: the network computes no numbers.
        """
        (answer,) = self.answers((picture,))
        return answer

    def answers(self, pictures: Sequence[Picture]) -> list[Answer]:
        """The digits in pictures that were read already, of which there is at least one.

        Raises:
            ArtifactError: the network computes no numbers.
        """
        return self._answers(np.stack([picture.pixels_HW for picture in pictures]), pictures)

    def probabilities(self, images_NHW: NDArray[np.uint8] | NDArray[np.floating]) -> NDArray[np.float64]:
        """Probabilities (N, 10) of images as MNIST has them: (N, 28, 28), light ink on a dark ground.

        Args:
            images_NHW: uint8 from 0 to 255, or floating point from 0 to 1, which is rounded to these 256 levels.

        Raises:
            DataError: ``images_NHW`` has another shape, type or range.
            ArtifactError: the network computes no numbers.
        """
        images_N1HW = _pixels(images_NHW)
        if not len(images_N1HW):
            return np.empty((0, CLASSES))
        parts = [self._logits(images_N1HW[at : at + BATCH]) for at in range(0, len(images_N1HW), BATCH)]
        logits_NK = np.concatenate(parts).astype(np.float64)
        if logits_NK.shape != (len(images_N1HW), CLASSES):
            raise ArtifactError(self._where, "answers", got=logits_NK.shape, expected=(len(images_N1HW), CLASSES))
        if not np.isfinite(logits_NK).all():
            got, expected = "values that are no numbers", "probabilities; train again"
            raise ArtifactError(self._where, "answers", got=got, expected=expected)
        powers_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
        probabilities_NK: NDArray[np.float64] = powers_NK / powers_NK.sum(axis=1, keepdims=True)
        return probabilities_NK

    def _one(self, picture: Any, where: str) -> Answer:
        """The answer for one of several pictures; ``where`` it stands among them is for errors."""
        if not isinstance(picture, np.ndarray):
            return self.answer(_picture(picture, where))
        if picture.ndim != len(("H", "W")):
            raise DataError(where, "shape", got=picture.shape, expected=f"({SIDE}, {SIDE})")
        return self._answers(picture[None])[0]

    def _answers(self, images_NHW: NDArray[Any], pictures: Sequence[Picture] = ()) -> list[Answer]:
        """An answer for each image, with what is known of the ``pictures`` that they were cut out of."""
        found = []
        for number, told in enumerate(self.probabilities(images_NHW).tolist()):
            digit = told.index(max(told))
            name = self.classes[digit] if self.classes else str(digit)
            known = (pictures[number].inverted, pictures[number].box) if pictures else ()
            found.append(Answer(digit, name, tuple(told), *known))
        return found


def _picture(picture: Any, where: str) -> Picture:
    """The one digit that a file, its bytes or an image of PIL shows."""
    path, content = _source(picture, where)
    return read_picture(path) if path is not None else parse_picture(content, where)


def _digits(picture: Any, where: str) -> tuple[Picture, ...]:
    """All of them."""
    path, content = _source(picture, where)
    return read_digits(path) if path is not None else parse_digits(content, where)


def _source(picture: Any, where: str) -> tuple[Path | None, bytes]:
    """The path to a picture, or its bytes.

    Raises:
        ImageError: an image of PIL cannot be decoded.
        DataError: it is neither of these.
    """
    if isinstance(picture, (str, os.PathLike)):
        return Path(picture), b""
    if isinstance(picture, bytes):
        return None, picture
    if is_image(picture):
        return None, as_file(picture, where)
    raise _no_picture(picture, where)


def _no_picture(picture: object, where: str) -> DataError:
    return DataError(where, "type", got=type(picture).__name__, expected=PICTURES)


def _pixels(images_NHW: NDArray[np.uint8] | NDArray[np.floating]) -> NDArray[np.uint8]:
    """What the networks take: (N, 1, 28, 28), uint8 from 0 to 255.

    Raises:
        DataError: as :meth:`Classifier.probabilities`.
    """
    if images_NHW.ndim != 3 or images_NHW.shape[1:] != (SIDE, SIDE):  # noqa: PLR2004  (N, H, W)
        raise DataError("images", "shape", got=images_NHW.shape, expected=f"(N, {SIDE}, {SIDE})")
    if images_NHW.dtype == np.uint8:
        return images_NHW[:, None].astype(np.uint8, copy=False)
    if not np.issubdtype(images_NHW.dtype, np.floating):
        raise DataError("images", "type", got=images_NHW.dtype, expected="uint8, or floating point")
    if not ((images_NHW >= 0) & (images_NHW <= 1)).all():  # NaN is not, either
        raise DataError("images", "values", got="some outside of it", expected="0 to 1, or uint8 from 0 to 255")
    levels_N1HW: NDArray[np.uint8] = np.rint(images_NHW[:, None] * 255.0).astype(np.uint8)
    return levels_N1HW


def load(model: str | os.PathLike[str] = BEST) -> Classifier:
    """The classifier in a model file, or a released network by its name.

    Args:
        model: ``compact`` or ``reference``; an ONNX file that ``export`` wrote; or the model file that ``train``
            wrote, which takes PyTorch and so the extra ``train``. A checkpoint is a pickle, and not read.

    Raises:
        ArtifactError: the file is missing, damaged or a checkpoint, or there is neither a file nor a released network
            of that name.
        ModuleNotFoundError: the file takes PyTorch, which is not installed.
    """
    path = released_onnx(str(model)) if str(model) in RELEASED else Path(model)
    if not path.suffix and not path.exists():
        near = difflib.get_close_matches(str(model), RELEASED, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        expected = f"a model file, or a released network ({', '.join(RELEASED)}){hint}"
        raise ArtifactError(path, "model", got="no file", expected=expected)
    refuse_pickle(path)
    if path.suffix != ".onnx":
        return _in_torch(path)
    network = read_onnx(path, released_sha256())
    classes = _listed(network.properties.get("classes"), path)
    return Classifier(lambda images_N1HW: network.logits(images_N1HW, BATCH), path, classes)


def _listed(classes: str | None, path: Path) -> tuple[str, ...]:
    """The names of the classes that an ONNX file lists; none where they are digits.

    Raises:
        ArtifactError: it is no list, or as :func:`_names`.
    """
    if classes is None:
        return ()
    try:
        names = json.loads(classes)
    except (ValueError, RecursionError):
        names = None
    return _names(names if isinstance(names, list) else [classes], path)


def _names(names: Sequence[Any], path: Path) -> tuple[str, ...]:
    """What a model calls its classes, if data could have classes of these names.

    Raises:
        ArtifactError: they are too few or too many, one is no name, or stands there twice.
    """
    few_enough = FEWEST <= len(names) <= CLASSES
    if not few_enough or not all(isinstance(name, str) and is_name(name) for name in names):
        expected = f"a list of {FEWEST} to {CLASSES} names, each of {EXPECTED_NAME}"
        raise ArtifactError(path, "classes", got=names, expected=expected)
    if len(set(names)) != len(names):
        raise ArtifactError(path, "classes", got=names, expected="names that differ")
    return tuple(names)


def _in_torch(path: Path) -> Classifier:
    """The classifier in a model file; imports PyTorch, which takes seconds."""
    import torch  # noqa: PLC0415

    from mnist_dvc.data.digits import normalise  # noqa: PLC0415
    from mnist_dvc.model.weights import read_model  # noqa: PLC0415
    from mnist_dvc.runtime import set_up  # noqa: PLC0415

    set_up(threads=1)
    model, card = read_model(path)
    model.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def logits(images_N1HW: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels_N1HW = images_N1HW.astype(np.float32)
        logits_NK: NDArray[np.float32] = model(normalise(torch.from_numpy(pixels_N1HW).div_(255.0))).numpy()
        return logits_NK

    return Classifier(logits, path, _names(card.classes, path) if card.classes else ())
