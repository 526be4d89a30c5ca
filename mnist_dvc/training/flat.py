"""The numbers of a model as views of one tensor, so that what acts on all of them is one operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import torch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

__all__ = ["Flat", "leave"]

ALIGNED = 16
"""Numbers; each tensor begins at a multiple of 64 bytes, the width of a processor's cache line and of its vectors."""


class Flat:
    """Named float32 tensors in one, ``whole``, in which ``views`` has each in its shape and memory layout.

    Between two of them are up to ``ALIGNED`` - 1 zeros, which all that acts on ``whole`` should leave zeros.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        """``tensors``, at least one, are copied in their order."""
        self._places: dict[str, tuple[torch.Size, tuple[int, ...], int]] = {}
        end = 0
        for name, tensor in tensors.items():
            self._places[name] = (tensor.shape, tensor.stride(), end)
            end += -(-tensor.numel() // ALIGNED) * ALIGNED
        self.whole = torch.zeros(end, device=next(iter(tensors.values())).device)
        self.views = self.views_of(self.whole)
        for name, tensor in tensors.items():
            self.views[name].copy_(tensor)

    @classmethod
    @torch.no_grad()
    def of(cls, model: nn.Module) -> Self:
        """The parameters and floating-point buffers of ``model``, which live in it from now on.

        First the matrices and filters, then the parameters of one axis, then the buffers.
        """
        parameters = dict(model.named_parameters())
        ordered = sorted(parameters, key=lambda name: parameters[name].ndim <= 1)
        buffers = {name: buffer for name, buffer in model.named_buffers() if buffer.is_floating_point()}
        held = {name: parameters[name] for name in ordered} | buffers
        flat = cls(held)
        for name, tensor in held.items():
            tensor.data = flat.views[name]
        return flat

    def views_of(self, whole: Tensor) -> dict[str, Tensor]:
        """The named tensors in another ``whole``, or in as much of it as there is."""
        return {
            name: whole.as_strided(shape, stride, offset)
            for name, (shape, stride, offset) in self._places.items()
            if offset < len(whole)
        }

    def end_of(self, names: list[str]) -> int:
        """Where the last of ``names``, which come first, ends with the zeros behind it; 0 for none."""
        after = [offset for name, (_, _, offset) in self._places.items() if name not in names]
        return min(after, default=len(self.whole)) if names else 0


@torch.no_grad()
def leave(model: nn.Module) -> None:
    """Give each parameter and buffer of ``model`` memory of its own again, as whoever saves or changes it expects."""
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.data = tensor.clone()
