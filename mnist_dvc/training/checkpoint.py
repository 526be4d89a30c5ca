"""The training checkpoint: a PyTorch file for going on elsewhere, byte for byte repeatable; nothing here reads it."""

from __future__ import annotations

import copy
import io
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from mnist_dvc.model.weights import refuse_divergence

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from mnist_dvc.training.events import EpochRow

__all__ = ["checkpoint_bytes"]

SCHEMA = 1


def checkpoint_bytes(
    *,
    model_state: dict[str, Any],
    raw_model_state: dict[str, Any],
    optimizer_state: dict[str, Any],
    history: Sequence[EpochRow],
    about: dict[str, Any],
) -> bytes:
    """Everything about a finished training, as the bytes of a ``.pth`` file.

    Keys: ``schema``; ``model_state_dict``, the averaged weights, which are the published ones;
    ``raw_model_state_dict``, the weights that ``optimizer_state_dict`` belongs to; ``history``, a dictionary per
    epoch; ``val_accuracy``, the last one's (None without validation images); ``about``, plain values that say which
    network, data and params. All tensors are on the CPU, since PyTorch reads a file only where the devices in it are.

    Raises:
        DivergedError: a tensor of any of them is not finite.
    """
    content = {
        "schema": SCHEMA,
        "model_state_dict": model_state,
        "raw_model_state_dict": raw_model_state,
        "optimizer_state_dict": optimizer_state,
        "history": [asdict(row) for row in history],
        "val_accuracy": history[-1].val_accuracy,
        "about": about,
    }
    content = _on_cpu(content)
    refuse_divergence(dict(_tensors(content)))
    # Into memory first: torch.save(path) would write the file's name into the file, and leave half of it on an error.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _on_cpu(tree: dict[Any, Any]) -> dict[Any, Any]:
    """The same nested dictionaries with every tensor on the CPU."""
    moved = copy.copy(tree)  # also what a state_dict() carries beside its items
    for key, value in tree.items():
        if isinstance(value, dict):
            moved[key] = _on_cpu(value)
        elif isinstance(value, torch.Tensor):
            moved[key] = value.cpu()
    return moved


def _tensors(tree: dict[Any, Any]) -> Iterator[tuple[str, Tensor]]:
    """Every tensor in nested dictionaries, under the keys that lead to it: ``optimizer_state_dict/state/0/exp_avg``."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from ((f"{key}/{name}", tensor) for name, tensor in _tensors(value))
        elif isinstance(value, torch.Tensor):
            yield str(key), value
