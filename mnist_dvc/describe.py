"""A network to its description: the shapes that one image passes through, and the multiply-adds that it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from mnist_dvc.description import Description, Layer, Parameter

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["describe", "parameter_count"]


def parameter_count(model: nn.Module) -> int:
    """Number of trainable values in ``model``."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


@torch.no_grad()
def describe(network: str, model: nn.Module, image_1HW: tuple[int, ...] = (1, 28, 28)) -> Description:
    """Describe ``model`` by sending one blank image through it in evaluation mode; its mode is restored."""
    # Brings the compiler along, 70 MB of it, which no training needs.
    from torch.utils.flop_counter import FlopCounterMode  # noqa: PLC0415

    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> object:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])

        return hook

    hooks = [child.register_forward_hook(note(name)) for name, child in model.named_children()]  # type: ignore[arg-type]
    was_training = model.training
    counter = FlopCounterMode(display=False)
    try:
        with counter:
            model.eval()(torch.zeros(1, *image_1HW))
    finally:
        model.train(was_training)
        for hook in hooks:
            hook.remove()
    return Description(
        network=network,
        parameters=tuple(
            Parameter(name, tuple(tensor.shape), tensor.numel())
            for name, tensor in model.named_parameters()
            if tensor.requires_grad
        ),
        layers=tuple(Layer(name, parameter_count(child), shapes[name]) for name, child in model.named_children()),
        total=parameter_count(model),
        multiply_adds=counter.get_total_flops() // 2,
    )
