"""The registry of networks: params to an initialised module."""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from mnist_dvc.errors import ParamsError
from mnist_dvc.model.compact import CompactNet
from mnist_dvc.model.reference import ReferenceNet

if TYPE_CHECKING:
    from collections.abc import Callable

    from mnist_dvc.params import ModelParams

__all__ = ["BUDGET", "NETWORKS", "build", "check_name", "initialise"]

BUDGET = 20_000
"""Every registered network has fewer trainable parameters than this, while it trains and when it ships."""

# To add a network: a file beside this one, an import above, a line here. Each takes the dropout probability and maps
# images (N, 1, 28, 28) to logits (N, 10).
NETWORKS: dict[str, Callable[[float], nn.Module]] = {
    "reference": ReferenceNet,
    "compact": CompactNet,
}


def check_name(name: str) -> None:
    """Refuse a name that is not registered.

    Raises:
        ParamsError: with the names that are, and the nearest of them.
    """
    if name not in NETWORKS:
        near = difflib.get_close_matches(name, NETWORKS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ParamsError("params", [f"model.name: got {name!r}, expected one of {', '.join(NETWORKS)}{hint}"])


def build(params: ModelParams, generator: torch.Generator) -> nn.Module:
    """The network ``params.name`` with fresh weights drawn from ``generator`` alone, float32, on the CPU.

    Raises:
        ParamsError: no network has that name.
    """
    check_name(params.name)
    model = NETWORKS[params.name](params.dropout)
    initialise(model, generator)
    return model


@torch.no_grad()
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Draw all convolution and linear weights anew, in module order, so that only ``generator`` decides them.

    Uniform of half-width 1/sqrt(fan_in), which is what PyTorch's own layers start with.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
