"""The registered networks as they are used from Python: their names at once, their modules with PyTorch."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from mnist_dvc.errors import ParamsError
from mnist_dvc.pretrained import RELEASED, released_weights

if TYPE_CHECKING:
    from torch import nn

__all__ = ["build", "networks"]

NAMES = (
    *("reference", "compact", "loop", "sprint"),
    *("compact-1k", "compact-2k5", "compact-5k", "compact-10k"),
    *("tiny-350", "tiny-700", "tiny-1k", "tiny-2k"),
)
"""As ``mnist_dvc.model`` has them, which imports PyTorch; a test compares the two."""


def networks() -> tuple[str, ...]:
    """The names that :func:`build` knows; those of ``mnist_dvc.load`` are ``compact`` and ``reference``."""
    return NAMES


def build(name: str, *, pretrained: bool = False, seed: int = 0) -> nn.Module:
    """A network as a PyTorch module in training mode, float32, on the CPU: images (N, 1, 28, 28) to logits (N, 10).

    Its images are what ``mnist_dvc.data.digits.normalise`` makes of fractions from 0, background, to 1, ink.

    Args:
        name: one of :func:`networks`.
        pretrained: take the released weights, which ``compact`` and ``reference`` have; else fresh ones.
        seed: of the fresh weights, 0 to 2^63 - 1; the same seed gives the same weights.

    Raises:
        ParamsError: there is no such network, or no released weights of it.
        ModuleNotFoundError: PyTorch is not installed, which the extra ``train`` brings.
    """
    try:
        from mnist_dvc.model import NETWORKS  # noqa: PLC0415
        from mnist_dvc.model import build as built  # noqa: PLC0415
        from mnist_dvc.model.weights import read_model  # noqa: PLC0415
        from mnist_dvc.params import ModelParams  # noqa: PLC0415
        from mnist_dvc.randomness import generator  # noqa: PLC0415
    except ModuleNotFoundError as error:
        told = (
            f'{error.name}: got no such package, expected the extra "train": python -m pip install "mnist-dvc[train]"'
        )
        raise ModuleNotFoundError(told, name=error.name) from error
    _check(name, tuple(RELEASED) if pretrained else tuple(NETWORKS))
    if pretrained:
        return read_model(released_weights(name))[0].train()
    return built(ModelParams(name=name, dropout=0.0), generator(seed, "weights"))


def _check(name: str, known: tuple[str, ...]) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ParamsError("build", [f"name: got {name!r}, expected one of {', '.join(known)}{hint}"])
