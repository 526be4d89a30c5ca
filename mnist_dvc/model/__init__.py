"""The registry of networks: params to an initialised module."""

from __future__ import annotations

import difflib
import functools
from typing import TYPE_CHECKING

from mnist_dvc.errors import ParamsError
from mnist_dvc.model.blocks import initialise
from mnist_dvc.model.compact import COMPACT, SIZES, CompactNet
from mnist_dvc.model.loop import LoopNet
from mnist_dvc.model.reference import ReferenceNet
from mnist_dvc.model.sprint import SprintNet
from mnist_dvc.model.teacher import TeacherNet
from mnist_dvc.model.tiny import TINY, TinyNet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import torch
    from torch import nn

    from mnist_dvc.params import ModelParams

__all__ = ["NETWORKS", "TEACHERS", "build", "check_name"]

# To add a network: a file beside this one, an import above, a line here. Each takes the dropout probability and maps
# images (N, 1, 28, 28) to logits (N, 10).
NETWORKS: dict[str, Callable[[float], nn.Module]] = {
    "reference": ReferenceNet,
    "compact": functools.partial(CompactNet, COMPACT),
    "loop": LoopNet,
    "sprint": SprintNet,
    **{name: functools.partial(CompactNet, size) for name, size in SIZES.items()},
    **{name: functools.partial(TinyNet, shape) for name, shape in TINY.items()},
}
TEACHERS: dict[str, Callable[[float], nn.Module]] = {"teacher": TeacherNet}
"""Networks beyond the budget, known to the commands that train and ask teachers and to no other."""


def check_name(name: str, networks: Iterable[str] = NETWORKS) -> None:
    """Refuse a name that is not among ``networks``.

    Raises:
        ParamsError: with the names that are, and the nearest of them.
    """
    if name not in networks:
        near = difflib.get_close_matches(name, networks, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ParamsError("params", [f"model.name: got {name!r}, expected one of {', '.join(networks)}{hint}"])


def build(
    params: ModelParams, generator: torch.Generator, networks: Mapping[str, Callable[[float], nn.Module]] = NETWORKS
) -> nn.Module:
    """The network ``params.name`` with fresh weights drawn from ``generator`` alone, float32, on the CPU.

    Raises:
        ParamsError: ``networks`` has none of that name.
    """
    check_name(params.name, networks)
    model = networks[params.name](params.dropout)
    initialise(model, generator)
    return model
