from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from mnist_dvc.describe import MultiplyAdds, describe
from mnist_dvc.description import BUDGET
from mnist_dvc.model import NETWORKS, TEACHERS


def test_description_of_a_network_counted_by_hand() -> None:
    model = nn.Sequential()
    model.add_module("conv", nn.Conv2d(1, 4, 3, padding=1, bias=False))
    model.add_module("pool", nn.MaxPool2d(2))
    model.add_module("flat", nn.Flatten())
    model.add_module("line", nn.Linear(4 * 14 * 14, 10))
    description = describe("hand", model)
    assert [(p.name, p.shape, p.count) for p in description.parameters] == [
        ("conv.weight", (4, 1, 3, 3), 36),
        ("line.weight", (10, 784), 7840),
        ("line.bias", (10,), 10),
    ]
    assert [(layer.name, layer.output_shape, layer.parameters) for layer in description.layers] == [
        ("conv", (4, 28, 28), 36),
        ("pool", (4, 14, 14), 0),
        ("flat", (784,), 0),
        ("line", (10,), 7850),
    ]
    assert description.total == 7886
    assert description.budget_left == BUDGET - 1 - 7886
    assert description.multiply_adds == 28 * 28 * 36 + 7840
    assert model.training


def test_frozen_parameters_do_not_count() -> None:
    line = nn.Linear(784, 10)
    line.bias.requires_grad_(False)
    assert describe("frozen", nn.Sequential(nn.Flatten(), line)).total == 7840


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_of_a_registered_network_add_up(name: str) -> None:
    description = describe(name, NETWORKS[name](0.0))
    assert sum(layer.parameters for layer in description.layers) == description.total
    assert sum(parameter.count for parameter in description.parameters) == description.total
    assert description.layers[-1].output_shape == (10,)


IMAGE_N1HW = torch.zeros(1, 1, 28, 28)


def counts(model: nn.Module) -> tuple[int, int]:
    """The multiply-adds of an image by our count and by PyTorch's own."""
    ours, theirs = MultiplyAdds(), FlopCounterMode(display=False)
    with ours:
        model.eval()(IMAGE_N1HW)
    with theirs:
        model(IMAGE_N1HW)
    return ours.count, theirs.get_total_flops() // 2


@pytest.mark.parametrize("name", [*NETWORKS, *TEACHERS])
def test_multiply_adds_are_those_that_pytorch_counts(name: str) -> None:
    ours, theirs = counts((NETWORKS | TEACHERS)[name](0.0))
    assert ours == theirs > 0


class Product(nn.Module):
    """Multiplies by an operator that no network of ours uses."""

    def forward(self, images_N1HW: Tensor) -> Tensor:
        return images_N1HW @ images_N1HW


def test_another_operator_would_be_seen() -> None:
    """The twin: our count misses it, and with it the agreement."""
    assert counts(Product()) == (0, 28**3)


def test_description_does_without_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: a counter of the kind that PyTorch's is cannot even be called."""
    monkeypatch.setitem(sys.modules, "torch._dynamo", None)
    model = NETWORKS["compact-1k"](0.0)
    describe("compact-1k", model)

    class Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, *_: object) -> None:
            raise RuntimeError("called")

    with pytest.raises(ModuleNotFoundError, match="torch._dynamo"), Counter():  # type: ignore[no-untyped-call]
        model(IMAGE_N1HW)
