"""What teachers say of every training image under fixed distortions: made once, learned from by any number of students.

A student that sees each view once learns from teachers as if they stood beside it, at no more than the price of labels
(Beyer et al., Knowledge distillation: a good teacher is patient and consistent, https://arxiv.org/abs/2106.05237).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import safetensors.torch
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError

from mnist_dvc.augment import Distortions
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import BLANK, read_regular, refuse_broken_seal, sealed
from mnist_dvc.params import AugmentParams  # noqa: TC001  (pydantic reads the annotation)
from mnist_dvc.randomness import generator

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

__all__ = ["Lesson", "Teaching", "read_teaching", "teaching_bytes", "view_distortions"]

METADATA_KEY = "mnist_dvc"
TENSOR = "log_probabilities"
CLASSES = 10
LARGEST = 2**30
"""Bytes; 60 views of MNIST take 72,000,000."""
EXPECTED = "the answers that `mnist-dvc study teach` writes"
_LENGTH_BYTES = 8


class Lesson(BaseModel):
    """What the answers are about: the distortions of the views, the digits, and the SHA-256 of each teacher.

    ``precision``, in which the teachers computed, is ``float32`` or ``bfloat16``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    augment: AugmentParams
    seed: int = Field(ge=0, lt=2**63)
    dataset: str
    data_digest: str
    teachers: list[str]
    precision: str


class _Told(BaseModel):
    """The value of the metadata key; ``sha256`` is of the whole file with 64 zeros in its place."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    sha256: str
    lesson: Lesson


@dataclass(frozen=True, slots=True)
class Teaching:
    """Answers of the teachers: ``log_probabilities_VNK`` float16, for V views of N images in K classes."""

    lesson: Lesson
    log_probabilities_VNK: Tensor
    digest: str = ""
    """SHA-256 of the file that they were read from."""

    @property
    def views(self) -> int:
        """Number of distorted versions of each image."""
        return self.log_probabilities_VNK.shape[0]

    @property
    def images(self) -> int:
        """Number of images, the training split in its order."""
        return self.log_probabilities_VNK.shape[1]

    def view_of_epoch(self, epoch: int, seed: int) -> int:
        """Which view epoch ``epoch`` (0 is the first) of the student ``seed`` sees: in an order of the seed's own."""
        order_V = torch.randperm(self.views, generator=generator(seed, "views"))
        return int(order_V[epoch % self.views])

    def answers(self, view: int, index_N: Tensor) -> Tensor:
        """Probabilities (N, K), float32, that the teachers gave the images at ``index_N`` in ``view``."""
        return self.log_probabilities_VNK[view, index_N].float().softmax(dim=1)

    def distortions(self, view: int, device: torch.device) -> Distortions | None:
        """The distortions under which the teachers saw all images in ``view``."""
        return view_distortions(self.lesson, view, self.images, device)

    def to(self, device: torch.device) -> Teaching:
        """The same on ``device``."""
        return replace(self, log_probabilities_VNK=self.log_probabilities_VNK.to(device))


def view_distortions(lesson: Lesson, view: int, images: int, device: torch.device) -> Distortions | None:
    """The distortions of ``images`` images in ``view``: a pure function, so that only the answers need keeping."""
    return Distortions.draw(images, lesson.augment, generator(lesson.seed, f"view {view}", device))


def teaching_bytes(teaching: Teaching) -> bytes:
    """The file of ``teaching``, which carries its own SHA-256: same values, same bytes."""
    told: dict[str, Any] = {"sha256": BLANK, "lesson": teaching.lesson.model_dump()}
    tensors = {TENSOR: teaching.log_probabilities_VNK.cpu().contiguous()}
    return sealed(safetensors.torch.save(tensors, metadata={METADATA_KEY: json.dumps(told)}))


def read_teaching(path: Path, data_digest: str) -> Teaching:
    """The answers in ``path`` about the digits of ``data_digest``, on the CPU.

    Raises:
        ArtifactError: the file is missing or damaged, or is about other digits.
    """
    content = read_regular(path, LARGEST, ArtifactError, EXPECTED)
    try:
        length = int.from_bytes(content[:_LENGTH_BYTES], "little")
        header = json.loads(content[_LENGTH_BYTES : _LENGTH_BYTES + length])
        told = _Told.model_validate_json(header["__metadata__"][METADATA_KEY])
        tensors = safetensors.torch.load(content)
    except (SafetensorError, ValidationError, ValueError, KeyError, TypeError, RecursionError) as error:
        got = f"damage ({type(error).__name__})"
        raise ArtifactError(path, "content", got=got, expected=EXPECTED) from error
    refuse_broken_seal(path, content, told.sha256)
    answers = tensors.get(TENSOR)
    if answers is None or len(tensors) != 1 or not _are_answers(answers):
        expected = f"{TENSOR}, float16 (V, N, {CLASSES}) without NaN"
        raise ArtifactError(path, "tensors", got=", ".join(tensors) or "none", expected=expected)
    if told.lesson.data_digest != data_digest:
        got, expected = told.lesson.data_digest[:12], f"{data_digest[:12]}, the prepared ones; run `study teach` again"
        raise ArtifactError(path, "digits it is about", got=got, expected=expected)
    return Teaching(told.lesson, answers, told.sha256)


def _are_answers(tensor: Tensor) -> bool:
    """Whether these can be log-probabilities (V, N, K); minus infinity is one, of what a teacher rules out."""
    views, images, classes = tensor.shape if tensor.ndim == 3 else (0, 0, 0)  # noqa: PLR2004  (V, N, K)
    kind = tensor.dtype == torch.float16 and min(views, images) > 0 and classes == CLASSES
    return kind and not bool(tensor.isnan().any())
