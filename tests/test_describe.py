from __future__ import annotations

import pytest
from torch import nn

from mnist_dvc.describe import describe
from mnist_dvc.description import BUDGET
from mnist_dvc.model import NETWORKS


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
