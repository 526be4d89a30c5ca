"""A network and a split in, logits out, or what the last layer makes them of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    from mnist_dvc.data.digits import Digits

__all__ = ["features_of", "logits_of"]


@torch.no_grad()
def logits_of(model: nn.Module, digits: Digits, batch_size: int) -> Tensor:
    """Logits (N, K) of all images of ``digits`` in order, ``batch_size`` at a time, in evaluation mode."""
    model.eval()
    return torch.cat([model(images_N1HW) for images_N1HW, _ in digits.chunks(batch_size)])


def features_of(model: nn.Module, digits: Digits, batch_size: int) -> Tensor:
    """What the last layer with weights is given for each image, flat: (N, D), ``batch_size`` images at a time."""
    given: list[Tensor] = []

    def note(_layer: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> None:
        given[:] = inputs[:1]  # after a pass, those of the last layer

    layers = [m for m in model.modules() if next(m.children(), None) is None and next(m.parameters(), None) is not None]
    hooks = [layer.register_forward_hook(note) for layer in layers]
    features = []
    try:
        for start in range(0, len(digits), batch_size):
            part = slice(start, start + batch_size)
            logits_of(model, type(digits)(digits.images_N1HW[part], digits.labels_N[part]), batch_size)
            features += [images.flatten(1) for images in given]
    finally:
        for hook in hooks:
            hook.remove()
    return torch.cat(features)
