"""A network and a split in, logits out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mnist_dvc.data.digits import Digits

__all__ = ["logits_of"]


@torch.no_grad()
def logits_of(model: nn.Module, digits: Digits, batch_size: int) -> Tensor:
    """Logits (N, K) of all images of ``digits`` in order, ``batch_size`` at a time, in evaluation mode."""
    model.eval()
    return torch.cat([model(images_N1HW) for images_N1HW, _ in digits.chunks(batch_size)])
