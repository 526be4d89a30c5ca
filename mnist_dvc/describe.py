"""A network to its description: the shapes that one image passes through, and the multiply-adds that it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from mnist_dvc.description import Description, Layer, Parameter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from torch import Tensor, nn

__all__ = ["MultiplyAdds", "describe", "parameter_count"]


def parameter_count(model: nn.Module) -> int:
    """Number of trainable values in ``model``."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


class MultiplyAdds(TorchFunctionMode):
    """Counts them in the convolutions and linear layers that are called while it is entered, the only ones we have.

    PyTorch's own counter knows more operators and says the same of ours, as a test of every network holds; it imports
    the compiler, two seconds and 70 MB, which no description needs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_function__(
        self, func: Callable[..., Any], _types: object, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call ``func``, and add what each value of its output took: as many as a filter or row has weights."""
        output = func(*args, **(kwargs or {}))
        if func in (torch.conv2d, F.linear):
            weight = args[1]
            self.count += output.numel() * weight[0].numel()
        return output


@torch.no_grad()
def describe(network: str, model: nn.Module, image_1HW: tuple[int, ...] = (1, 28, 28)) -> Description:
    """Describe ``model`` by sending one blank image through it in evaluation mode; its mode is restored."""
    shapes: dict[str, tuple[int, ...]] = {}

    def note(name: str) -> object:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            shapes[name] = tuple(output.shape[1:])

        return hook

    hooks = [child.register_forward_hook(note(name)) for name, child in model.named_children()]  # type: ignore[arg-type]
    was_training = model.training
    counter = MultiplyAdds()
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
        multiply_adds=counter.count,
    )
