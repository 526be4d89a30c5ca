"""Networks that answer with one voice: the teachers of a study, or a student alone, to compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from mnist_dvc.augment import distort
from mnist_dvc.data.digits import normalise
from mnist_dvc.errors import ArtifactError
from mnist_dvc.model import TEACHERS
from mnist_dvc.model.weights import read_model

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor, nn

    from mnist_dvc.augment import Distortions
    from mnist_dvc.data.digits import Digits
    from mnist_dvc.data.prepared import Prepared

__all__ = ["Ensemble"]

MNIST = "mnist"
BATCH = 250
"""Images per forward pass; larger ones fall out of the processor's cache."""


@dataclass(frozen=True, slots=True)
class Ensemble:
    """Networks in evaluation mode on one device, and the precision that they compute in, float32 or bfloat16."""

    models: list[nn.Module]
    precision: str

    @classmethod
    def of_teachers(cls, paths: Sequence[Path], prepared: Prepared, device: torch.device, precision: str) -> Ensemble:
        """The teachers in ``paths``, unless one of them may have learned from the test images of ``prepared``.

        Raises:
            ArtifactError: a file is missing, damaged, or was trained on another data set.
        """
        return cls([_read(path, prepared).to(device) for path in paths], precision)

    @torch.no_grad()
    def answers(self, digits: Digits, distortions: Distortions | None) -> Tensor:
        """Probabilities (N, K), float32: the mean of what they say of ``digits`` under ``distortions``."""
        device = digits.labels_N.device
        answers = []
        for index_M in torch.split(torch.arange(len(digits), device=device), BATCH):
            images_M1HW, _ = digits.batch(index_M)
            if distortions is not None:
                images_M1HW = distort(images_M1HW, distortions[index_M])
            images_M1HW = normalise(images_M1HW)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled=self.precision == "bfloat16"):
                logits = [model(images_M1HW) for model in self.models]
            answers.append(torch.stack([logits_MK.float().softmax(dim=1) for logits_MK in logits]).mean(dim=0))
        return torch.cat(answers)


def _read(path: Path, prepared: Prepared) -> nn.Module:
    """MNIST's test images are a file of their own, so any split of the others will do; a smaller set is one pool."""
    model, card = read_model(path, TEACHERS)
    if card.dataset != prepared.dataset or (card.dataset != MNIST and card.data_digest != prepared.digest):
        got = f"{card.dataset} ({card.data_digest[:12]})"
        expected = f"the prepared {prepared.dataset} ({prepared.digest[:12]})"
        raise ArtifactError(path, "data it was trained on", got=got, expected=expected)
    return model.to(memory_format=torch.channels_last)
