"""A trained network as it is used from Python: pictures or pixels in, digits and probabilities out."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnist_dvc.data.arrays import SIDE
from mnist_dvc.errors import ArtifactError, DataError
from mnist_dvc.image import read_picture
from mnist_dvc.pretrained import RELEASED, released_onnx
from mnist_dvc.serving import read_onnx

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import NDArray

    from mnist_dvc.image import Picture

    Logits = Callable[[NDArray[np.uint8]], NDArray[np.float32]]

__all__ = ["BEST", "Answer", "Classifier", "load"]

BEST = "compact"
"""The released network with the fewest errors in its study."""
CHECKPOINTS = (".pth", ".pt")
BATCH = 100


@dataclass(frozen=True, slots=True)
class Answer:
    """What a picture shows: ``probabilities`` of each digit; ``inverted`` tells of dark ink on a light ground."""

    digit: int
    probabilities: tuple[float, ...]
    inverted: bool

    @property
    def confidence(self) -> float:
        """The probability of ``digit``, from 0.1 to 1."""
        return self.probabilities[self.digit]


class Classifier:
    """A network that is ready to answer, on the CPU."""

    def __init__(self, logits: Logits, where: Path) -> None:
        """``logits`` takes images (N, 1, 28, 28), uint8 from 0 to 255, to (N, 10); ``where`` names it in messages."""
        self._logits = logits
        self._where = where

    def classify(self, picture: str | os.PathLike[str]) -> Answer:
        """The digit in a picture file (PNG, JPEG, BMP, GIF, WebP or PGM), cut out and centred as MNIST's are.

        Raises:
            ImageError: the file is missing, damaged, or shows no digit.
            ArtifactError: the network computes no numbers.
        """
        return self.answer(read_picture(Path(picture)))

    def answer(self, picture: Picture) -> Answer:
        """The digit in a picture that was read already.

        Raises:
            ArtifactError: the network computes no numbers.
        """
        (probabilities_K,) = self.probabilities(picture.pixels_HW[None]).tolist()
        return Answer(int(np.argmax(probabilities_K)), tuple(probabilities_K), picture.inverted)

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
            return np.empty((0, 10))
        parts = [self._logits(images_N1HW[at : at + BATCH]) for at in range(0, len(images_N1HW), BATCH)]
        logits_NK = np.concatenate(parts).astype(np.float64)
        if not np.isfinite(logits_NK).all():
            got, expected = "values that are no numbers", "probabilities; train again"
            raise ArtifactError(self._where, "answers", got=got, expected=expected)
        powers_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
        probabilities_NK: NDArray[np.float64] = powers_NK / powers_NK.sum(axis=1, keepdims=True)
        return probabilities_NK


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
        model: ``compact`` or ``reference``; an ONNX file that ``export`` wrote; or a model file or checkpoint that
            ``train`` wrote, which takes PyTorch and so the extra ``train``.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    path = released_onnx(str(model)) if str(model) in RELEASED else Path(model)
    return Classifier(_logits_in_onnx(path) if path.suffix == ".onnx" else _logits_in_torch(path), path)


def _logits_in_onnx(path: Path) -> Logits:
    model = read_onnx(path)
    return lambda images_N1HW: model.logits(images_N1HW, BATCH)


def _logits_in_torch(path: Path) -> Logits:
    """What answers a batch from a model file or a checkpoint; imports PyTorch, which takes seconds."""
    import torch  # noqa: PLC0415

    from mnist_dvc.data.digits import normalise  # noqa: PLC0415
    from mnist_dvc.model.weights import read_model  # noqa: PLC0415
    from mnist_dvc.runtime import set_up  # noqa: PLC0415
    from mnist_dvc.training.checkpoint import read_checkpoint  # noqa: PLC0415

    set_up(threads=1)
    model, _ = (read_checkpoint if path.suffix in CHECKPOINTS else read_model)(path)
    model.to(memory_format=torch.channels_last)

    @torch.no_grad()
    def logits(images_N1HW: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels_N1HW = images_N1HW.astype(np.float32)
        logits_NK: NDArray[np.float32] = model(normalise(torch.from_numpy(pixels_N1HW).div_(255.0))).numpy()
        return logits_NK

    return logits
