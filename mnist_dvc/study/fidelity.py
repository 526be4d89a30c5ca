"""How far a student is from its teachers, on digits that neither learned from and on those that it did."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from mnist_dvc.data.digits import Digits
from mnist_dvc.study.ensemble import Ensemble
from mnist_dvc.study.records import Fidelity

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mnist_dvc.data.prepared import Prepared
    from mnist_dvc.training.teaching import Teaching

__all__ = ["fidelity"]

IMAGES = 10_000
"""Training images, evenly spaced, whose distorted versions are compared."""


def fidelity(model: nn.Module, teachers: Ensemble, prepared: Prepared, teaching: Teaching) -> Fidelity:
    """Compare the student ``model``, on the CPU in float32, with ``teachers``, whose answers ``teaching`` are.

    Args:
        model: the student.
        teachers: on the CPU.
        prepared: digits with some held out, that neither the student nor the teachers learned from.
        teaching: its first view is taken for one that the student was taught; the one after its last, for one that is
            fresh to it.
    """
    student, cpu = Ensemble([model.eval()], "float32"), torch.device("cpu")
    held_out, training = (Digits.on(cpu, prepared.read(split)) for split in ("validation", "train"))
    ours_NK, theirs_NK = student.answers(held_out, None), teachers.answers(held_out, None)
    wrong_N, their_wrong_N = (answers_NK.argmax(dim=1) != held_out.labels_N for answers_NK in (ours_NK, theirs_NK))
    index_M = torch.arange(0, len(training), max(1, len(training) // IMAGES))
    some = Digits(training.images_N1HW[index_M], training.labels_N[index_M])
    divergences = []
    for view in (0, teaching.views):
        distortions = teaching.distortions(view, cpu)
        seen = None if distortions is None else distortions[index_M]
        divergences.append(_divergence(student.answers(some, seen), teachers.answers(some, seen)))
    return Fidelity(
        teachers_errors=int(their_wrong_N.sum()),
        shared_errors=int((wrong_N & their_wrong_N).sum()),
        divergence=_divergence(ours_NK, theirs_NK),
        divergence_taught=divergences[0],
        divergence_fresh=divergences[1],
    )


def _divergence(ours_NK: Tensor, theirs_NK: Tensor) -> float:
    """Mean of KL(theirs || ours), nats per image; rounding would take that of equal answers below 0."""
    return max(0.0, float(F.kl_div(ours_NK.log(), theirs_NK, reduction="batchmean")))
