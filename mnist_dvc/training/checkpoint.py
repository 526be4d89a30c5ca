"""The training checkpoint: a PyTorch file that loads with ``weights_only=True``, byte for byte repeatable."""

from __future__ import annotations

import io
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    network, data and params.
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
    # Into memory first: torch.save(path) would write the file's name into the file, and leave half of it on an error.
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()
