"""Answers of teachers from anyone: what they claim is checked before they are read, each answer before it teaches."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import open_regular
from mnist_dvc.model.tensorfile import TensorFile, damage
from mnist_dvc.training.teaching import CLASSES, EXPECTED, LARGEST, TENSOR, Lesson, read_teaching

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from mnist_dvc.training.teaching import Teaching

__all__ = ["digits_of", "read_answers"]

LARGEST_HEADER = 64 * 2**10
"""Bytes; the digests of a hundred teachers take 7,000."""
TOLERANCE = 0.01
"""Of the sum of the ten probabilities of one answer; what float16 takes from their logarithms is a tenth of that."""
_Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class _Lesson(Lesson):
    """A lesson that `study teach` can have written."""

    dataset: Annotated[str, Field(min_length=1, max_length=100)]
    data_digest: _Digest
    teachers: Annotated[list[_Digest], Field(min_length=1, max_length=500)]
    precision: Literal["float32", "bfloat16"]


class _Told(BaseModel):
    """The value of the metadata key."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sha256: _Digest
    lesson: _Lesson


def read_answers(path: Path, *, dataset: str, data_digest: str, images: int) -> Teaching:
    """The answers in ``path`` about the ``images`` training images of ``dataset`` with ``data_digest``, on the CPU.

    Raises:
        ArtifactError: the file is missing or damaged; is about other digits, or another number of them; or an answer is
            no distribution over the classes.
        OSError: the system refused to read it.
    """
    file, size, lesson = _begun(path)
    got, expected = f"{lesson.dataset} ({lesson.data_digest[:12]})", f"{dataset} ({data_digest[:12]})"
    if got != expected:
        raise ArtifactError(path, "digits it is about", got=got, expected=f"{expected}; run `study teach` again")
    _refuse_other_tensors(file, images)
    file.refuse_misplaced(size)
    teaching = read_teaching(path, data_digest)
    _refuse_no_distributions(teaching.log_probabilities_VNK, path)
    return teaching


def digits_of(path: Path) -> tuple[str, str]:
    """The data set that the answers in ``path`` are about, and the digest of its prepared digits.

    Raises:
        ArtifactError: the file is missing, or its header damaged.
        OSError: the system refused to read it.
    """
    _, _, lesson = _begun(path)
    return lesson.dataset, lesson.data_digest


def _begun(path: Path) -> tuple[TensorFile, int, _Lesson]:
    """The header of ``path``, the size of the whole in bytes, and the lesson that it tells of."""
    with open_regular(path, LARGEST, ArtifactError, EXPECTED) as content:
        file = TensorFile.of(content.read(LARGEST_HEADER + 8), path, EXPECTED, LARGEST_HEADER)
        size = content.seek(0, os.SEEK_END)
    try:
        return file, size, _Told.model_validate_json(file.metadata).lesson
    except ValidationError as error:
        raise ArtifactError(file.where, "header", got=damage(error), expected=EXPECTED) from error


def _refuse_other_tensors(file: TensorFile, images: int) -> None:
    """Answers in any number of views, and nothing else; it was asked of one image after the other, so none is left."""
    (name, kind), *more = file.kinds.items() or [("none", "")]
    if more or name != TENSOR or re.fullmatch(rf"float16 \([1-9]\d*, {images}, {CLASSES}\)", kind) is None:
        got = f"{name[:80]} {kind}{' and more' if more else ''}"
        expected = f"{TENSOR} float16 (V, {images}, {CLASSES}) for V views; run `study teach` again"
        raise ArtifactError(file.where, "header, tensors", got=got, expected=expected)


def _refuse_no_distributions(log_probabilities_VNK: Tensor, path: Path) -> None:
    """View by view, so that no more than one is in memory a second time."""
    for view, log_probabilities_NK in enumerate(log_probabilities_VNK):
        sums_N = log_probabilities_NK.float().exp().sum(dim=1)
        wrong_N = ~((sums_N - 1.0).abs() <= TOLERANCE)
        if bool(wrong_N.any()):
            image = int(wrong_N.nonzero()[0])
            got = f"probabilities that sum to {float(sums_N[image]):g}"
            raise ArtifactError(path, f"answer about image {image} in view {view}", got=got, expected="1")
